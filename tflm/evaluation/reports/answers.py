"""Batched inference for reports, with length bucketing and throughput.

A report uses a model through an `AnswerFn` only. `signature_fn` makes one from a task's signature; the `predict` method
of an export with a fixed signature name is one.

    fns = Signatures(lambda name: signature_fn(task.signatures(model)[name]))       # of a run
    fns = Signatures(lambda name: functools.partial(connect(path).predict, name))   # of an export
    REPORT_FNS.get("texts")(fns, examples, config.task)
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.progress import ProgressBar

_MOST_SCORED = 8  # texts at a time: the logits of all their tokens are in memory together

Columns = Mapping[str, Sequence[Any]]
AnswerFn = Callable[[Columns], Mapping[str, np.ndarray]]
"""Maps inputs, by name: N texts, numbers or lists of texts, to outputs, by name: arrays [N, ...]."""


def signature_fn(function: Callable[..., Mapping[str, tf.Tensor]]) -> AnswerFn:
    """An `AnswerFn` from a `tf.function` with an input signature, such as those of `Task.signatures`. Columns are
    passed in the order of the signature."""

    def answer(columns: Columns) -> dict[str, np.ndarray]:
        specs = function.input_signature  # type: ignore[attr-defined]
        columns_of_specs = zip(specs, columns.values(), strict=True)
        outputs = function(*(tf.constant(list(column), spec.dtype) for spec, column in columns_of_specs))
        return {name: value.numpy() for name, value in outputs.items()}

    return answer


class BatchedAnswers:
    """Wraps an `AnswerFn` for any number of rows.

        answer = BatchedAnswers(signature_fn(task.signatures(model)["classify"]), batch_size=64)
        answer({"text": texts})["label"]  # array(['good', 'bad', ...])

    Rows are batched by length and outputs are returned in input order; string outputs are `str`. If batches differ in
    width, such as the number of spans, rows are padded with 0 or "".

    Attributes:
        num_rows: int, rows processed.
        num_truncated: int, rows with truncated input; 0 if the model has no output `truncated`.
        seconds: float, processing time. The first batch is run once before, untimed, for tracing.
    """

    def __init__(self, function: AnswerFn, batch_size: int = 64) -> None:
        self.function, self.batch_size = function, batch_size
        self.num_rows, self.seconds, self._is_warm = 0, 0.0, False
        self.num_truncated = 0

    @property
    def rows_per_second(self) -> float:
        """Throughput over all calls; 0 before the first."""
        return self.num_rows / self.seconds if self.seconds else 0.0

    def __call__(self, columns: Columns) -> dict[str, np.ndarray]:
        """Outputs in input order; an empty dict for no rows."""
        texts = list(columns.values())
        sized = [column for column in texts if not isinstance(column[0], int | float)] if texts[0] else texts
        order = sorted(range(len(texts[0])), key=lambda row: sum(len(column[row]) for column in sized))
        found: dict[str, list[Any]] = {}
        with ProgressBar("answering", "texts", len(order)) as bar:
            for begin in range(0, len(order), self.batch_size):
                rows = order[begin : begin + self.batch_size]
                batch = {name: [column[row] for row in rows] for name, column in columns.items()}
                for name, value in self._timed(batch, len(rows)).items():
                    found.setdefault(name, []).extend(value)
                bar.advance(len(rows))
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
        self.num_truncated += int(np.count_nonzero(outputs.get("truncated", False)))
        return outputs


class Signatures:
    """A model's signatures as functions, each made when it is first asked for.

    Args:
        find_fn: the name of a signature to its `AnswerFn`.
        batch_size: rows in one request; `score` gets 8 at most.
        settings: the model's own settings of generation, for signatures that take them.
        bleu_tokenizer: how BLEU finds words in what the signatures generate; "" is by script.
    """

    def __init__(
        self,
        find_fn: Callable[[str], AnswerFn],
        batch_size: int = 64,
        settings: Mapping[str, Any] | None = None,
        bleu_tokenizer: str = "",
    ) -> None:
        self.find_fn, self.batch_size, self.settings = find_fn, batch_size, settings or {}
        self.bleu_tokenizer = bleu_tokenizer
        self._found: dict[str, BatchedAnswers] = {}

    def __call__(self, name: str) -> BatchedAnswers:
        """The signature of that name."""
        if name not in self._found:
            size = min(self.batch_size, _MOST_SCORED) if name == "score" else self.batch_size
            self._found[name] = BatchedAnswers(self.find_fn(name), size)
        return self._found[name]

    @property
    def num_truncated(self) -> int:
        """Of how many examples the model did not read something, by the signature that says so of most."""
        return max((each.num_truncated for each in self._found.values()), default=0)

    def asked(self, name: str) -> BatchedAnswers:
        """The signature of that name if it has answered, else another that has."""
        return next((each for each in (self(name), *self._found.values()) if each.num_rows), self(name))


def _array(values: list[Any]) -> np.ndarray:
    if np.ndim(values[0]):
        width = max(len(value) for value in values)
        values = [_widened(np.asarray(value), width) for value in values]
    array = np.array(values)
    return np.char.decode(array.astype(np.bytes_), "utf-8") if array.dtype.kind in "SO" else array


def _widened(row: np.ndarray, width: int) -> np.ndarray:
    filling = {"S": b"", "O": b"", "U": ""}.get(row.dtype.kind, 0)
    return np.concatenate([row, np.full(width - len(row), filling, row.dtype)])
