"""The outputs of signatures that read a text, as typed results: one for each row of a batch."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from tflm.serving.handle.inputs import truncated_column
from tflm.serving.handle.results import (
    Answer,
    AnswerCandidate,
    Classification,
    Filled,
    Neighbor,
    Score,
    Span,
)

Columns = dict[str, list[str]]
"""The texts of a request by input name."""


def divide(text: str, spans: Sequence[Span]) -> list[str]:
    """A text divided at the ends of its spans, without spaces around the pieces.

    >>> divide("我爱北京！", [Span(0, 1, "word", 1.0, "我"), Span(2, 4, "word", 1.0, "北京")])
    ['我', '爱', '北京', '！']
    """
    ends = sorted({0, len(text), *(end for span in spans for end in (span.start, span.end))})
    pieces = (text[start:end].strip() for start, end in itertools.pairwise(ends))
    return [piece for piece in pieces if piece]


def read_classifications(columns: Columns, outputs: Mapping[str, Any]) -> list[Classification]:
    """The rows of `classify`."""
    found = []
    rows = zip(outputs["label"], outputs["labels"], outputs["scores"], truncated_column(outputs), strict=True)
    for label, labels, scores, truncated in rows:
        names = [each.decode("utf-8") for each in labels]
        by_name = dict(zip(names, scores.tolist(), strict=True))
        own = label.decode("utf-8")
        found.append(Classification(own, by_name.get(own), by_name, truncated))
    return found


def read_choices(choices: Sequence[str], outputs: Mapping[str, Any]) -> list[Classification]:
    """The rows of `choose`."""
    found = []
    rows = zip(outputs["choice"], outputs["probabilities"].tolist(), truncated_column(outputs), strict=True)
    for label, scores, truncated in rows:
        by_name = dict(zip(choices, scores, strict=True))
        own = label.decode("utf-8")
        found.append(Classification(own, by_name.get(own), by_name, truncated))
    return found


def read_spans(columns: Columns, outputs: Mapping[str, Any]) -> list[list[Span]]:
    """The rows of `tag`; `columns` has the texts."""
    values = [outputs[name].tolist() for name in ("num_spans", "start", "end", "label", "score")]
    return [
        [
            Span(start, end, label.decode("utf-8"), score, text[start:end])
            for start, end, label, score in list(zip(*parts, strict=True))[:count]
        ]
        for text, count, *parts in zip(columns["text"], *values, strict=True)
    ]


def read_answer(outputs: Mapping[str, Any], row: int, count: int) -> Answer:
    """A row of `answer`: what was decided for, then the likeliest others, no answer among them."""
    columns = [outputs[name][row].tolist() for name in ("answers", "starts", "ends", "scores")]
    spans = [
        AnswerCandidate(text.decode("utf-8"), start, end, score)
        for text, start, end, score in zip(*columns, strict=True)
        if start >= 0
    ]
    none = AnswerCandidate("", -1, -1, max(0.0, 1.0 - sum(span.score for span in spans)))
    decided, others = (none, spans) if outputs["start"][row] < 0 else (spans[0], [*spans[1:], none])
    decided = AnswerCandidate(decided.text, decided.start, decided.end, float(outputs["score"][row]))
    candidates = (decided, *sorted(others, key=lambda one: -one.score))
    margin = float(outputs["margin"][row])
    truncated = truncated_column(outputs)[row]
    return Answer(
        decided.text, decided.start, decided.end, decided.score, margin, candidates[:count], truncated
    )


def read_neighbors(columns: Columns, outputs: Mapping[str, Any]) -> list[list[Neighbor]]:
    """The rows of `nearest`."""
    rows = zip(outputs["words"], outputs["scores"].tolist(), strict=True)
    return [
        [Neighbor(word.decode("utf-8"), score) for word, score in zip(words, scores, strict=True) if word]
        for words, scores in rows
    ]


def read_filled(columns: Columns, outputs: Mapping[str, Any]) -> list[Filled]:
    """The rows of `fill`."""
    rows = zip(outputs["text"], outputs["log_probability"].tolist(), truncated_column(outputs), strict=True)
    return [Filled(text.decode("utf-8"), value, truncated) for text, value, truncated in rows]


def read_scores(columns: Columns, outputs: Mapping[str, Any]) -> list[Score]:
    """The rows of `score`; of an older export without its tokens."""
    found = []
    truncated = truncated_column(outputs)
    for row, number in enumerate(outputs["num_tokens"].tolist()):
        ids: list[int] = []
        each: list[float] = []
        if "token_log_probabilities" in outputs and "token_ids" in outputs:
            each = outputs["token_log_probabilities"][row].tolist()
            ids = outputs["token_ids"][row].tolist()
            last = max((place for place, token in enumerate(ids) if token > 0), default=-1) + 1
            ids, each = ids[:last], each[:last]
        total = float(outputs["log_probability"][row])
        found.append(Score(total, number, tuple(ids), tuple(each), truncated[row]))
    return found


def read_token_ids(columns: Columns, outputs: Mapping[str, Any]) -> list[list[int]]:
    """The rows of `tokenize`, without padding."""
    rows = zip(outputs["token_ids"].tolist(), outputs["lengths"].tolist(), strict=True)
    return [ids[:length] for ids, length in rows]
