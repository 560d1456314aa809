"""Questions about contexts, answered by spans of them: SQuAD's JSON, CMRC 2018's and DRCD's, and JSON lines.

Every reader gives {"question", "context", "answers"}; the answers are a JSON list of [start, text] with the start in
code points, [] where there is no answer and a start of -1 for an answer that is not in the context.
"""

import json
from collections.abc import Iterator
from typing import Any

from absl import logging

from tflm.data.files import read_lines
from tflm.data.rows import Row
from tflm.data.tables import read_records
from tflm.errors import UserError

Answer = tuple[int | None, str]
"""Where it is said to start, None where nothing is said; and its text."""

_FORMS = (
    'expected {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]} (SQuAD, DRCD, CMRC 2018) or '
    '[{"context_text": ..., "qas": [...]}] (CMRC 2018); JSON lines are source \'jsonl\''
)
_told: set[str] = set()


def read_squad(files: list[str], encoding: str = "utf-8") -> Iterator[Row]:
    """The questions of JSON files as SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016; 2018), DRCD (Shao et al., 2018) and
    CMRC 2018 (Cui et al., 2019) have them; each file is read whole.

        {"data": [{"title": "A", "paragraphs": [{"context": "It was Anna.", "qas": [
            {"question": "Who?", "answers": [{"text": "Anna", "answer_start": 7}]},
            {"question": "When?", "answers": [], "is_impossible": true}]}]}]}
        ->  {"question": "Who?", "context": "It was Anna.", "answers": '[[7, "Anna"]]'}, and "When?" with '[]'

    All paragraphs of an article fall on one side of a split, where every article has a title of its own.

    Raises:
        UserError: a file is not JSON, or of another form.
    """
    for file in files:
        try:
            content = json.loads("".join(read_lines(file, encoding)))
        except (json.JSONDecodeError, RecursionError) as error:
            place = (
                f"line {error.lineno}: {error.msg}" if isinstance(error, ValueError) else "nested too deeply"
            )
            raise UserError(f"{file} is not JSON ({place}); {_FORMS}") from error
        try:
            paragraphs = list(_paragraphs(content))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{file} is of another form ({type(error).__name__}: {error}); {_FORMS}"
            ) from error
        moved: list[str] = []
        for question, context, answers, key in paragraphs:
            yield question_row(file, 0, question, context, answers, key, moved)
        _tell(file, moved)


def read_question_lines(files: list[str], columns: dict[str, str], encoding: str = "utf-8") -> Iterator[Row]:
    """A JSON object a line with a question, its context and its answer; a stream.

        {"question": "Who?", "context": "It was Anna.", "answer": "Anna", "answer_start": 7}

    The answer is a text, a list of them, "" or null or [] for none, or SQuAD's {"text": [...], "answer_start":
    [...]}. Without a column for its start the first place in the context counts.

    Args:
        columns: of question, context, answer and perhaps answer_start.
    """
    for file in files:
        moved: list[str] = []
        yield from _line_rows(file, columns, encoding, moved)
        _tell(file, moved)


def _line_rows(file: str, columns: dict[str, str], encoding: str, moved: list[str]) -> Iterator[Row]:
    names = [columns[key] for key in ("question", "context", "answer")]
    for _, number, record in read_records([file], names, encoding):
        if isinstance(record, Row):
            yield record
            continue
        question, context, value = (record.get(name) for name in names)
        answers = _answers(value, record.get(columns.get("answer_start", "")))
        if answers is None:
            yield Row(file, number, {}, f"column {names[2]!r} is no answer, nor a list of them")
        else:
            yield question_row(file, number, question, context, answers, moved=moved)


def question_row(
    file: str,
    line: int,
    question: Any,
    context: Any,
    answers: list[Answer],
    key: Any = "",
    moved: list[str] | None = None,
) -> Row:
    """The row of a question. Byte-order marks and outer spaces go, and the starts move along. An answer that does not
    stand where it is said to is looked for: the nearest place counts, and the question is added to `moved`.

    >>> question_row("f", 1, "Who?", " It was Anna.", [(8, "Anna"), (None, "Anne")]).example["answers"]
    '[[7, "Anna"], [-1, "Anne"]]'

    The row is bad where there are answers and none of them is in the context.
    """
    if not isinstance(question, str) or not isinstance(context, str):
        return Row(file, line, {}, "a question or a context that is not text")
    kept = context.replace("\ufeff", "")
    before = len(kept) - len(kept.lstrip())
    tidy = kept.strip()
    found: list[tuple[int, str]] = []
    for start, text in answers:
        plain = text.replace("\ufeff", "")
        if not plain.strip():
            return Row(file, line, {}, "an answer of spaces alone")
        if start is not None:
            lead = len(plain) - len(plain.lstrip())
            start += lead - context.count("\ufeff", 0, max(start, 0)) - before
        place = _place(tidy, plain.strip(), start)
        found.append((place, plain.strip()))
        if moved is not None and start is not None and place not in (start, -1):
            moved.append(question)
    if found and all(place < 0 for place, _ in found):
        return Row(file, line, {}, "an answer that is not in the context")
    example = {
        "question": question,
        "context": tidy,
        "answers": json.dumps(found, ensure_ascii=False),
    }
    return Row(file, line, example, key=key if isinstance(key, str) and key else tidy)


def _place(context: str, text: str, start: int | None) -> int:
    """The place of the text that is nearest to `start`, or the first; -1 for none.

    >>> _place("an Anna, an Ann", "an", 8)
    9
    """
    if start is None:
        return context.find(text)
    if start >= 0 and context.startswith(text, start):
        return start
    start = max(start, 0)
    places = [
        place
        for place in (context.rfind(text, 0, start + len(text)), context.find(text, start))
        if place >= 0
    ]
    return min(places, key=lambda place: abs(place - start), default=-1)


def _tell(file: str, moved: list[str]) -> None:
    """Once for each file, since data is read more than once."""
    if moved and file not in _told:
        _told.add(file)
        logging.warning(
            "%s: %d answers do not stand where answer_start says and were found elsewhere in the context; the first is "
            "that of %r",
            file,
            len(moved),
            moved[0],
        )


def _paragraphs(content: Any) -> Iterator[tuple[Any, Any, list[Answer], str]]:
    """Question, context, answers and key of each question of a file."""
    if isinstance(content, list):  # CMRC 2018's own form
        for paragraph in content:
            for question in paragraph["qas"]:
                context, answers = paragraph["context_text"], question["answers"]
                yield question["query_text"], context, _answers(answers, None) or [], context
        return
    titles = [article.get("title") for article in content["data"]]
    keyed = len(titles) > 1 and len(set(titles)) == len(titles) and all(titles)
    for article, title in zip(content["data"], titles):
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [] if question.get("is_impossible") else question["answers"]
                given = [(answer.get("answer_start"), answer["text"]) for answer in answers]
                key = title if keyed else paragraph["context"]
                yield question["question"], paragraph["context"], given, key


def _answers(value: Any, start: Any) -> list[Answer] | None:
    """Answers of a JSON value; None if it is something else.

    >>> _answers({"text": ["Anna", "she"], "answer_start": [7, 0]}, None)
    [(7, 'Anna'), (0, 'she')]
    """
    if isinstance(value, dict):
        value, start = value.get("text"), value.get("answer_start")
    texts = [value] if isinstance(value, str) and value else value or []
    if not isinstance(texts, list):
        return None
    starts = start if isinstance(start, list) else [start] * len(texts)
    if len(starts) != len(texts) or not all(isinstance(text, str) for text in texts):
        return None
    return [(start if isinstance(start, int) else None, text) for start, text in zip(starts, texts)]
