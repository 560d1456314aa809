"""Curves as SVG within a page: ink in the colour of the text around, so that they are read in light and dark."""

import dataclasses
import io
import itertools
import re
from collections.abc import Sequence
from typing import Any

INK = "#0a0b0c"
"""Is replaced by the colour of the text around the picture."""
_MOST_POINTS = 1200
_LEAST_RATIO = 20.0  # of the ends of a logarithmic axis, so that two powers of ten are on it or near
COLOURS = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#0ea5e9", "#eab308", "#ec4899")
"""Are read on white and on black."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points of a run."""

    points: Sequence[tuple[float, float]]
    colour: str
    has_dots: bool = False
    """A dot at each point, and a thicker line: of the few points of evaluations."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """What one picture shows."""

    title: str
    curves: Sequence[Curve]
    log_scale: bool = False
    """Where the values are positive and differ by a factor of 20."""
    marks: Sequence[float] = ()
    """Steps with a vertical line, such as those where a run was resumed."""


def curves_svg(panel: Panel) -> str:
    """An `<svg>` element over steps. It has no text but numbers and "step": titles belong to the page.

    Args:
        panel: with a point at least.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    with matplotlib.rc_context(svg_settings(panel.title)):
        figure = Figure(figsize=(5.4, 2.7), layout="constrained")
        figure.patch.set_alpha(0.0)
        axes = figure.subplots()
        axes.patch.set_alpha(0.0)
        for curve in panel.curves:
            style = (
                {"marker": "o", "markersize": 3.5, "linewidth": 1.8} if curve.has_dots else {"linewidth": 1.1}
            )
            axes.plot(*zip(*_thinned(curve.points), strict=True), color=curve.colour, **style)
        for mark in panel.marks:
            axes.axvline(mark, color=INK, linestyle=":", linewidth=1.0, alpha=0.6)
        values = [value for curve in panel.curves for _, value in curve.points]
        if panel.log_scale and 0.0 < _LEAST_RATIO * min(values) < max(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        elif max(values) >= 1e4:
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("step", labelpad=1)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(alpha=0.15, color=INK)
        return svg_of(figure)


def svg_settings(salt: str) -> dict[Any, Any]:
    """Settings of matplotlib for an SVG within a page; `salt` differs from that of the page's other pictures."""
    return {
        "svg.fonttype": "none",  # text remains text, in a font of the reader's
        "svg.hashsalt": salt,  # ids of one page differ
        "font.size": 9,
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
        ),
    }


def svg_of(figure: Any) -> str:
    """A matplotlib figure as an `<svg>` element with the colour of the text around for ink."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for name in ("width", "height"):  # those of the page; the viewBox has the proportions
        svg = re.sub(rf'(<svg[^>]*?) {name}="[^"]*"', r"\1", svg)
    return svg.replace("<svg", '<svg role="img"', 1).replace(INK, "currentColor").strip()


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most 1,200 points: of each stretch the lowest and the highest, so that spikes stay."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    num_stretches = _MOST_POINTS // 2
    ends = [place * len(points) // num_stretches for place in range(num_stretches + 1)]
    kept: list[tuple[float, float]] = []
    for first, last in itertools.pairwise(ends):
        stretch = points[first:last]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return kept
