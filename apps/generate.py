"""Continues a text, or answers one, with an exported model.

  python -m apps.generate --model=saved_models/tiny --text="def "
  python -m apps.generate --model=saved_models/tiny --text="class A" --temperature=0.9 --num_samples=3
  python -m apps.generate --model=saved_models/tiny --input=prompts.txt --format=json > out.jsonl

A model of language prints the text and its continuation; a model of pairs prints its answer alone.
"""

import sys
from collections.abc import Sequence

from absl import flags

from apps.command_line import batched, define_input, read_texts, run_app, write_result
from apps.text_generation import Generator, define_generation

FLAGS = flags.FlagValues()
define_generation(FLAGS)
define_input(FLAGS)
flags.DEFINE_integer(
    "num_samples", 1, "Texts for each prompt, with seeds counting up.", lower_bound=1, flag_values=FLAGS
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)
    continues = generator.model.config.get("task", {}).get("kind") == "language_modeling"
    samples, first_seed = flag_values.num_samples, generator.settings["seed"]
    for batch in batched(read_texts(flag_values), flag_values.batch_size):
        prompts = [text for text in batch for _ in range(samples)]
        seeds = [first_seed + sample for _ in batch for sample in range(samples)]
        for prompt, seed, record in zip(prompts, seeds, generator(prompts, seeds), strict=True):
            shown = prompt + record["text"] if continues else record["text"]
            write_result(flag_values, shown, {"prompt": prompt, "seed": seed, **record})


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
