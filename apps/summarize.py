"""Summarizes texts with an exported model.

  python -m apps.summarize --model=saved_models/summarizer --text="Args: path: the file to read. Raises ..."
  python -m apps.summarize --model=saved_models/summarizer --input=texts.jsonl --format=json
  cat texts.txt | python -m apps.summarize --model=saved_models/summarizer > summaries.txt

One summary a line, in the order of the texts. A text of several lines goes into JSONL, as {"text": "..."}.
"""

import sys
from collections.abc import Iterator, Sequence

from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items
from apps.text_generation import Generator, define_generation

FLAGS = flags.FlagValues()
_FIELDS = {"text": "A text to summarize."}
define_generation(FLAGS)
define_items(FLAGS, _FIELDS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = Generator(flag_values)

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
        texts = [item["text"] for item in items]
        for text, record in zip(texts, generator(texts), strict=True):
            yield [{"text": text, "summary": " ".join(record["text"].split())}]

    answer_items(flag_values, tuple(_FIELDS), answer, lambda record: record["summary"])


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
