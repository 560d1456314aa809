"""Summarizes texts with an exported model.

  python -m apps.summarize --model=saved_models/summarizer --text="Args: path: the file to read. Raises ..."
  python -m apps.summarize --model=saved_models/summarizer --input=texts.jsonl --format=json
  cat texts.txt | python -m apps.summarize --model=saved_models/summarizer > summaries.txt

One summary a line, in the order of the texts. A text of several lines goes into JSONL, as {"text": "..."}.
"""

import sys
from collections.abc import Sequence

from absl import flags

from apps.command_line import run_app
from apps.items import define_items
from apps.text_generation import define_generation, print_lines

FLAGS = flags.FlagValues()
define_generation(FLAGS)
define_items(FLAGS, {"text": "A text to summarize."})


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    print_lines(flag_values, "summary")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
