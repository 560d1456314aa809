"""Translates texts with an exported model of pairs.

  python -m apps.translate --model=saved_models/en_de --text="A man is sleeping in a green room."
  python -m apps.translate --model=saved_models/en_de --input=captions.en > captions.de
  python -m apps.translate --model=saved_models/en_de --input=captions.en --format=json --temperature=0

One translation a line, in the order of the texts. `apps.evaluate` measures BLEU and chrF.
"""

import sys
from collections.abc import Iterator, Sequence

from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items
from apps.text_generation import Generator, define_generation, one_line

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A text to translate."}
define_generation(FLAGS)
define_items(FLAGS, _FIELDS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
        texts = [item["text"] for item in items]
        for text, record in zip(texts, generator(texts), strict=True):
            yield [{"text": text, "translation": one_line(record["text"])}]

    answer_items(flag_values, tuple(_FIELDS), answer, lambda record: record["translation"])


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
