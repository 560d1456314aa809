"""The command `tflm`: finds the subcommand and runs it. `python -m tflm` does the same."""

import ast
import difflib
import importlib
import importlib.util
import sys
import textwrap
from collections.abc import Sequence

from tflm import __version__
from tflm.errors import UsageError

from .common.command_line import run_guarded
from .common.tables import bold, fitted, text_width

GROUPS = {
    "Import, train, measure and export": (
        "import",
        "mask",
        "train",
        "launch",
        "average",
        "tune",
        "compress",
        "evaluate",
        "compare",
        "check",
        "report",
        "export",
    ),
    "Use a model": (
        "generate",
        "chat",
        "summarize",
        "translate",
        "answer",
        "classify",
        "tag",
        "embed",
        "explain",
    ),
    "Serve it": ("serve",),
    "Begin": ("demo", "completion"),
}
"""The subcommands, each a module of this folder, in the order of the help."""
COMMANDS = tuple(name for names in GROUPS.values() for name in names)

_HELP = """Usage: tflm COMMAND [--flag=value ...]

Language models on Keras 3 and TensorFlow: from a text file to a SavedModel that takes strings and returns strings.

  tflm train --preset=tiny_chat --workdir=runs/tiny_chat
  tflm export --workdir=runs/tiny_chat --output=saved_models/tiny_chat
  tflm chat --model=saved_models/tiny_chat
{commands}

tflm COMMAND --help shows examples and every flag. tflm --version prints the version.
In a checkout, python -m apps.COMMAND does the same as tflm COMMAND."""


def run(argv: Sequence[str] | None = None) -> int:
    """The console script.

    Args:
        argv: the command line with the program's name first; `sys.argv` when None.
    Returns:
        The exit code of the subcommand; 2 when there is no such subcommand.
    """
    arguments = list(sys.argv if argv is None else argv)[1:]
    if arguments and arguments[0] in COMMANDS:
        name, *rest = arguments
        return importlib.import_module(f"{__package__}.{name}").run([f"tflm {name}", *rest])
    return run_guarded(lambda: _answer(arguments))


def summary(name: str) -> str:
    """The first sentence of a subcommand's help, read from its source without importing it."""
    spec = importlib.util.find_spec(f"{__package__}.{name}")
    source = spec.loader.get_source(spec.name) if spec and spec.loader else ""  # type: ignore[attr-defined]
    return (ast.get_docstring(ast.parse(source or "")) or "").partition("\n\n")[0].replace("\n", " ")


def _answer(arguments: Sequence[str]) -> None:
    """What `tflm` prints by itself.

    Raises:
        UsageError: the first argument is no subcommand.
    """
    first = arguments[0] if arguments else "--help"
    if first in ("--help", "-help", "-h", "help"):
        print(fitted(_HELP.format(commands=_command_lines())))
    elif first == "--version":
        print(f"tflm {__version__}")
    elif first.startswith("-"):
        raise UsageError(f"{first} is given before a command. Write tflm COMMAND {first}.")
    else:
        close = difflib.get_close_matches(first.removeprefix("tflm-"), COMMANDS, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else f" The commands are {', '.join(COMMANDS)}."
        raise UsageError(f"there is no command {first!r}.{hint}")


def _command_lines() -> str:
    width, columns = max(map(len, COMMANDS)), text_width(120)
    lines = []
    for title, names in GROUPS.items():
        lines += ["", bold(f"{title}:")]
        for name in names:
            text = textwrap.fill(summary(name), columns - width - 4, break_on_hyphens=False)
            lines.append(f"  {name:{width}}  " + text.replace("\n", "\n" + " " * (width + 4)))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run())
