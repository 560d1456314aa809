"""Plots of a classifier: which labels it takes for which, and how far its probabilities can be believed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tflm.evaluation.fonts import fonts_for

_MOST_LABELS = 40


def confusion_matrix(labels: Sequence[str], predictions: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """How often each label (row) was taken for each (column).

    >>> confusion_matrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
    array([[1, 1],
           [0, 1]])

    Args:
        labels: what is right, N of them, one each.
        predictions: what came.
        names: the C labels.
    Returns:
        int64 [C, C].
    """
    places = {name: place for place, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), np.int64)
    np.add.at(matrix, ([places[name] for name in labels], [places[name] for name in predictions]), 1)
    return matrix


def plot_confusion(matrix: np.ndarray, names: Sequence[str], path: str) -> None:
    """Shares of each row, with the counts in the cells; of many labels the 40 most frequent. Where no installed font
    has the characters of the labels, their numbers stand in their place, from 0.

    Args:
        matrix: int [C, C], from `confusion_matrix`.
        names: the C labels.
        path: the PNG to write.
    """
    import matplotlib
    from matplotlib.figure import Figure

    kept = np.sort(np.argsort(-matrix.sum(axis=1), kind="stable")[:_MOST_LABELS])
    matrix, names = matrix[np.ix_(kept, kept)], [names[place] for place in kept]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.42 * len(names)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
    fonts = fonts_for("".join(names))
    shown = names if fonts else [str(place) for place in kept]
    with matplotlib.rc_context({"font.family": fonts or ["DejaVu Sans"]}):
        slanted: dict[str, Any] = {"rotation": 60, "ha": "right"} if max(map(len, shown)) > 3 else {}
        axes.set_xticks(range(len(names)), shown, **slanted)
        axes.set_yticks(range(len(names)), shown)
        axes.set(xlabel="answer", ylabel="label", title="answers for each label")
        figure.colorbar(image, label="share of the label", shrink=0.8)
        figure.savefig(path, dpi=130)


def plot_reliability(confidences: np.ndarray, correct: np.ndarray, path: str, num_bins: int = 10) -> None:
    """Accuracy over confidence in bins of equal width (DeGroot and Fienberg, 1983); on the diagonal, a probability of
    0.8 is right four times out of five. Below, how many answers are in each bin.

    Args:
        confidences: float [N], the probability of each answer.
        correct: [N], 1 or True where it was right.
        path: the PNG to write.
    """
    from matplotlib.figure import Figure

    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.digitize(confidences, edges[1:-1], right=True)
    counts = np.bincount(bins, minlength=num_bins)
    filled = counts > 0
    means, shares = (
        np.bincount(bins, weights=values, minlength=num_bins)[filled] / counts[filled]
        for values in (confidences, correct)
    )
    figure = Figure(figsize=(5.5, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
    upper.plot(means, shares, "o-")
    upper.set(ylabel="accuracy", title="reliability", ylim=(0, 1.02))
    upper.grid(alpha=0.3)
    lower.bar(edges[:-1] + 0.5 / num_bins, counts, width=0.9 / num_bins)
    lower.set(xlabel="probability of the answer", ylabel="answers", xlim=(0, 1))
    figure.savefig(path, dpi=130)
