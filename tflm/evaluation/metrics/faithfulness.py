"""Faithfulness of attributions: deletion and insertion curves (Samek et al., 2017; Petsiuk et al., 2018).

The tokens of a text are removed one after the other, those with the highest attribution first, and the probability of
the predicted label is read on the way: the faster it falls, the better the order (deletion). Or they are put back into
a text without tokens: the faster it rises, the better (insertion). Both are compared with random orders.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.metrics.intervals import Interval, bootstrap

NUM_RANDOM = 3
"""Random orders of each text, whose curves are averaged."""
NUM_POINTS = 11
"""Points of a curve, from no token to all of them."""

Span = tuple[int, int]
ProbabilityFn = Callable[[list[str], list[str]], Sequence[float]]
"""From texts and a label for each to the label's probability."""


class AttributedText(NamedTuple):
    """A text with the attribution of each token."""

    text: str
    label: str
    spans: list[Span]
    """Start and end of each token, in characters."""
    attributions: list[float]


class Faithfulness(NamedTuple):
    """Areas under the curves, from 0 to 1, with 95% intervals over the texts."""

    deletion: Interval
    """Of the order by attribution; lower is better."""
    random_deletion: Interval
    insertion: Interval
    """Higher is better."""
    random_insertion: Interval
    deletion_gain: Interval
    """How much lower than random, text by text."""
    insertion_gain: Interval
    """How much higher than random, text by text."""
    curves: dict[str, list[float]]
    """deletion, random_deletion, insertion, random_insertion: the mean probability at each point."""
    num_texts: int


def faithfulness(
    texts: Sequence[AttributedText], probability_fn: ProbabilityFn, seed: int = 0
) -> Faithfulness:
    """Measures how well attributions order the tokens of texts.

    Args:
        texts: those with fewer than two tokens are left out.
        probability_fn: the model; asked for texts of which tokens are removed.
        seed: of the random orders.
    Raises:
        UserError: no text has two tokens.
    """
    known = [each for each in texts if len(each.spans) > 1]
    if not known:
        raise UserError(f"faithfulness needs texts of two tokens or more; of {len(texts)} none has two.")
    rng = np.random.default_rng(seed)
    areas: dict[str, list[float]] = {}
    curves: dict[str, list[np.ndarray]] = {}
    for each in known:
        ranked = np.argsort([-value for value in each.attributions], kind="stable")
        orders = [ranked, *(rng.permutation(len(each.spans)) for _ in range(NUM_RANDOM))]
        asked = [
            shown
            for order in orders
            for shown in (*_deleted(each, order), *_deleted(each, order[::-1])[::-1])
        ]
        found = np.asarray(probability_fn(asked, [each.label] * len(asked)), np.float64)
        found = found.reshape(len(orders), 2, NUM_POINTS)
        parts = {
            "deletion": found[0, 0],
            "random_deletion": found[1:, 0].mean(axis=0),
            "insertion": found[0, 1],
            "random_insertion": found[1:, 1].mean(axis=0),
        }
        for name, curve in parts.items():
            curves.setdefault(name, []).append(curve)
            areas.setdefault(name, []).append(area_under(curve))
    columns = {name: np.array(values) for name, values in areas.items()}
    return Faithfulness(
        deletion=bootstrap(columns["deletion"]),
        random_deletion=bootstrap(columns["random_deletion"]),
        insertion=bootstrap(columns["insertion"]),
        random_insertion=bootstrap(columns["random_insertion"]),
        deletion_gain=bootstrap(columns["random_deletion"] - columns["deletion"]),
        insertion_gain=bootstrap(columns["insertion"] - columns["random_insertion"]),
        curves={name: np.mean(values, axis=0).tolist() for name, values in curves.items()},
        num_texts=len(known),
    )


def area_under(curve: np.ndarray) -> float:
    """The area under a curve of equally spaced points over [0, 1], by trapezoids.

    >>> area_under(np.array([1.0, 0.0, 0.0]))
    0.25
    """
    return float(np.mean((curve[1:] + curve[:-1]) / 2.0))


def without_spans(text: str, spans: Sequence[Span]) -> str:
    """A text without the characters of spans that do not overlap.

    >>> without_spans("a fine film", [(2, 6)])
    'a  film'
    """
    kept, place = [], 0
    for start, end in sorted(spans):
        kept.append(text[place:start])
        place = max(place, end)
    return "".join([*kept, text[place:]])


def _deleted(each: AttributedText, order: np.ndarray) -> list[str]:
    """The text without the first tokens of an order: none at first, all of them at last."""
    counts = np.round(np.linspace(0, len(order), NUM_POINTS)).astype(int)
    return [without_spans(each.text, [each.spans[place] for place in order[:count]]) for count in counts]
