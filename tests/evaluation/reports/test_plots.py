"""The loss curve of a run, and those of several."""

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tflm.errors import UserError
from tflm.evaluation import Coordinate, plot_comparison, plot_coordinates, plot_losses

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


COSTS = [{**record, "tokens": 100.0 * record["step"], "seconds": 0.5 * record["step"]} for record in TRAINING]
LONG = [*COSTS, *HELD_OUT]
SHORT = [*COSTS[:5], HELD_OUT[0]]


def drawn(monkeypatch, path, *arguments):
    """The axes that `plot_comparison` drew into."""
    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *rest, **kw: (figures.append(self), savefig(self, *rest, **kw))
    )
    plot_comparison(arguments[0], str(path), *arguments[1:])
    return figures[0].axes[0]


@pytest.mark.parametrize("x, scale", [("step", 1), ("tokens", 100), ("seconds", 0.5)])
def test_several_runs_in_one_picture(monkeypatch, tmp_path, x, scale):
    axes = drawn(monkeypatch, tmp_path / "a.png", {"long": LONG, "short": SHORT}, x, {"5-gram": 1.5})
    lines = [line.get_xydata().tolist() for line in axes.lines]
    assert lines[0] == [[step * scale, 5.0 / step] for step in range(1, 20)]
    assert lines[1] == [[step * scale, 6.0 / step] for step in (5, 10, 19)]
    assert lines[3] == [[5 * scale, 6.0 / 5]]
    assert axes.lines[4].get_ydata()[0] == 1.5
    colours_of = [line.get_color() for line in axes.lines]
    assert colours_of == ["C0", "C0", "C1", "C1", "C2"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["long", "short", "5-gram"]
    assert x in axes.get_xlabel()
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_a_run_without_an_evaluation_yet_has_its_training_curve(monkeypatch, tmp_path):
    axes = drawn(monkeypatch, tmp_path / "a.png", {"new": COSTS}, "step", {})
    assert [len(line.get_xdata()) for line in axes.lines] == [19, 0]


def test_a_comparison_that_cannot_be_drawn(tmp_path):
    with pytest.raises(UserError, match=r"the log of old has no tokens: choose another x axis, such as step"):
        plot_comparison({"new": LONG, "old": TRAINING}, str(tmp_path / "a.png"), "tokens", {})
    with pytest.raises(UserError, match=r"the log of empty has no steps yet: there is nothing to plot"):
        plot_comparison({"empty": []}, str(tmp_path / "a.png"), "step", {})
    assert not (tmp_path / "a.png").exists()


def test_names_that_no_font_has_are_numbered(no_other_fonts, tmp_path):
    drawn = plot_losses(TRAINING, str(tmp_path / "loss.png"), "诗歌")
    assert drawn.legend == {
        "1": "诗歌"
    } and "loss.png has numbers in place of names (1 诗歌)" in drawn.notice("loss.png")
    drawn = plot_comparison({"诗": LONG, "prose": SHORT}, str(tmp_path / "a.png"), "step", {"5-gram": 1.5})
    assert drawn.legend == {"1": "诗", "2": "prose", "3": "5-gram"}
    assert plot_losses(TRAINING, str(tmp_path / "loss.png"), "$5").notice("loss.png") == ""


COORDINATES = [
    Coordinate("peak_learning_rate", [1e-3, 1e-2, 1e-1, 1e-2], is_log=True),
    Coordinate("num_layers", [2, 4, 3, 3]),
    Coordinate("语言", ["中文", "english", "中文", "中文"]),
    Coordinate("held-out loss", [2.5, 2.0, None, None], is_descending=True),
]


def test_parallel_coordinates(tmp_path, monkeypatch):
    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *rest, **kw: (figures.append(self), savefig(self, *rest, **kw))
    )
    kinds = ["recipe", "best", "pruned", "pruned"]
    texts = plot_coordinates(COORDINATES, kinds, str(tmp_path / "a.png"), "tiny: 4 trials")
    assert (tmp_path / "a.png").stat().st_size > 5000 and "语言" in [*texts.shown, *texts.legend.values()]
    (axes,) = figures[0].axes
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2], [0, 1, 2]]
    heights = [[round(float(y), 3) for y in line.get_ydata()] for line in lines]
    assert heights == [[0.0, 0.0, 0.25, 0.0], [0.5, 1.0, 0.75, 1.0], [1.0, 0.5, 0.25], [0.5, 0.5, 0.25]]
    labels = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert labels == ["recipe", "best", "pruned"]
    ticks = [text.get_text() for text in axes.texts]
    assert ticks[:3] == ["0.001", "0.002", "0.005"] and "2.5" in ticks


def test_parallel_coordinates_of_one_trial(tmp_path):
    axes = [Coordinate("dropout", [0.0]), Coordinate("held-out loss", [None], is_log=True)]
    plot_coordinates(axes, ["failed"], str(tmp_path / "a.png"), "$1: 研究")
    assert (tmp_path / "a.png").stat().st_size > 3000
