"""Translates texts with an exported model of pairs.

  python -m apps.translate --model=saved_models/en_de --text="A man is sleeping in a green room."
  python -m apps.translate --model=saved_models/en_de --input=captions.en > captions.de
  python -m apps.translate --model=saved_models/en_de --input=captions.en --format=json --temperature=0

One translation a line, in the order of the texts. `apps.evaluate` measures BLEU and chrF.
"""

import sys
from collections.abc import Sequence

from absl import flags

from apps.command_line import run_app
from apps.items import define_items
from apps.text_generation import define_generation, print_lines

FLAGS = flags.FlagValues()
define_generation(FLAGS)
define_items(FLAGS, {"text": "A text to translate."})


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    print_lines(flag_values, "translation")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
