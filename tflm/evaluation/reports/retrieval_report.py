"""The report of a similarity model: retrieval of the target of each source among all targets."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.evaluation.metrics.intervals import bootstrap
from tflm.evaluation.metrics.retrieval import ranks, unit_rows
from tflm.evaluation.registry import register_report
from tflm.evaluation.reports.answers import AnswerFn, Signatures

_BLOCK = 1000  # sources per block of the similarity matrix


def report_retrieval(embed_fn: AnswerFn, examples: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Retrieval metrics with each source as a query over all distinct targets. Texts are normalized to NFC.

    Args:
        embed_fn: maps `text` to `embedding`.
        examples: {"source", "target"}.
    Returns:
        `this model`: `recall@1`, `recall@5`, `recall@10` and `mrr` (mean reciprocal rank), in percent, each with its
        95% interval `NAME_interval`, and `num_targets`; and `texts`, each example with its `answer`, the nearest
        target, and its `reciprocal_rank`.
    """
    sources, wanted = (
        [unicodedata.normalize("NFC", example[key]) for example in examples] for key in ("source", "target")
    )
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


@register_report("retrieval")
def _retrieval_report(fns: Signatures, examples: Sequence[dict[str, str]], config: Any) -> dict[str, Any]:
    """`report_retrieval` by the signature `embed`."""
    del config
    return report_retrieval(fns("embed"), examples)
