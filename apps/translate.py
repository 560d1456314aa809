"""Translates texts with an exported model of pairs.

  python -m apps.translate --model=saved_models/en_de --text="A man is sleeping in a green room."
  python -m apps.translate --model=saved_models/en_de --input=captions.en > captions.de
  python -m apps.translate --model=saved_models/en_de --input=captions.en --format=json --temperature=0
  python -m apps.translate --model=saved_models/en_de --input=captions.en --beam_size=4 --length_penalty=0.6
  python -m apps.translate --model=saved_models/en_de --text="A man is sleeping." --beam_size=8 --num_best=3

One translation a line, in the order of the texts. --beam_size looks for the likeliest translation by beam search;
--num_best prints the best so many, each after its score and a tab, the best first. `apps.evaluate` measures BLEU and
chrF, with --beam_size too.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items
from apps.text_generation import Generator, define_beams, define_generation, one_line, scores_of, with_score

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A text to translate."}
define_generation(FLAGS)
define_beams(FLAGS)
define_items(FLAGS, _FIELDS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        texts = [item["text"] for item in items]
        for text, records in zip(texts, generator.best(texts), strict=True):
            yield [
                {"text": text, "translation": one_line(record["text"]), **scores_of(record)}
                for record in records
            ]

    def show(record: dict[str, Any]) -> str:
        return with_score(record, record["translation"], generator.num_best)

    answer_items(flag_values, tuple(_FIELDS), answer, show)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
