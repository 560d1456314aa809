"""Continues a text, or answers one, with an exported model.

  python -m apps.generate --model=saved_models/tiny --text="def "
  python -m apps.generate --model=saved_models/tiny --text="class A" --temperature=0.9 --num_samples=3
  python -m apps.generate --model=saved_models/tiny --input=prompts.txt --format=json > out.jsonl

A model of language prints the text and its continuation; a model of pairs prints its answer alone.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items
from apps.text_generation import Generator, define_generation

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A text to continue, or to answer."}
define_generation(FLAGS)
define_items(FLAGS, _FIELDS)
flags.DEFINE_integer(
    "num_samples", 1, "Texts for each prompt, with seeds counting up.", lower_bound=1, flag_values=FLAGS
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)
    continues = generator.model.config.get("task", {}).get("kind") == "language_modeling"
    samples, first_seed = flag_values.num_samples, generator.settings["seed"]

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        prompts = [item["text"] for item in items for _ in range(samples)]
        seeds = [first_seed + sample for _ in items for sample in range(samples)]
        records = zip(prompts, seeds, generator(prompts, seeds), strict=True)
        found = [{"prompt": prompt, "seed": seed, **record} for prompt, seed, record in records]
        for begin in range(0, len(found), samples):
            yield found[begin : begin + samples]

    def show(record: dict[str, Any]) -> str:
        return record["prompt"] + record["text"] if continues else record["text"]

    answer_items(flag_values, tuple(_FIELDS), answer, show)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
