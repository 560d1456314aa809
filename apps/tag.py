"""Finds labelled spans in texts, such as names, or cuts texts into words, with an exported model.

  python -m apps.tag --model=saved_models/names --text="Anna moved from Paris to 北京."
  python -m apps.tag --model=saved_models/names --input=articles.txt > names.txt
  python -m apps.tag --model=saved_models/names --input=articles.jsonl --text_column=body --format=json
  python -m apps.tag --model=saved_models/words --text=我爱北京 --segment
  cat articles.txt | python -m apps.tag --model=saved_models/names --format=json | grep '"PER"'

Prints a line a text, in their order: the text, a tab, and its spans with a space between, each as START-END:LABEL.
START and END count characters from 0, and END is the one after the last: 0-4:PER is "Anna". Tabs in a text become
spaces. With --format=json also each span's own text and its probability.

--segment prints the text with a space at each end of a span, as word segmentation is written: 我 爱 北京. What no span
covers stands by itself.
"""

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from apps.command_line import run_app
from apps.items import answer_items, define_items
from apps.model_flag import define_model, open_model

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"text": "A text to find spans in."})
flags.DEFINE_boolean("segment", False, "Print the text, cut by spaces at its spans.", flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    model = open_model(flag_values, "tag")

    def answer(items: list[dict[str, str]]) -> Iterator[list[dict[str, Any]]]:
        # A lone surrogate, which JSON can hold, would count as several characters in UTF-8.
        texts = [re.sub(r"[\ud800-\udfff]", "\ufffd", item["text"]) for item in items]
        outputs = model.predict("tag", {"text": texts})
        columns = [outputs[name].tolist() for name in ("num_spans", "start", "end", "label", "score")]
        for text, count, *parts in zip(texts, *columns, strict=True):
            spans = [
                {"start": start, "end": end, "label": label.decode(), "text": text[start:end], "score": score}
                for start, end, label, score in list(zip(*parts, strict=True))[:count]
            ]
            record: dict[str, Any] = {"text": text, "spans": spans}
            yield [{**record, "segmented": segment(text, spans)} if flag_values.segment else record]

    answer_items(flag_values, ("text",), answer, _shown)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def segment(text: str, spans: Sequence[dict[str, Any]]) -> str:
    """The text cut at the ends of its spans.

    >>> segment("我爱北京！", [{"start": 0, "end": 1}, {"start": 2, "end": 4}])
    '我 爱 北京 ！'
    """
    ends = sorted({0, len(text), *(span[name] for span in spans for name in ("start", "end"))})
    pieces = (text[start:end].strip() for start, end in itertools.pairwise(ends))
    return " ".join(piece for piece in pieces if piece)


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
