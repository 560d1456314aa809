"""The tiny checkpoints that transformers wrote, and what its models compute; see tests/data/checkpoints/make.py."""

import pathlib
import shutil

import numpy as np
import pytest

from tflm.models import build_model
from tflm.models.checkpoints import read_checkpoint

FOLDER = pathlib.Path(__file__).parents[2] / "data" / "checkpoints"


@pytest.fixture(scope="session")
def folder():
    """Where the checkpoints are."""
    return FOLDER


@pytest.fixture(scope="session")
def load():
    """`load(name)` gives a checkpoint, its model with the weights, and the reference arrays, each once."""
    known = {}

    def get(name):
        if name not in known:
            checkpoint = read_checkpoint(str(FOLDER / name))
            model = build_model(checkpoint.model_config)
            checkpoint.load_into(model)
            known[name] = checkpoint, model, dict(np.load(FOLDER / name / "reference.npz"))
        return known[name]

    return get


@pytest.fixture
def copy(folder, tmp_path):
    """`copy(name)` gives a copy of a checkpoint that a test may change."""

    def make(name):
        shutil.copytree(folder / name, tmp_path / name)
        return tmp_path / name

    return make
