"""What a model tells of itself; and signatures of that name that are not tflm's."""

import types

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.serving.about import read_config


def model(outputs, signatures=("about",)):
    return types.SimpleNamespace(path="http://h/m", signatures=signatures, predict=lambda *_: outputs)


def test_the_config():
    assert read_config(model({"config": np.array(['{"task": "你"}'.encode()], object)})) == {"task": "你"}
    assert read_config(model({"config": [b"[1]"]})) == {}
    assert read_config(model({}, signatures=())) == {}


@pytest.mark.parametrize(
    "outputs",
    [{"config": [b"made by hand"]}, {"config": [b"\xff"]}, {"config": []}, {"config": [0.5]}, {"text": []}],
)
def test_an_about_that_is_not_of_tflm(outputs):
    with pytest.raises(UserError, match="'http://h/m': its signature 'about' returns no config"):
        read_config(model(outputs))
