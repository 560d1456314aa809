"""The learning curve's parts; its runs are apps.train and apps.evaluate, which have tests of their own."""

import importlib.util
import pathlib

import pytest
from matplotlib import image

from tflm.evaluation import Interval

ROOT = pathlib.Path(__file__).parents[1]
ROW = {
    "num_labelled": 1008,
    "steps": 300,
    "lines": {"gpt": Interval(83.67, 83.15, 84.19), "gpt after base": Interval(87.22, 86.52, 87.93)},
    "gains": {"gpt after base": Interval(3.55, 2.82, 4.29)},
    "logistic regression": (88.23, 87.41, 88.97),
}


@pytest.fixture(scope="module")
def curve():
    spec = importlib.util.spec_from_file_location("learning_curve", ROOT / "benchmarks/learning_curve.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_line_is_a_recipe_and_what_it_begins_with(curve):
    plain, after = curve.Line.parse("gpt"), curve.Line.parse("gpt@runs/base")
    assert (plain.preset, plain.init_from, plain.name) == ("gpt", "", "gpt")
    assert (after.preset, after.init_from, after.name) == ("gpt", "runs/base", "gpt after base")


def test_the_table(curve):
    head, _, row = curve.table([ROW]).splitlines()
    assert head.split(" | ")[2:] == ["gpt", "gpt after base", "gain: gpt after base", "logistic regression |"]
    assert row == (
        "| 1,008 | 300 | 83.67 [83.15, 84.19] | 87.22 [86.52, 87.93] | 3.55 [2.82, 4.29] | 88.23 [87.41, 88.97] |"
    )


def test_the_plot(curve, tmp_path):
    curve.plot([ROW, {**ROW, "num_labelled": 5000}], str(tmp_path / "curve.png"))
    picture = image.imread(tmp_path / "curve.png")
    assert min(picture.shape[:2]) > 400
    assert len({tuple(pixel) for pixel in picture[::7, ::7, :3].reshape(-1, 3)}) > 3, (
        "three curves, three colours"
    )
