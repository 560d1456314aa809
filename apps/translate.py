"""Translates texts with an exported model.

  tflm translate --model=saved_models/en_de --text="A man is sleeping in a green room."
  tflm translate --model=saved_models/en_de --input=captions.en > captions.de
  tflm translate --model=saved_models/en_de --input=captions.en --format=json --temperature=0
  tflm translate --model=saved_models/en_de --input=captions.en --beam_size=4 --length_penalty=0.6
  tflm translate --model=saved_models/en_de --text="A man is sleeping." --beam_size=8 --num_best=3

One translation per line, in the order of the texts. --beam_size searches for the most probable translation by beam
search; --num_best prints the best translations, each after its score and a tab, the best first. `tflm evaluate`
measures BLEU and chrF, with --beam_size too.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from tflm.text.words import one_line

from .common.command_line import run_app
from .common.items import answer_items, define_items
from .common.text_generation import CommandLineGenerator, define_beams, define_generation, with_score

FLAGS = flags.FlagValues()
_FIELDS = {"text": "The text to translate."}
define_generation(FLAGS)
define_beams(FLAGS)
define_items(FLAGS, _FIELDS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = CommandLineGenerator(flag_values)

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        texts = [item["text"] for item in items]
        for text, found in zip(texts, generator(texts), strict=True):
            yield [
                {"text": text, "translation": one_line(each.text), **generator.facts(each)}
                for each in generator.best(found)
            ]

    def show(record: dict[str, Any]) -> str:
        return with_score(record, record["translation"], generator.num_best)

    answer_items(flag_values, tuple(_FIELDS), answer, show, generator.model.config)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
