"""What a model answers to many texts: in batches of like length, in the order that they came in, and how fast.

A report needs an `AnswerFn` and nothing else of a model. `signature_fn` makes one of a task's signature; `predict` of
an export, with the signature's name, is one already.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

Columns = Mapping[str, Sequence[Any]]
AnswerFn = Callable[[Columns], Mapping[str, np.ndarray]]
"""Input name to N texts, numbers or lists of texts -> output name to an array [N, ...]."""


def signature_fn(function: Callable[..., Mapping[str, tf.Tensor]]) -> AnswerFn:
    """A `tf.function` with an input signature, as `Task.signatures` gives, as an `AnswerFn`; columns in its order."""

    def answer(columns: Columns) -> dict[str, np.ndarray]:
        specs = function.input_signature  # type: ignore[attr-defined]
        columns_of_specs = zip(specs, columns.values(), strict=True)
        outputs = function(*(tf.constant(list(column), spec.dtype) for spec, column in columns_of_specs))
        return {name: value.numpy() for name, value in outputs.items()}

    return answer


class BatchedAnswers:
    """An `AnswerFn` over another, for any number of rows.

        answer = BatchedAnswers(signature_fn(task.signatures(model)["classify"]), batch_size=64)
        answer({"text": texts})["label"]  # array(['good', 'bad', ...])

    Texts of like length go together, and the answers are put back into their order; those of text are `str`. Where rows
    of batches differ in width, as numbers of spans do, the narrow ones are filled with 0 or "".

    Attributes:
        num_rows: rows that were answered.
        seconds: how long that took, without a first batch that is answered twice: once before the clock runs, for
            what happens once alone, above all tracing.
    """

    def __init__(self, function: AnswerFn, batch_size: int = 64) -> None:
        self.function, self.batch_size = function, batch_size
        self.num_rows, self.seconds, self._is_warm = 0, 0.0, False

    @property
    def rows_per_second(self) -> float:
        """Of all calls so far; 0 before the first."""
        return self.num_rows / self.seconds if self.seconds else 0.0

    def __call__(self, columns: Columns) -> dict[str, np.ndarray]:
        """Answers in order; none at all for no rows."""
        texts = list(columns.values())
        sized = [column for column in texts if not isinstance(column[0], int | float)] if texts[0] else texts
        order = sorted(range(len(texts[0])), key=lambda row: sum(len(column[row]) for column in sized))
        found: dict[str, list[Any]] = {}
        with tqdm(total=len(order), unit="text", desc="answering", delay=2) as bar:
            for begin in range(0, len(order), self.batch_size):
                rows = order[begin : begin + self.batch_size]
                batch = {name: [column[row] for row in rows] for name, column in columns.items()}
                for name, value in self._timed(batch, len(rows)).items():
                    found.setdefault(name, []).extend(value)
                bar.update(len(rows))
        places = np.argsort(order)
        return {name: _array([values[place] for place in places]) for name, values in found.items()}

    def _timed(self, batch: Columns, num_rows: int) -> Mapping[str, np.ndarray]:
        if not self._is_warm:
            self.function(batch)
            self._is_warm = True
        begin = time.perf_counter()
        outputs = self.function(batch)
        self.seconds += time.perf_counter() - begin
        self.num_rows += num_rows
        return outputs


def _array(values: list[Any]) -> np.ndarray:
    if np.ndim(values[0]):
        width = max(len(value) for value in values)
        values = [_widened(np.asarray(value), width) for value in values]
    array = np.array(values)
    return np.char.decode(array.astype(np.bytes_), "utf-8") if array.dtype.kind in "SO" else array


def _widened(row: np.ndarray, width: int) -> np.ndarray:
    filling = {"S": b"", "O": b"", "U": ""}.get(row.dtype.kind, 0)
    return np.concatenate([row, np.full(width - len(row), filling, row.dtype)])
