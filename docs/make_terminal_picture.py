"""The picture of a terminal in the READMEs, from the output of the demo.

    tflm demo | python docs/make_terminal_picture.py

Writes docs/images/terminal.svg with what the demo printed, as text that can be selected. Lines that a terminal would
wrap are wrapped here too.
"""

import pathlib
import sys

from rich.console import Console
from rich.text import Text

OUTPUT = pathlib.Path(__file__).parent / "images" / "terminal.svg"
WIDTH = 100
# Rich's template links to a font on the web; this one takes what is installed.
TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, "Noto Sans Mono CJK SC", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def picture(lines: list[str]) -> str:
    """The SVG of a terminal with these lines; questions, which begin with ">", are bold."""
    with open("/dev/null", "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text("$ tflm demo", style="bold green"))
        for line in lines:
            console.print(Text(line, style="bold cyan" if line.startswith("> ") else ""))
        return console.export_svg(title="tflm", code_format=TEMPLATE, unique_id="tflm")


if __name__ == "__main__":
    OUTPUT.write_text(picture([line.rstrip() for line in sys.stdin]), encoding="utf-8")
