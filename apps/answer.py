"""Answers questions from given texts or from documents, with an exported model that finds the answer in the text.

  python -m apps.answer --model=saved_models/questions --question="Who wrote it?" --context="It was written by Anna."
  python -m apps.answer --model=saved_models/questions --question=谁写的？ --context=这是王小明写的。 --num_answers=3
  python -m apps.answer --model=saved_models/questions --input=questions.jsonl --format=json
  python -m apps.answer --model=saved_models/questions --input=questions.tsv --question_column=q --threshold=2
  python -m apps.answer --model=saved_models/questions --documents=docs --embedder=saved_models/similarity \\
      --question="Which version is served?"

Prints a line a question, in their order: the answer, a tab, and its probability; "(no answer)" where the text seems to
have none. --num_answers=3 prints the next likeliest of the same line, with tabs between. Spaces and line ends inside an
answer become single spaces. A file has the question, a tab and the text on each line, or is a table or JSON lines.

--threshold says how far an answer must be ahead of "(no answer)", in log odds: 0 for the likelier of the two, more to
answer only where it is surer, -1000 to answer always. By default it is the model's own.

With --documents no text is given: the passages of those files that are closest to the question are read, and file and
line of the answer are printed behind it. The passages are embedded once, into an index on disk; the next call embeds
only new and changed files. A question by itself is a line.

With --format=json also where each answer stands in the text, `start` and `end` in characters (the end after the last
one, -1 for no answer), and `margin`, which --threshold is compared with.
"""

import functools
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from apps.command_line import run_app
from apps.documents import Documents, define_documents, open_documents
from apps.items import Fields, Record, answer_items, define_items
from apps.model_flag import define_model, open_model
from tflm.errors import UsageError

NO_ANSWER = "(no answer)"
_FIELDS = ("question", "context")
_SPAN = ("answer", "start", "end", "score")

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"question": "A question.", "context": "The text to answer it from."})
define_documents(FLAGS)
flags.DEFINE_integer(
    "num_answers", 1, "How many answers to print, the likeliest first.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_float(
    "threshold",
    None,
    "By how much an answer must be ahead of none; the model's own by default.",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if flag_values.documents and flag_values.context is not None:
        raise UsageError("--documents and --context are both given; the text comes from one of them.")
    reader = _Reader(flag_values)
    if flag_values.documents:
        documents = open_documents(flag_values)
        found = functools.partial(reader.answer_from, documents)
        answer_items(flag_values, ("question",), found, _shown)
    else:
        answer_items(flag_values, _FIELDS, reader.answer, _shown)


class _Reader:
    """The model, and how it is asked."""

    def __init__(self, flag_values: flags.FlagValues) -> None:
        self.model = open_model(flag_values, "answer")
        self.count, threshold = flag_values.num_answers, flag_values.threshold
        if threshold is None:
            threshold = float(self.model.config.get("task", {}).get("threshold", 0.0))
        self.threshold = threshold

    def answer(self, items: list[Fields]) -> Iterator[list[Record]]:
        """A record for each question and its text."""
        for record in self._read(items):
            yield [{**record, "answers": record["answers"][: self.count]}]

    def answer_from(self, documents: Documents, items: list[Fields]) -> Iterator[list[Record]]:
        """A record for each question: the surest answer of the passages closest to it, and where it stands."""
        from tflm.serving.passages import line_of

        for item in items:
            question = item["question"]
            passages = [found.passage for found in documents.closest(question)]
            records = self._read([{"question": question, "context": passage.text} for passage in passages])
            answers = []
            for passage, record in zip(passages, records, strict=True):
                if record["start"] >= 0:
                    place = {"file": passage.file, "line": line_of(passage, record["start"])}
                    kept = {name: record[name] for name in (*_SPAN, "margin", "context")}
                    answers.append({**kept, **place})
            answers.sort(key=lambda one: -one["margin"])
            sureness = max((record["score"] for record in records if record["start"] < 0), default=0.0)
            none = {"answer": "", "start": -1, "end": -1, "score": sureness, "file": "", "line": 0}
            best = answers[0] if answers else none
            yield [{"question": question, **best, "answers": answers[: self.count] or [none]}]

    def _read(self, items: list[Fields]) -> list[Record]:
        # A lone surrogate, which JSON can hold, would count as several characters in UTF-8.
        columns = {
            name: [re.sub(r"[\ud800-\udfff]", "\ufffd", item[name]) for item in items] for name in _FIELDS
        }
        outputs = self.model.predict("answer", {**columns, "threshold": [self.threshold] * len(items)})
        if self.count > (most := outputs["answers"].shape[1]):
            raise UsageError(f"--num_answers={self.count}: this model gives {most} at most.")
        fields = [{name: column[row] for name, column in columns.items()} for row in range(len(items))]
        return [{**each, **_record(outputs, row)} for row, each in enumerate(fields)]


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _record(outputs: dict[str, Any], row: int) -> Record:
    """The answer to one question, and `answers`: what was decided for, then the likeliest others, "no answer" among
    them."""
    columns = [outputs[name][row].tolist() for name in ("answers", "starts", "ends", "scores")]
    spans = [dict(zip(_SPAN, values, strict=True)) for values in zip(*columns, strict=True)]
    spans = [{**span, "answer": span["answer"].decode()} for span in spans if span["start"] >= 0]
    none = {
        "answer": "",
        "start": -1,
        "end": -1,
        "score": max(0.0, 1.0 - sum(span["score"] for span in spans)),
    }
    decided = none if outputs["start"][row] < 0 else spans[0]
    decided["score"] = float(outputs["score"][row])
    others = sorted((one for one in [*spans, none] if one is not decided), key=lambda one: -one["score"])
    return {**decided, "margin": float(outputs["margin"][row]), "answers": [decided, *others]}


def _shown(record: Record) -> str:
    """ "Anna\t0.9123\t(no answer)\t0.0512", each with its place where it was looked for in documents."""
    return "\t".join(_shown_answer(one) for one in record["answers"])


def _shown_answer(one: Record) -> str:
    shown = f"{' '.join(one['answer'].split()) or NO_ANSWER}\t{one['score']:.4f}"
    return f"{shown}\t{one['file']}:{one['line']}" if one.get("file") else shown


if __name__ == "__main__":
    sys.exit(run())
