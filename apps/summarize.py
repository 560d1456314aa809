"""Summarizes texts with an exported model.

  tflm summarize --model=saved_models/summarizer --text="Args: path: the file to read. Raises ..."
  tflm summarize --model=saved_models/summarizer --input=texts.jsonl --format=json
  tflm summarize --model=saved_models/summarizer --input=reports.jsonl --show_parts
  tflm summarize --model=saved_models/summarizer --input=reports.jsonl --beam_size=4 --num_best=2
  cat texts.txt | tflm summarize --model=saved_models/summarizer > summaries.txt

One summary per line, in the order of the texts. Texts of several lines are given as JSONL: {"text": "..."}.

A text that is longer than the model reads is cut at the ends of sentences into parts; the parts are summarized, and
then their summaries, again in parts if they are still too long. With --parts=off the end of a long text is not read.
--show_parts prints the summaries of the parts below; as JSON, the parts too.

--beam_size searches for the most probable summary by beam search; --num_best prints the best summaries of each text,
each after its score and a tab, the best first.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from tflm.text.words import one_line

from .common.command_line import run_app
from .common.items import answer_items, define_items
from .common.text_generation import CommandLineGenerator, define_beams, define_generation, with_score

FLAGS = flags.FlagValues()
_FIELDS = {"text": "The text to summarize."}
define_generation(FLAGS)
define_beams(FLAGS)
define_items(FLAGS, _FIELDS)
flags.DEFINE_enum(
    "parts",
    "auto",
    ["auto", "off"],
    "Whether texts longer than the model reads are summarized in parts (auto) or cut (off).",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("show_parts", False, "Also shows the summaries of the parts.", flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    generator = CommandLineGenerator(flag_values)
    common = {"by_parts": flag_values.parts == "auto", "return_details": True, **generator.given}

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        texts = [item["text"] for item in items]
        found = generator.model.summarize(texts, batch_size=generator.batch_size, **common)
        for text, summary in zip(texts, found, strict=True):
            parts = [dataclasses.asdict(part) for part in summary.parts]
            shown = {"parts": parts} if flag_values.show_parts else {}
            yield [
                {"text": text, "summary": one_line(each.text), **generator.facts(each), **shown}
                for each in generator.best(summary)
            ]

    answer_items(
        flag_values,
        tuple(_FIELDS),
        answer,
        lambda record: _shown(record, generator.num_best),
        generator.model.config,
    )


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _shown(record: dict[str, Any], num_best: int) -> str:
    """The summary; below it, a little to the right, those of the parts."""
    parts = record.get("parts", [])
    lines = [f"  round {part['round']}, part {n}: {part['summary']}" for n, part in enumerate(parts, start=1)]
    return "\n".join([with_score(record, record["summary"], num_best), *lines])


if __name__ == "__main__":
    sys.exit(run())
