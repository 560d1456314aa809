"""Quality over cost: which models no other one beats in both, and their picture."""

from collections.abc import Sequence
from typing import NamedTuple

from tflm.evaluation.metrics.intervals import Interval
from tflm.evaluation.reports.curves import COLOURS, INK, svg_of, svg_settings


class Point(NamedTuple):
    """A model in the picture."""

    cost: float
    """Lower is better: megabytes, seconds."""
    quality: Interval
    """With the ends of its 95% interval."""


def pareto_front(points: Sequence[Point], lower_is_better: bool = False) -> list[bool]:
    """Which points no other one beats: one that costs no more and is no worse, and is better in one of both.

    >>> pareto_front([Point(1.0, Interval(0.8, 0.7, 0.9)), Point(2.0, Interval(0.7, 0.6, 0.8))])
    [True, False]
    """
    signs = [(point.cost, point.quality.mean if lower_is_better else -point.quality.mean) for point in points]
    return [
        not any(other[0] <= own[0] and other[1] <= own[1] and other != own for other in signs)
        for own in signs
    ]


def pareto_svg(points: Sequence[Point], cost: str, measure: str, lower_is_better: bool = False) -> str:
    """An `<svg>` element: points with their intervals, numbered from 1 in their order, and a line through the front.

    Args:
        points: at least one.
        cost: title of the x axis, such as "size in MB".
        measure: title of the y axis.
        lower_is_better: of the measure.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    with matplotlib.rc_context(svg_settings(f"{cost} {measure}")):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        figure.patch.set_alpha(0.0)
        axes = figure.subplots()
        axes.patch.set_alpha(0.0)
        on_front = pareto_front(points, lower_is_better)
        front = sorted(
            (point.cost, point.quality.mean) for point, own in zip(points, on_front, strict=True) if own
        )
        axes.plot(*zip(*front, strict=True), color=INK, linewidth=1.0, linestyle="--", alpha=0.5)
        for number, (point, own) in enumerate(zip(points, on_front, strict=True), start=1):
            mean, low, high = point.quality
            colour = COLOURS[(number - 1) % len(COLOURS)]
            # A bootstrap interval may lie on one side of the mean.
            ends = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
            face = colour if own else "none"
            axes.errorbar(
                point.cost, mean, ends, fmt="o", color=colour, markerfacecolor=face, capsize=3, linewidth=1.2
            )
            axes.annotate(str(number), (point.cost, mean), (6, 5), textcoords="offset points", color=INK)
        costs = [point.cost for point in points]
        if 0.0 < 5.0 * min(costs) < max(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter("")
        axes.set(xlabel=cost, ylabel=measure)
        axes.margins(x=0.1)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(alpha=0.15, color=INK)
        return svg_of(figure)
