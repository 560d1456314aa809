"""The loss curve."""

import pytest
from matplotlib.image import imread

from tflm.errors import UserError
from tflm.evaluation import plot_losses

TRAINING = [{"step": step, "time": 0.0, "loss": 5.0 / step} for step in range(1, 20)]
HELD_OUT = [{"step": step, "time": 0.0, "eval_loss": 6.0 / step} for step in (5, 10, 19)]


def colours(path):
    """Every colour in the picture, as whole numbers."""
    pixels = (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    return {tuple(pixel) for pixel in pixels.tolist()}


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)  # matplotlib's tab:blue and tab:orange


def test_both_curves_are_drawn(tmp_path):
    plot_losses([*TRAINING, *HELD_OUT], str(tmp_path / "loss.png"), "tiny")
    assert {BLUE, ORANGE} <= colours(tmp_path / "loss.png")
    height, width = imread(tmp_path / "loss.png").shape[:2]
    assert (width, height) == (840, 504)


def test_without_a_held_out_side(tmp_path):
    plot_losses(TRAINING, str(tmp_path / "loss.png"), "tiny")
    found = colours(tmp_path / "loss.png")
    assert BLUE in found and ORANGE not in found


def test_one_step_is_enough(tmp_path):
    plot_losses([*TRAINING[:1], *HELD_OUT[:1]], str(tmp_path / "loss.png"), "tiny")
    assert (tmp_path / "loss.png").stat().st_size > 5000


@pytest.mark.parametrize("records", [[], HELD_OUT])
def test_nothing_to_plot(tmp_path, records):
    with pytest.raises(UserError, match=r"the log has no steps yet: there is nothing to plot."):
        plot_losses(records, str(tmp_path / "loss.png"), "tiny")
    assert not (tmp_path / "loss.png").exists()
