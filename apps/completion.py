"""Prints a script that completes the console scripts, their flags and the values of these in a shell.

  source <(python -m apps.completion bash)
  python -m apps.completion bash > ~/.tflm_completion; echo 'source ~/.tflm_completion' >> ~/.bashrc
  python -m apps.completion zsh > "${fpath[1]}/_tflm"
  python -m apps.completion fish > ~/.config/fish/conf.d/tflm.fish

After `tflm-train --` the Tab key shows its flags; after `tflm-evaluate --split=` what it may be; after a flag that is
a text, such as --workdir=, files and folders. Print it anew after an update.
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Sequence

from absl import flags

import apps
from apps.command_line import run_app
from tflm.errors import UsageError

FLAGS = flags.FlagValues()
flags.DEFINE_enum(
    "shell", None, ["bash", "zsh", "fish"], "Which shell; also without '--shell='.", flag_values=FLAGS
)

_WITHOUT_SCRIPT = ("demo",)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if not flag_values.shell:
        raise UsageError("which shell? One of bash, zsh and fish, such as `python -m apps.completion bash`.")
    write = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}[flag_values.shell]
    print(write(find_flags()), end="")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    arguments = list(sys.argv if argv is None else argv)
    if len(arguments) == 2 and not arguments[1].startswith("-"):
        arguments[1] = f"--shell={arguments[1]}"
    return run_app(main, FLAGS, __doc__ or "", arguments)


def find_flags() -> dict[str, flags.FlagValues]:
    """Console script to its flags, for every app that has one."""
    found = {}
    for module in pkgutil.iter_modules(apps.__path__, "apps."):
        name = module.name.removeprefix("apps.")
        app = importlib.import_module(module.name)
        if hasattr(app, "run") and hasattr(app, "FLAGS") and name not in _WITHOUT_SCRIPT:
            found[f"tflm-{name}"] = app.FLAGS
    return found


def flag_words(flag: flags.Flag) -> list[str]:
    """How a flag is written, with a "=" where a value follows.

    >>> flag_words(FLAGS["shell"])
    ['--shell=']
    """
    return [f"--{flag.name}", f"--no{flag.name}"] if flag.boolean else [f"--{flag.name}="]


def choices(flag: flags.Flag) -> list[str] | None:
    """What a flag's value may be; None where it may be a file, empty where nothing is known of it."""
    if isinstance(flag.parser, flags.EnumParser):
        return list(flag.parser.enum_values)
    is_number = isinstance(flag.parser, flags.IntegerParser | flags.FloatParser)
    return [] if is_number or flag.boolean else None


def bash_script(found: dict[str, flags.FlagValues]) -> str:
    """For bash 4 or later. "=" parts words there, so that `--split=ev` comes as three."""
    words, values = [], []
    for script, flag_values in found.items():
        names = [word for name in sorted(flag_values) for word in flag_words(flag_values[name])]
        words.append(f"    {script}) words={_quoted(' '.join(['--help', *names]))} ;;")
        for name in sorted(flag_values):
            known = choices(flag_values[name])
            if known is not None and not flag_values[name].boolean:
                values.append(f"    {_quoted(f'{script} --{name}')}) words={_quoted(' '.join(known))} ;;")
    return _BASH.format(words="\n".join(words), values="\n".join(values), scripts=" ".join(found))


_BASH = """# Completion of tflm's console scripts, for bash.
_tflm() {{
  local script="${{COMP_WORDS[0]##*/}}" word="${{COMP_WORDS[COMP_CWORD]}}" flag= words=
  local before="${{COMP_WORDS[COMP_CWORD-1]}}"
  if [[ $word == "=" ]]; then flag=$before word=
  elif [[ $before == "=" ]]; then flag="${{COMP_WORDS[COMP_CWORD-2]}}"
  elif [[ $before == --* && $word != -* ]]; then flag=$before
  fi
  COMPREPLY=()
  if [[ -z $flag ]]; then
    case $script in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ ${{#COMPREPLY[@]}} -eq 1 && $COMPREPLY == *= ]] && compopt -o nospace 2>/dev/null
    return 0
  fi
  case "$script $flag" in
{values}
    *) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word"); return 0 ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _tflm {scripts}
"""


def zsh_script(found: dict[str, flags.FlagValues]) -> str:
    """A function for `_arguments`."""
    lines = [f"#compdef {' '.join(found)}", "", 'case "$service" in']
    for script, flag_values in found.items():
        specs = ["'--help[show the help]'"]
        for name in sorted(flag_values):
            flag = flag_values[name]
            what = _escaped(_help(flag), "[]:")
            known = choices(flag)
            if flag.boolean:
                specs += [_quoted(f"{word}[{what}]") for word in flag_words(flag)]
            else:
                values = "_files" if known is None else f"({' '.join(known)})" if known else " "
                repeated = "*" if isinstance(flag, flags.MultiFlag) else ""
                specs.append(_quoted(f"{repeated}--{name}=[{what}]:{name}:{values}"))
        lines += [f"  {script})", "    _arguments \\", *(f"      {spec} \\" for spec in specs), "      ;;"]
        lines[-2] = lines[-2].removesuffix(" \\")
    return "\n".join([*lines, "esac", ""])


def fish_script(found: dict[str, flags.FlagValues]) -> str:
    """A `complete` a flag."""
    lines = ["# Completion of tflm's console scripts, for fish."]
    for script, flag_values in found.items():
        lines += [f"complete -c {script} -f", f"complete -c {script} -l help -d 'show the help'"]
        for name in sorted(flag_values):
            flag = flag_values[name]
            known, what = choices(flag), f"-d {_quoted(_help(flag), fish=True)}"
            if flag.boolean:
                lines += [f"complete -c {script} -l {word[2:]} {what}" for word in flag_words(flag)]
            elif known is None:
                lines.append(f"complete -c {script} -l {name} -r -F {what}")
            else:
                values = f"-a {_quoted(' '.join(known), fish=True)} " if known else ""
                lines.append(f"complete -c {script} -l {name} -x {values}{what}")
    return "\n".join([*lines, ""])


def _help(flag: flags.Flag) -> str:
    """On one line, without what absl adds: the choices, and that a flag may be repeated."""
    text = re.sub(r"^<[^>]*>: |; repeat this option to specify a list of values$", "", flag.help or "")
    return " ".join(text.split())


def _escaped(text: str, characters: str) -> str:
    return "".join(f"\\{each}" if each in characters + "\\" else each for each in text)


def _quoted(text: str, fish: bool = False) -> str:
    """In single quotes; fish escapes inside them, the others leave them for a moment."""
    if fish:
        return "'" + _escaped(text, "'") + "'"
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    sys.exit(run())
