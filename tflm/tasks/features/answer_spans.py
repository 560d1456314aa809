"""The answers of examples, and the tokens of a context that they are. Not in graph: answers are JSON."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.tasks.features.context_tokens import ContextTokens


class AnswerTokens(NamedTuple):
    """The tokens of one answer for each of B contexts."""

    first: np.ndarray
    """int [B], its first token; -1 for no answer."""
    last: np.ndarray
    """int [B], its last token; of those that share a character the first."""
    widened: np.ndarray
    """bool [B]: it starts or ends inside a token."""


def read_answers(example: dict[str, str]) -> list[tuple[int, str]]:
    """An example's answers, each (start, text) in code points of the context; a start of -1 is one that is not
    in it.

    Raises:
        UserError: it has none, or they are not a JSON list of such pairs.
    """
    if "answers" not in example:
        raise UserError(
            f"question answering needs answers; an example has only {', '.join(example)}. Set data.source to 'squad' "
            "or 'docstring_parameters', or data.question_column, data.context_column and data.answer_column."
        )
    try:
        return [(int(start), str(text)) for start, text in json.loads(example["answers"])]
    except (ValueError, TypeError) as error:
        raise UserError(
            f'answers are a JSON list of [start, text], such as [[7, "Anna"]]; got {example["answers"][:80]!r}.'
        ) from error


def trained_spans(examples: dict[str, tf.Tensor]) -> list[tuple[int, int]]:
    """Start and end of the first answer of each example that occurs in the context; -1 and -1 for none."""
    rows = zip(*([text.decode() for text in column.numpy()] for column in examples.values()))
    answers = (read_answers(dict(zip(examples, values))) for values in rows)
    return [
        next(((start, start + len(text)) for start, text in each if start >= 0), (-1, -1)) for each in answers
    ]


def answer_tokens(context: ContextTokens, spans: Sequence[tuple[int, int]]) -> AnswerTokens:
    """The tokens of answers, which are widened to whole tokens.

    Args:
        context: of B texts.
        spans: start and end in code points for each; a start of -1 for no answer.
    """
    found = []
    rows = [
        np.split(each.flat_values.numpy(), each.row_splits[1:-1].numpy())
        for each in (context.starts, context.ends, context.allowed)
    ]
    for starts, ends, allowed, (start, end) in zip(*rows, spans):
        places = np.flatnonzero(allowed)
        first = int(np.searchsorted(ends[places], start, side="right"))
        last = int(np.searchsorted(starts[places], end, side="left")) - 1
        if start < 0 or first > last:
            found.append((-1, -1, False))
            continue
        first, last = places[first], places[last]
        found.append((first, last, starts[first] != start or ends[last] != end))
    return AnswerTokens(*map(np.array, zip(*found)))
