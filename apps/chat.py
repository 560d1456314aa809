"""Talks with an exported model, in the terminal or through a pipe.

  python -m apps.chat --model=saved_models/chat_demo
  python -m apps.chat --model=saved_models/chat_demo --text="What is AI?"
  printf '你是谁\\nWho are you?\\n' | python -m apps.chat --model=saved_models/chat_demo

In the terminal: /set temperature=0.7 changes a setting, /help lists what there is, /quit or Ctrl-D ends.
Each question stands alone: the model does not see the earlier ones.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence

from absl import flags

from apps.command_line import define_input, note, read_texts, run_app, write_result
from apps.text_generation import Generator, define_generation
from tflm.errors import UserError

FLAGS = flags.FlagValues()
define_generation(FLAGS)
define_input(FLAGS)

_HELP = """/set NAME=VALUE  change a setting, such as temperature=0.7
/settings        show the settings
/quit            end"""


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)
    at_terminal = flag_values.text is None and flag_values.input is None and sys.stdin.isatty()
    for question in _ask() if at_terminal else read_texts(flag_values):
        if at_terminal and question.startswith("/"):
            if question == "/quit":
                return
            _command(generator, question)
        elif question.strip():
            (record,) = generator([question])
            write_result(flag_values, record["text"], {"question": question, "answer": record["text"]})


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _ask() -> Iterator[str]:
    import readline  # noqa: F401 (gives `input` line editing and history)

    note("/help lists the commands, /quit or Ctrl-D ends.")
    while True:
        try:
            yield input("> ")
        except EOFError:
            print()
            return


def _command(generator: Generator, line: str) -> None:
    name, _, rest = line.partition(" ")
    if name == "/settings":
        note("\n".join(f"{key}={value}" for key, value in generator.settings.items()))
    elif name == "/set" and "=" in rest:
        key, _, value = rest.partition("=")
        try:
            generator.change(key.strip(), _number(value))
        except UserError as error:
            note(f"error: {error}")
    else:
        note(_HELP)


def _number(text: str) -> int | float | str:
    """`text` as a number where it is one; a setting refuses what it cannot take."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


if __name__ == "__main__":
    sys.exit(run())
