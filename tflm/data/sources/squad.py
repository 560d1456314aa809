"""Extractive question answering: the JSON formats of SQuAD, CMRC 2018 and DRCD, and JSON lines.

Readers yield {"question", "context", "answers"}. The answers are a JSON list of [start, text], with the start in code
points: [] for an unanswerable question, a start of -1 for an answer that is not in the context.
"""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

from absl import logging

from tflm.data.files import read_lines
from tflm.data.sources.rows import Row
from tflm.data.sources.tables import read_records
from tflm.errors import UserError

Answer = tuple[int | None, str]
"""(start, text); the start is None if not given."""

_FORMS = (
    'expected {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]} (SQuAD, DRCD, CMRC 2018) or '
    '[{"context_text": ..., "qas": [...]}] (CMRC 2018); JSON lines are source \'jsonl\''
)
_warned: set[str] = set()


def read_squad(files: list[str], encoding: str = "utf-8") -> Iterator[Row]:
    """The questions of JSON files in the format of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016; 2018), DRCD (Shao et al.,
    2018) and CMRC 2018 (Cui et al., 2019); files are read into memory.

        {"data": [{"title": "A", "paragraphs": [{"context": "It was Anna.", "qas": [
            {"question": "Who?", "answers": [{"text": "Anna", "answer_start": 7}]},
            {"question": "When?", "answers": [], "is_impossible": true}]}]}]}
        ->  {"question": "Who?", "context": "It was Anna.", "answers": '[[7, "Anna"]]'}, and "When?" with '[]'

    All paragraphs of an article are in one split if titles are unique.

    Raises:
        UserError: a file is not JSON, or has another format.
    """
    for file in files:
        content = _load(file, encoding)
        try:
            paragraphs = list(_paragraphs(content))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{file} has another format ({type(error).__name__}: {error}); {_FORMS}"
            ) from error
        moved: list[str] = []
        for question, context, answers, key in paragraphs:
            if answers is None:
                yield Row(file, 0, {}, "answers that are not texts with starts")
            else:
                yield question_row(file, 0, question, context, answers, key, moved)
        _warn_of_moved(file, moved)


def _load(file: str, encoding: str) -> Any:
    text = "".join(read_lines(file, encoding))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}: {error.msg}"
        raise UserError(f"{file} is not JSON ({place}); {_FORMS}") from error
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        place = "nested too deeply, or a number too long"
        raise UserError(f"{file} is not valid JSON ({place}); {_FORMS}") from error


def read_question_lines(files: list[str], columns: dict[str, str], encoding: str = "utf-8") -> Iterator[Row]:
    """Streams questions, one JSON object per line.

        {"question": "Who?", "context": "It was Anna.", "answer": "Anna", "answer_start": 7}

    The answer is a string, a list of strings, or SQuAD's {"text": [...], "answer_start": [...]}; "", null or [] for an
    unanswerable question. Without a start column, the first occurrence in the context counts.

    Args:
        files: paths.
        columns: columns of question, context, answer and optionally answer_start.
        encoding: Python name of the encoding.
    """
    for file in files:
        moved: list[str] = []
        yield from _line_rows(file, columns, encoding, moved)
        _warn_of_moved(file, moved)


def _line_rows(file: str, columns: dict[str, str], encoding: str, moved: list[str]) -> Iterator[Row]:
    names = [columns[key] for key in ("question", "context", "answer")]
    for _, number, record in read_records([file], names, encoding):
        if isinstance(record, Row):
            yield record
            continue
        question, context, value = (record.get(name) for name in names)
        answers = _answers(value, record.get(columns.get("answer_start", "")))
        if answers is None:
            yield Row(file, number, {}, f"column {names[2]!r} is not an answer or a list of answers")
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
    """The row of a question. Byte-order marks and outer spaces are removed and the starts adjusted. If an answer is not
    at its start, the nearest occurrence counts, and the question is added to `moved`.

    >>> question_row("f", 1, "Who?", " It was Anna.", [(8, "Anna"), (None, "Anne")]).example["answers"]
    '[[7, "Anna"], [-1, "Anne"]]'

    The row is bad if there are answers and none of them is in the context.
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
        plain = _spelled_as_in(tidy, plain.strip())
        place = _place(tidy, plain, start)
        found.append((place, plain))
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


def _spelled_as_in(context: str, text: str) -> str:
    """The text in the normalization form, NFC or NFD, that occurs in the context; unchanged if none does."""
    forms = (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")))
    return next((form for form in forms if form in context), text)


def _place(context: str, text: str, start: int | None) -> int:
    """The occurrence of the text nearest to `start`, or the first if None; -1 if it does not occur.

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


def _warn_of_moved(file: str, moved: list[str]) -> None:
    """Warns of relocated answers once per file, since data is read several times."""
    if moved and file not in _warned:
        _warned.add(file)
        logging.warning(
            "%s: %d answers are not at their answer_start and were found elsewhere in the context; the first is that "
            "of %r",
            file,
            len(moved),
            moved[0],
        )


def _paragraphs(content: Any) -> Iterator[tuple[Any, Any, list[Answer] | None, str]]:
    """(question, context, answers, key) of each question of a file; answers are None if malformed."""
    if isinstance(content, list):  # the original format of CMRC 2018
        for paragraph in content:
            for question in paragraph["qas"]:
                context, answers = paragraph["context_text"], question["answers"]
                yield question["query_text"], context, _answers(answers, None), context
        return
    titles = [article.get("title") for article in content["data"]]
    keyed = len(titles) > 1 and len(set(titles)) == len(titles) and all(titles)
    for article, title in zip(content["data"], titles):
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [] if question.get("is_impossible") else question["answers"]
                texts = [answer["text"] for answer in answers]
                given = _answers(texts, [answer.get("answer_start") for answer in answers])
                key = title if keyed else paragraph["context"]
                yield question["question"], paragraph["context"], given, key


def _answers(value: Any, start: Any) -> list[Answer] | None:
    """Answers of a JSON value; None if malformed.

    >>> _answers({"text": ["Anna", "she"], "answer_start": [7, 0]}, None)
    [(7, 'Anna'), (0, 'she')]
    """
    if isinstance(value, dict):
        value, start = value.get("text"), value.get("answer_start")
    if value is None or value == "":
        value = []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        return None
    starts = start if isinstance(start, list) else [start] * len(texts)
    if len(starts) != len(texts) or not all(isinstance(text, str) for text in texts):
        return None
    try:
        return [(_place_of(start), text) for start, text in zip(starts, texts)]
    except (TypeError, ValueError, OverflowError):
        return None


def _place_of(start: Any) -> int | None:
    """A start from a table cell, such as 7, 7.0 or "7"; None if empty.

    Raises:
        TypeError, ValueError, OverflowError: not an integer.
    """
    if start is None or start == "":
        return None
    if isinstance(start, float) and not start.is_integer():
        raise ValueError("no whole number")
    return int(start)
