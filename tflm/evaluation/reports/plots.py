"""Plots as PNG files: loss curves of one run or several, the trials of a search, confusion matrices and reliability
diagrams."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.reports.fonts import DrawnTexts, drawing, texts_to_draw


def plot_losses(records: Sequence[dict[str, Any]], path: str, title: str) -> DrawnTexts:
    """Plots training and held-out loss over the steps.

    Args:
        records: from `tflm.training.read_log`.
        path: PNG file to write.
        title: title of the plot.
    Returns:
        The title as drawn.
    Raises:
        UserError: the log has no steps.
    """
    train = [(record["step"], record["loss"]) for record in records if "loss" in record]
    held_out = [(record["step"], record["eval_loss"]) for record in records if "eval_loss" in record]
    if not train:
        raise UserError("the log has no steps yet: there is nothing to plot.")
    from matplotlib.figure import Figure  # without pyplot: no display is needed, and no state is kept

    drawn = texts_to_draw([title])
    with drawing(drawn):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*train, strict=True), label="training", linewidth=1.2, color="tab:blue")
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "o-", label="held out", markersize=4, color="tab:orange")
        axes.set(title=drawn.shown[0], xlabel="step", ylabel="loss (nats a token)")
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path, dpi=120)
    return drawn


AXES = {"step": "step", "tokens": "tokens trained on", "seconds": "seconds of training"}


def check_axis(logs: Mapping[str, Sequence[dict[str, Any]]], x: str) -> None:
    """Checks that the logs have the data for `plot_comparison`.

    Raises:
        UserError: the log of a run has no steps, or no `x`.
    """
    for name, log in logs.items():
        _points(name, log, "loss", x)


def plot_comparison(
    logs: Mapping[str, Sequence[dict[str, Any]]], path: str, x: str, levels: Mapping[str, float]
) -> DrawnTexts:
    """Plots held-out losses (thick) and training losses (thin) of several runs.

    Args:
        logs: records of each run by name, from `tflm.training.read_log`.
        path: PNG file to write.
        x: x axis: step, tokens or seconds.
        levels: held-out losses of models without a curve by name, such as an n-gram model; drawn as dashed lines.
    Returns:
        The names as drawn, first those of `logs`, then those of `levels`.
    Raises:
        UserError: the log of a run has no steps, or no `x`.
    """
    curves = {
        name: [_points(name, log, loss, x) for loss in ("loss", "eval_loss")] for name, log in logs.items()
    }
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    drawn = texts_to_draw([*curves, *levels])
    names = dict(zip([*curves, *levels], drawn.shown, strict=True))
    with drawing(drawn):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        for number, (name, (train, held_out)) in enumerate(curves.items()):
            colour = f"C{number % 10}"
            axes.plot(*zip(*train, strict=True), linewidth=0.8, alpha=0.45, color=colour)
            # A run without an evaluation is still in the legend.
            points = zip(*held_out, strict=True) if held_out else ((), ())
            axes.plot(*points, "o-", label=names[name], linewidth=1.6, markersize=4, color=colour)
        for number, (name, level) in enumerate(levels.items(), start=len(curves)):
            axes.axhline(level, label=names[name], linestyle="--", linewidth=1.4, color=f"C{number % 10}")
        axes.set(title="held-out loss (thin: training)", xlabel=AXES[x], ylabel="loss (nats)")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, 1.5M
        axes.grid(alpha=0.3)
        axes.legend()
        figure.savefig(path, dpi=120)
    return drawn


def _points(name: str, log: Sequence[dict[str, Any]], loss: str, x: str) -> list[tuple[float, float]]:
    """Points (x, loss); the x of an evaluation is that of the training record of the same step."""
    steps = [record["step"] for record in log if "loss" in record]
    places = {record["step"]: record[x] for record in log if "loss" in record and x in record}
    if not steps:
        raise UserError(f"the log of {name} has no steps yet: there is nothing to plot.")
    if len(places) < len(steps):
        raise UserError(f"the log of {name} has no {x}: choose another x axis, such as step.")
    return [(places[record["step"]], record[loss]) for record in log if loss in record]


class Coordinate(NamedTuple):
    """An axis of parallel coordinates."""

    title: str
    """Its name."""
    values: Sequence[Any]
    """Of each line: a number, or a text; None where the line ends before this axis."""
    is_log: bool = False
    """Whether the scale is logarithmic."""
    is_descending: bool = False
    """Whether the smallest number is on top."""


_LINES: dict[str, dict[str, Any]] = {
    "best": {"linewidth": 2.8, "zorder": 4, "color": "tab:orange"},
    "recipe": {"linewidth": 2.0, "zorder": 3, "linestyle": "--", "color": "black"},
    "complete": {"linewidth": 1.3, "zorder": 2},
    "pruned": {"linewidth": 0.9, "zorder": 1, "color": "0.65"},
    "failed": {"linewidth": 0.9, "zorder": 1, "color": "tab:red", "linestyle": ":"},
}


def plot_coordinates(axes: Sequence[Coordinate], kinds: Sequence[str], path: str, title: str) -> DrawnTexts:
    """Plots parallel coordinates (Inselberg, 1985): an axis for each setting and for the measure, a line for each
    trial.

    Args:
        axes: the last one is of the measure, by which the lines are coloured.
        kinds: of each line: best, recipe, complete, pruned or failed.
        path: PNG file to write.
        title: title of the plot.
    Returns:
        The texts as drawn.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    scales = [_Scale(axis) for axis in axes]
    texts = [title, *(text for scale in scales for text in (scale.axis.title, *scale.texts))]
    drawn = texts_to_draw(texts)
    names = dict(zip(texts, drawn.shown, strict=True))
    with drawing(drawn):
        figure = Figure(figsize=(max(6.0, 1.9 * len(axes)), 4.6), layout="constrained")
        plot = figure.subplots()
        for place, scale in enumerate(scales):
            plot.axvline(place, color="0.3", linewidth=1, zorder=0)
            for height, text in scale.ticks():
                plot.plot([place - 0.02, place + 0.02], [height, height], color="0.3", linewidth=1, zorder=5)
                label = names.get(text, text)
                box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
                plot.text(
                    place - 0.04, height, label, ha="right", va="center", fontsize=8, zorder=6, bbox=box
                )
        for line, kind in enumerate(kinds):
            known = [
                (place, scale) for place, scale in enumerate(scales) if scale.axis.values[line] is not None
            ]
            kept = [(place, scale.height(scale.axis.values[line])) for place, scale in known]
            style = dict(_LINES[kind])
            if len(kept) == len(axes):
                style.setdefault("color", colormaps["viridis"](0.85 * kept[-1][1]))
            first = kind not in kinds[:line]
            plot.plot(*zip(*kept, strict=True), label=kind if first else None, **style)
        plot.set_xticks(range(len(axes)), [names[axis.title] for axis in axes])
        plot.set(title=names[title], xlim=(-0.45, len(axes) - 0.75), ylim=(-0.04, 1.04), yticks=[])
        plot.tick_params(axis="x", length=0)
        plot.spines[:].set_visible(False)
        figure.legend(loc="outside lower center", ncols=len(_LINES), frameon=False)
        figure.savefig(path, dpi=130)
    return drawn


class _Scale:
    """Values to heights from 0 to 1."""

    def __init__(self, axis: Coordinate) -> None:
        self.axis = axis
        known = [value for value in axis.values if value is not None]
        self.texts = list(dict.fromkeys(value for value in known if isinstance(value, str)))
        if not self.texts:
            found = np.array([self._scaled(value) for value in known] or [0.0])
            self._low, self._high = float(found.min()), float(found.max())

    def height(self, value: Any) -> float:
        """Of a value."""
        if self.texts:
            return (self.texts.index(value) + 0.5) / len(self.texts)
        width = self._high - self._low
        share = (self._scaled(value) - self._low) / width if width else 0.5
        return 1.0 - share if self.axis.is_descending else share

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and labels."""
        if self.texts:
            return [(self.height(text), text) for text in self.texts]
        from matplotlib.ticker import LogLocator, MaxNLocator

        if not self.axis.is_log:
            places = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(self._low, self._high)
        else:
            places = LogLocator(subs=(1, 2, 5)).tick_values(10**self._low, 10**self._high)
        shown = [(self.height(place), f"{place:.4g}") for place in places]
        return [(height, text) for height, text in shown if -0.001 <= height <= 1.001]

    def _scaled(self, value: float) -> float:
        return float(np.log10(value)) if self.axis.is_log else float(value)


_MOST_LABELS = 40


def confusion_matrix(labels: Sequence[str], predictions: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Confusion matrix: counts of gold labels (rows) and predicted labels (columns).

    >>> confusion_matrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
    array([[1, 1],
           [0, 1]])

    Args:
        labels: N gold labels.
        predictions: N predicted labels.
        names: the C labels.
    Returns:
        int64 [C, C].
    """
    places = {name: place for place, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), np.int64)
    np.add.at(matrix, ([places[name] for name in labels], [places[name] for name in predictions]), 1)
    return matrix


def plot_confusion(matrix: np.ndarray, names: Sequence[str], path: str) -> DrawnTexts:
    """Plots a row-normalized confusion matrix with counts in the cells, for the 40 most frequent labels. Labels are
    replaced by numbers if no installed font has their characters.

    Args:
        matrix: int [C, C], from `confusion_matrix`.
        names: the C labels.
        path: PNG file to write.
    Returns:
        The labels as drawn, and the legend of the numbers.
    """
    from matplotlib.figure import Figure

    kept = np.sort(np.argsort(-matrix.sum(axis=1), kind="stable")[:_MOST_LABELS])
    matrix, names = matrix[np.ix_(kept, kept)], [names[place] for place in kept]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.42 * len(names)
    drawn = texts_to_draw(names)
    with drawing(drawn):
        figure = Figure(figsize=(size + 1.2, size), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.argwhere(matrix > 0):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(
                column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=colour, fontsize=8
            )
        slanted: dict[str, Any] = {"rotation": 60, "ha": "right"} if max(map(len, drawn.shown)) > 3 else {}
        axes.set_xticks(range(len(names)), drawn.shown, **slanted)
        axes.set_yticks(range(len(names)), drawn.shown)
        axes.set(xlabel="answer", ylabel="label", title="answers for each label")
        figure.colorbar(image, label="share of the label", shrink=0.8)
        figure.savefig(path, dpi=130)
    return drawn


def plot_reliability(confidences: np.ndarray, correct: np.ndarray, path: str, num_bins: int = 10) -> None:
    """Plots a reliability diagram: accuracy over confidence in bins of equal width (DeGroot and Fienberg, 1983), and a
    histogram of the confidences. A calibrated model is on the diagonal.

    Args:
        confidences: float [N], probability of each prediction.
        correct: bool or float [N], 1 for correct predictions.
        path: PNG file to write.
        num_bins: int.
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
