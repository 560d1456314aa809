"""Summarizes texts with an exported model.

  python -m apps.summarize --model=saved_models/summarizer --text="Args: path: the file to read. Raises ..."
  python -m apps.summarize --model=saved_models/summarizer --input=texts.jsonl --format=json
  cat texts.txt | python -m apps.summarize --model=saved_models/summarizer > summaries.txt

One summary a line, in the order of the texts. A text of several lines goes into JSONL, as {"text": "..."}.
"""

import sys
from collections.abc import Sequence

from absl import flags

from apps.command_line import batched, define_input, read_texts, run_app, write_result
from apps.text_generation import Generator, define_generation

FLAGS = flags.FlagValues()
define_generation(FLAGS)
define_input(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)
    for batch in batched(read_texts(flag_values), flag_values.batch_size):
        for text, record in zip(batch, generator(batch), strict=True):
            summary = " ".join(record["text"].split())
            write_result(flag_values, summary, {"text": text, "summary": summary})


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
