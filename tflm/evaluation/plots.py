"""Loss curves as PNGs: of a run, and of several in one picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from tflm.errors import UserError


def plot_losses(records: Sequence[dict[str, Any]], path: str, title: str) -> None:
    """Training and held-out loss over the steps.

    Args:
        records: as of `tflm.training.read_log`.
        path: the PNG to write.
        title: above the plot.
    Raises:
        UserError: there is nothing to plot.
    """
    train = [(record["step"], record["loss"]) for record in records if "loss" in record]
    held_out = [(record["step"], record["eval_loss"]) for record in records if "eval_loss" in record]
    if not train:
        raise UserError("the log has no steps yet: there is nothing to plot.")
    from matplotlib.figure import Figure  # without pyplot: no display is needed, and no state is kept

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*train, strict=True), label="training", linewidth=1.2, color="tab:blue")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", label="held out", markersize=4, color="tab:orange")
    axes.set(title=title, xlabel="step", ylabel="loss (nats a token)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


AXES = {"step": "step", "tokens": "tokens trained on", "seconds": "seconds of training"}


def plot_comparison(
    logs: Mapping[str, Sequence[dict[str, Any]]], path: str, x: str, levels: Mapping[str, float]
) -> None:
    """Held-out loss of several runs, thick, and their training loss, thin and of the same colour.

    Args:
        logs: name of a run to its records, as of `tflm.training.read_log`.
        path: the PNG to write.
        x: step, tokens or seconds.
        levels: name to held-out loss of what has no curve, such as an n-gram model; a dashed line.
    Raises:
        UserError: a run has nothing to plot, or its log has no `x`.
    """
    curves = {
        name: [_points(name, log, loss, x) for loss in ("loss", "eval_loss")] for name, log in logs.items()
    }
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, (name, (train, held_out)) in enumerate(curves.items()):
        colour = f"C{number % 10}"
        axes.plot(*zip(*train, strict=True), linewidth=0.8, alpha=0.45, color=colour)
        # Without an evaluation yet, the name stands in the legend all the same.
        points = zip(*held_out, strict=True) if held_out else ((), ())
        axes.plot(*points, "o-", label=name, linewidth=1.6, markersize=4, color=colour)
    for number, (name, level) in enumerate(levels.items(), start=len(curves)):
        axes.axhline(level, label=name, linestyle="--", linewidth=1.4, color=f"C{number % 10}")
    axes.set(title="held-out loss (thin: training)", xlabel=AXES[x], ylabel="loss (nats)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, 1.5M
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def _points(name: str, log: Sequence[dict[str, Any]], loss: str, x: str) -> list[tuple[float, float]]:
    """(x, loss); an evaluation stands where the training record of its step stands."""
    steps = [record["step"] for record in log if "loss" in record]
    places = {record["step"]: record[x] for record in log if "loss" in record and x in record}
    if not steps:
        raise UserError(f"the log of {name} has no steps yet: there is nothing to plot.")
    if len(places) < len(steps):
        raise UserError(f"the log of {name} does not tell {x}: choose another x axis, such as step.")
    return [(places[record["step"]], record[loss]) for record in log if loss in record]
