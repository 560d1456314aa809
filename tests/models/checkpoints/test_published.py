"""Published checkpoints, where a folder has some: TFLM_CHECKPOINTS=/data/checkpoints names it."""

import os
import pathlib

import numpy as np
import pytest

from tflm.models import build_model
from tflm.models.checkpoints import FAMILIES, read_checkpoint

FOLDER = os.environ.get("TFLM_CHECKPOINTS", "")


def published():
    """The GGUF files and the folders with weights."""
    folder = pathlib.Path(FOLDER) if FOLDER else None
    if folder is None or not folder.is_dir():
        return []
    weights = ("*.safetensors", "*.bin", "*.ckpt.index", "*.gguf")
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix == ".gguf" or (path.is_dir() and any(next(path.glob(each), None) for each in weights))
    ]


@pytest.mark.slow
@pytest.mark.skipif(not published(), reason="TFLM_CHECKPOINTS names no folder with checkpoints")
@pytest.mark.parametrize("path", published(), ids=lambda path: path.name)
def test_a_published_checkpoint_loads(path):
    checkpoint = read_checkpoint(str(path))
    assert checkpoint.family in FAMILIES.names()
    model = build_model(checkpoint.model_config)
    checkpoint.load_into(model)
    token_ids = np.arange(5, 13, dtype=np.int32)[None]
    features = {"source_ids": token_ids} if "source_ids" in model.features else {}
    states = np.array(model.hidden_states(token_ids, **features))
    assert np.isfinite(states).all() and states.std() > 0
