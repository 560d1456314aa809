"""Prints a script that completes commands, flags and values in a shell.

  tflm completion bash > ~/.tflm_completion; echo 'source ~/.tflm_completion' >> ~/.bashrc
  tflm completion zsh > "${fpath[1]}/_tflm"
  tflm completion fish > ~/.config/fish/completions/tflm.fish
  source <(tflm completion bash)

The last one is for the current bash alone. After `tflm tr` the Tab key completes the command, after `tflm train --` its
flags, after `tflm evaluate --split=` the values of a flag, after --workdir= files and folders. Print the script again
after an update of tflm.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from tflm.errors import UsageError

from .common.command_line import flag_help, run_app
from .main import COMMANDS, summary

SHELLS = ("bash", "zsh", "fish")
FLAGS = flags.FlagValues()
flags.DEFINE_enum(
    "shell",
    None,
    SHELLS,
    "The shell. The flag's name may be left out: tflm completion zsh.",
    flag_values=FLAGS,
)

_EQUALS_SIGN_IN_BASH = """
# bash passes --flag=value as three words, shtab's function reads --flag value: leave out the words "=".
_tflm() {
  local -a words=("${COMP_WORDS[@]}") kept=()
  local place current=$COMP_CWORD
  for place in "${!words[@]}"; do
    if [[ ${words[place]} != "=" || $place -eq 0 ]]; then kept+=("${words[place]}")
    elif [[ $place -eq $COMP_CWORD ]]; then kept+=("")
    elif [[ $place -lt $COMP_CWORD ]]; then current=$((current - 1))
    fi
  done
  local COMP_CWORD=$current
  local -a COMP_WORDS=("${kept[@]}")
  _shtab_tflm "$@"
}
complete -o bashdefault -F _tflm tflm
"""


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if not flag_values.shell:
        raise UsageError(f"which shell? One of {', '.join(SHELLS)}, such as `tflm completion bash`.")
    print(script(flag_values.shell))


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    arguments = list(sys.argv if argv is None else argv)
    if len(arguments) == 2 and not arguments[1].startswith("-"):
        arguments[1] = f"--shell={arguments[1]}"
    return run_app(main, FLAGS, __doc__ or "", arguments)


def script(shell: str) -> str:
    """The script of one of SHELLS, written by shtab (https://github.com/iterative/shtab)."""
    import shtab

    text = str(shtab.complete(command_parser("=" if shell == "zsh" else ""), shell, root_prefix="tflm"))
    return text + _EQUALS_SIGN_IN_BASH if shell == "bash" else text


def command_parser(equals_sign: str = "") -> argparse.ArgumentParser:
    """The commands and their flags as argparse has them, which shtab reads.

    Args:
        equals_sign: behind the name of a flag that takes a value. zsh completes `--flag=value` where it is "=".
    """
    parser = argparse.ArgumentParser("tflm")
    parser.add_argument("--version", action="version", help="print the version")
    commands = parser.add_subparsers()
    for name in COMMANDS:
        command = commands.add_parser(name, help=_percent(summary(name)), description=_percent(summary(name)))
        values = importlib.import_module(f"{__package__}.{name}").FLAGS
        for flag in (values[each] for each in values):
            _add_flag(command, flag, equals_sign)
        if name == "completion":
            command.add_argument("SHELL", nargs="?", choices=SHELLS, help="the shell")
        if name in ("compare", "report"):
            _complete_files(command.add_argument("RUN", nargs="*", help="the folder of a run"))
    return parser


def _add_flag(command: argparse.ArgumentParser, flag: flags.Flag, equals_sign: str) -> None:
    described: dict[str, Any] = {"help": _percent(flag_help(flag)), "dest": flag.name}
    if flag.boolean:
        for form in (f"--{flag.name}", f"--no{flag.name}"):
            command.add_argument(form, action="store_true", **described)
        return
    many = isinstance(flag, flags.MultiFlag | flags.MultiEnumClassFlag)
    described["action"] = "append" if many else "store"
    is_number = isinstance(flag.parser, flags.IntegerParser | flags.FloatParser)
    if hasattr(flag.parser, "enum_values"):  # absl's EnumParser, and parsers that know their values
        described["choices"] = list(flag.parser.enum_values)
    action = command.add_argument(f"--{flag.name}{equals_sign}", **described)
    if not is_number and "choices" not in described:
        _complete_files(action)


def _complete_files(action: argparse.Action) -> None:
    import shtab

    fish = "(__fish_complete_path (commandline -ct | string replace -r '^--[^=]*=' ''))"
    action.complete = {**shtab.FILE, "fish": fish}  # type: ignore[attr-defined]


def _percent(text: str) -> str:
    """argparse fills in %(default)s; a percent sign is written twice."""
    return re.sub("%", "%%", text)


if __name__ == "__main__":
    sys.exit(run())
