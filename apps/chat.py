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

from apps.command_line import note, run_app
from apps.items import answer_items, define_items
from apps.text_generation import Generator, define_generation
from tflm.errors import UserError

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A question."}
define_generation(FLAGS)
define_items(FLAGS, _FIELDS, batch_size=1)

_HELP = """/set NAME=VALUE  change a setting, such as temperature=0.7
/settings        show the settings
/quit            end"""


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)
    if flag_values.text is None and flag_values.input is None and sys.stdin.isatty():
        _talk(generator)
        return

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
        questions = [item["text"] for item in items]
        asked = [question for question in questions if question.strip()]
        answers = iter(generator(asked) if asked else [])
        for question in questions:
            yield [{"question": question, "answer": next(answers)["text"]}] if question.strip() else []

    answer_items(flag_values, tuple(_FIELDS), answer, lambda record: record["answer"])


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _talk(generator: Generator) -> None:
    """Until /quit or the end of the input."""
    for line in _ask():
        if line == "/quit":
            return
        if line.startswith("/"):
            _command(generator, line)
        elif line.strip():
            print(generator([line])[0]["text"], flush=True)


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
