"""The matrix in numbers, and the plots as pictures that show what they should."""

import numpy as np
import pytest
from matplotlib import image
from sklearn import metrics

from tflm.evaluation.reports.plots import confusion_matrix, plot_confusion, plot_reliability


def test_the_matrix_is_that_of_scikit_learn():
    names, draw = ["好", "一般", "差"], np.random.default_rng(0)
    labels, predictions = (draw.choice(names, 200).tolist() for _ in range(2))
    expected = metrics.confusion_matrix(labels, predictions, labels=names)
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, names), expected)


def test_a_wrong_answer_darkens_another_cell(tmp_path):
    names = ["good", "bad"]
    for name, matrix in {"right": np.diag([50, 50]), "wrong": np.diag([50, 50])[::-1]}.items():
        plot_confusion(matrix, names, f"{tmp_path}/{name}.png")
    right, wrong = (
        image.imread(f"{tmp_path}/{name}.png")[..., :3].mean(axis=-1) for name in ("right", "wrong")
    )
    assert right.shape == wrong.shape
    assert min(right.shape) > 200
    dark = [(picture < 0.4) & (picture > 0.05) for picture in (right, wrong)]
    # Each has two dark cells where the other has light ones.
    assert (dark[0] & ~dark[1]).mean() > 0.05
    assert (dark[1] & ~dark[0]).mean() > 0.05


@pytest.mark.parametrize("num_labels", [2, 60])
def test_many_labels_fit(tmp_path, num_labels):
    matrix = np.arange(num_labels**2).reshape(num_labels, num_labels)
    plot_confusion(matrix, [f"label {n}" for n in range(num_labels)], f"{tmp_path}/a.png")
    assert max(image.imread(f"{tmp_path}/a.png").shape) < 4000


def test_the_curve_of_an_honest_model_differs_from_that_of_a_boaster(tmp_path):
    confidences = np.repeat([0.55, 0.95], 100)
    honest = np.concatenate([np.arange(100) < 55, np.arange(100) < 95])
    plot_reliability(confidences, honest, f"{tmp_path}/honest.png")
    plot_reliability(confidences, np.zeros(200), f"{tmp_path}/boaster.png")
    one, other = (image.imread(f"{tmp_path}/{name}.png") for name in ("honest", "boaster"))
    assert one.shape == other.shape
    assert (one != other).any(axis=-1).mean() > 0.001


@pytest.mark.parametrize(
    "names, package", [(["质量", "good"], "fonts-noto-cjk"), (["ดี", "แย่"], "fonts-noto-core")]
)
def test_labels_that_no_font_has_are_numbered(no_other_fonts, tmp_path, names, package):
    drawn = plot_confusion(np.diag([3, 4]), names, f"{tmp_path}/a.png")
    assert drawn.shown == ["1", "2"] and drawn.legend == {"1": names[0], "2": names[1]}
    notice = drawn.notice("a.png")
    assert f"(1 {names[0]}, 2 {names[1]})" in notice and f"apt-get install {package}, and" in notice
    assert notice.count(".") == 2 and "\n" not in notice  # of the file name, and of the one sentence


def test_a_dollar_sign_is_no_formula(tmp_path):
    assert plot_confusion(np.diag([3, 4]), ["$x^$", "a_{b"], f"{tmp_path}/a.png").legend == {}
