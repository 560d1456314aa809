"""Finds labelled spans in texts, such as names, or segments texts into words.

  tflm tag --model=saved_models/names --text="Anna moved from Paris to 北京."
  tflm tag --model=saved_models/names --input=articles.txt > names.txt
  tflm tag --model=saved_models/names --input=articles.jsonl --text_column=body --format=json
  tflm tag --model=saved_models/words --text=我爱北京 --segment
  cat articles.txt | tflm tag --model=saved_models/names --format=json | grep '"PER"'

Prints a line a text, in their order: the text, a tab, and its spans with a space between, each as START-END:LABEL.
START and END count characters from 0, and END is the one after the last: 0-4:PER is "Anna". Tabs in a text become
spaces. With --format=json also each span's own text and its probability.

--segment prints the text with a space at each end of a span, as word segmentation is written: 我 爱 北京. What no span
covers stands by itself.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from .common.command_line import run_app
from .common.items import answer_items, define_items
from .common.model_flag import define_model, open_model

if TYPE_CHECKING:
    from tflm.serving.handle.results import Span

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"text": "The text to tag."})
flags.DEFINE_boolean(
    "segment",
    False,
    "Prints the text with spaces at the ends of its spans: word segmentation.",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    model = open_model(flag_values, "tag")

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        from tflm.serving.handle.inputs import without_surrogates
        from tflm.serving.handle.outputs import divide

        texts = [without_surrogates(item["text"]) for item in items]
        for text, spans in zip(texts, model.tag(texts, batch_size=flag_values.batch_size), strict=True):
            record: dict[str, Any] = {"text": text, "spans": [_span(span) for span in spans]}
            if flag_values.segment:
                record["segmented"] = " ".join(divide(text, spans))
            yield [record]

    answer_items(flag_values, ("text",), answer, _shown)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _span(span: "Span") -> dict[str, Any]:
    return {name: getattr(span, name) for name in ("start", "end", "label", "text", "score")}


def _shown(record: dict[str, Any]) -> str:
    """ "Anna is in 北京\t0-4:PER 11-13:LOC"."""
    text = re.sub(r"[\t\r\n]", " ", record.get("segmented", record["text"]))
    if "segmented" in record:
        return text
    return (
        text + "\t" + " ".join(f"{span['start']}-{span['end']}:{span['label']}" for span in record["spans"])
    )


if __name__ == "__main__":
    sys.exit(run())
