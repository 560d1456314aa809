"""The report of a model of similarity: how sources find their own targets among all targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.evaluation.answers import AnswerFn
from tflm.evaluation.intervals import bootstrap
from tflm.evaluation.retrieval import ranks, unit_rows

_BLOCK = 1000  # sources that are compared with all targets at a time


def report_retrieval(embed_fn: AnswerFn, examples: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Each source looks for its target; equal targets count as one.

    Args:
        embed_fn: answers `embedding` to `text`.
        examples: {"source", "target"}.
    Returns:
        `this model`: `recall@1`, `recall@5`, `recall@10` and `mrr` (the mean reciprocal rank), in percent, each with
        `NAME_interval`, and `num_targets`; and `texts`, each example with its `answer`, the nearest target, and its
        `reciprocal_rank`.
    """
    sources, wanted = ([example[key] for example in examples] for key in ("source", "target"))
    places = {target: place for place, target in enumerate(dict.fromkeys(wanted))}
    targets = list(places)
    queries, documents = (unit_rows(embed_fn({"text": texts})["embedding"]) for texts in (sources, targets))
    found = ranks(queries, documents, [places[target] for target in wanted])
    columns = {f"recall@{k}": found <= k for k in (1, 5, 10)} | {"mrr": 1.0 / found}
    measures: dict[str, Any] = {"num_targets": len(targets)}
    for name, values in columns.items():
        mean, *ends = bootstrap(100.0 * values)
        measures |= {name: mean, f"{name}_interval": ends}
    nearest = [
        np.argmax(queries[begin : begin + _BLOCK] @ documents.T, axis=1)
        for begin in range(0, len(queries), _BLOCK)
    ]
    rows = zip(examples, np.concatenate(nearest).tolist(), columns["mrr"].tolist(), strict=True)
    texts = [
        {**example, "answer": targets[place], "reciprocal_rank": round(value, 4)}
        for example, place, value in rows
    ]
    return {"this model": measures, "texts": texts}
