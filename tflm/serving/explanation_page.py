"""An HTML page of explanations: a heat map over each text, by method and target, and attention by layer and head."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from tflm.serving.handle.explaining_methods import METHODS
from tflm.serving.handle.model_handle import ModelHandle
from tflm.serving.handle.results import AttentionWeights, Explanation

MOST_LABELS = 8
"""Of a classifier, the labels with the highest probabilities that the page shows for a text."""
_MOST_TOKENS = 128
"""Of a text, whose attention weights the page shows; more would make it tens of megabytes."""
_DIGITS = 4


def explanation_page(
    model: ModelHandle,
    texts: Sequence[tuple[str, ...]],
    methods: Sequence[str] = METHODS,
    progress_fn: Callable[[int, int], None] | None = None,
    **options: Any,
) -> str:
    """The page, one file that needs nothing else.

    Args:
        model: with explanations.
        texts: of each row the text, or the two texts, that the model takes.
        methods: those to choose from.
        progress_fn: called after each text with how many are done, and how many there are.
        options: see `ModelHandle.explain`: `target`, `num_steps`, `max_new_tokens`, `batch_size`.
    Raises:
        UserError: the model has no explanations, or the input is not as it takes it.
    """
    rows = []
    for row in texts:
        rows.append(_row(model, row, methods, options))
        if progress_fn is not None:
            progress_fn(len(rows), len(texts))
    data = json.dumps({"model": model.path, "rows": rows}, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.splitext(__file__)[0] + ".html", encoding="utf-8") as file:
        # "<" could end the element that holds the data.
        return file.read().replace("{{ data }}", data.replace("<", "\\u003c"))


def _row(
    model: ModelHandle, texts: tuple[str, ...], methods: Sequence[str], options: dict[str, Any]
) -> dict[str, Any]:
    found = {method: _explanations(model, texts, method, options) for method in methods}
    first = found[methods[0]][0]
    names = [*model.explained_inputs(), "continuation"]
    row = {
        "names": names[: len(first.texts)],
        "texts": first.texts,
        "scores": first.scores,
        "truncated": bool(first.truncated),
        "methods": {method: _targets(explanations) for method, explanations in found.items()},
    }
    if "attention" in model.methods:
        same = {name: options[name] for name in ("target", "max_new_tokens") if name in options}
        takes = model.signatures["attention"].inputs
        same = {name: value for name, value in same.items() if name in takes}
        weights = model.attention(*texts, **same)
        if len(weights.tokens) <= _MOST_TOKENS:
            row["attention"] = _attention(weights)
    return row


def _explanations(
    model: ModelHandle, texts: tuple[str, ...], method: str, options: dict[str, Any]
) -> list[Explanation]:
    """Of the prediction or the given target; of a classifier also of its other labels, the most probable first."""
    found = model.explain(*texts, method=method, **options)
    own = found.targets[0].text if found.targets else ""
    ranked = sorted(found.scores, key=lambda label: -found.scores[label])[:MOST_LABELS]
    others = [label for label in ranked if label != own]
    if not others:
        return [found]
    columns = [[text] * len(others) for text in texts]
    return [found, *model.explain(*columns, method=method, **{**options, "target": others})]


def _targets(explanations: list[Explanation]) -> list[dict[str, Any]]:
    return [
        {
            "text": target.text,
            "start": target.start,
            "end": target.end,
            "probability": round(target.probability, _DIGITS),
            "log_odds": round(target.log_odds, _DIGITS),
            "baseline": round(target.baseline_log_odds, _DIGITS),
            "tokens": [
                [token.part, token.start, token.end, round(token.attribution, _DIGITS), token.text]
                for token in target.tokens
            ],
        }
        for each in explanations
        for target in each.targets
    ]


def _attention(found: AttentionWeights) -> dict[str, Any]:
    rollout = None if found.rollout is None else found.rollout.round(3).tolist()
    return {
        "tokens": [token.text for token in found.tokens],
        "queries": [token.text for token in found.queries],
        # As text 0.123 and not 0.12300000339746475.
        "weights": [
            [[[round(x, 3) for x in row] for row in head] for head in layer]
            for layer in found.weights.tolist()
        ],
        "rollout": None if rollout is None else [[round(x, 3) for x in row] for row in rollout],
    }
