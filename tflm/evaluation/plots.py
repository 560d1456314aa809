"""The loss curve of a run as a PNG."""

from collections.abc import Sequence
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
