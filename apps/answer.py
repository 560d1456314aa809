"""Answers questions from a text or from documents, with an exported model.

  tflm answer --model=saved_models/questions --question="Who wrote it?" --context="It was written by Anna."
  tflm answer --model=saved_models/questions --question=谁写的？ --context=这是王小明写的。 --num_answers=3
  tflm answer --model=saved_models/questions --input=questions.jsonl --format=json
  tflm answer --model=saved_models/questions --input=questions.tsv --question_column=q --threshold=2
  tflm answer --model=saved_models/questions --documents=docs --embedder=saved_models/similarity \\
      --question="Which version is served?"

Prints a line a question, in their order: the answer, a tab, and its probability; "(no answer)" where the text seems to
have none. --num_answers=3 prints the next likeliest of the same line, with tabs between. Spaces and line ends inside an
answer become single spaces. A file has the question, a tab and the text on each line, or is a table or JSON lines.

--threshold says how far an answer must be ahead of "(no answer)", in log odds: 0 for the likelier of the two, more to
answer only where it is surer, -1000 to answer always. By default it is the model's own.

With --documents no text is given: the passages of those files that are closest to the question are read, and file and
line of the answer are printed behind it. The passages are embedded once, into an index on disk; the next call embeds
only new and changed files. A question by itself is a line.

With --format=json also the position of each answer in the text, `start` and `end` in characters (the end after the last
one, -1 for no answer), and `margin`, which --threshold is compared with. `truncated` says that the question was too
long for the model, which did not read its end; the text is read whole, however long it is.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.errors import UsageError

from .common.command_line import run_app
from .common.documents import Documents, define_documents, open_documents
from .common.input_rows import Fields
from .common.items import Record, answer_items, define_items
from .common.model_flag import define_model, open_model

if TYPE_CHECKING:
    from tflm.serving.handle.results import Answer

NO_ANSWER = "(no answer)"
_FIELDS = ("question", "context")
_SPAN = ("answer", "start", "end", "score")

FLAGS = flags.FlagValues()
define_model(FLAGS)
define_items(FLAGS, {"question": "The question.", "context": "The text that holds the answer."})
define_documents(FLAGS)
flags.DEFINE_integer(
    "num_answers", 1, "How many answers to print, the most probable first.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_float(
    "threshold",
    None,
    "Log odds by which an answer must lead over no answer: 0 for the more probable of the two, 2 to answer only when "
    "sure, -1000 to answer always. If not given, the threshold of the export.",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if flag_values.documents and flag_values.context is not None:
        raise UsageError("--documents and --context are both given; the text comes from one of them.")
    reader = _QuestionAnswerer(flag_values)
    if flag_values.documents:
        documents = open_documents(flag_values)
        found = functools.partial(reader.answer_from, documents)
        answer_items(flag_values, ("question",), found, _shown, reader.model.config)
    else:
        answer_items(flag_values, _FIELDS, reader.answer, _shown, reader.model.config)


class _QuestionAnswerer:
    """The model, and how it is asked."""

    def __init__(self, flag_values: flags.FlagValues) -> None:
        self.model = open_model(flag_values, "answer")
        self.count, self.threshold = flag_values.num_answers, flag_values.threshold

    def answer(self, items: list[Fields]) -> Iterator[list[Record]]:
        """A record for each question and its text."""
        for record in self._read(items):
            yield [record]

    def answer_from(self, documents: Documents, items: list[Fields]) -> Iterator[list[Record]]:
        """A record for each question: the surest answer of the passages closest to it, and its position."""
        from tflm.retrieval.passages import line_of

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
            truncation = (
                {"truncated": records[0]["truncated"]} if records and "truncated" in records[0] else {}
            )
            yield [{"question": question, **best, **truncation, "answers": answers[: self.count] or [none]}]

    def _read(self, items: list[Fields]) -> list[Record]:
        from tflm.serving.handle.inputs import without_surrogates

        columns = {name: [without_surrogates(item[name]) for item in items] for name in _FIELDS}
        settings: dict[str, Any] = {
            "threshold": self.threshold,
            "num_answers": self.count,
            "batch_size": max(1, len(items)),
        }
        try:
            found = self.model.answer(columns["question"], columns["context"], **settings)
        except UsageError as error:  # it names the argument, which is a flag here
            raise UsageError(f"--{error}") from error
        return [
            {name: column[row] for name, column in columns.items()} | _record(each)
            for row, each in enumerate(found)
        ]


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _record(found: "Answer") -> Record:
    """An answer as JSON, with the next likeliest."""
    answers = [dict(zip(_SPAN, dataclasses.astuple(each), strict=True)) for each in found.candidates]
    record = {**answers[0], "margin": found.margin, "answers": answers}
    return record if found.truncated is None else {**record, "truncated": found.truncated}


def _shown(record: Record) -> str:
    """ "Anna\t0.9123\t(no answer)\t0.0512", each with its place where it was looked for in documents."""
    return "\t".join(_shown_answer(one) for one in record["answers"])


def _shown_answer(one: Record) -> str:
    shown = f"{' '.join(one['answer'].split()) or NO_ANSWER}\t{one['score']:.4f}"
    return f"{shown}\t{one['file']}:{one['line']}" if one.get("file") else shown


if __name__ == "__main__":
    sys.exit(run())
