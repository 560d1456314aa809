"""Folders of checkpoints that a test changes."""

import json

import numpy as np
from safetensors.numpy import load_file

from tflm.models import build_model
from tflm.models.checkpoints import read_checkpoint


def change(path, **keys):
    """Changes keys of config.json."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps({**config, **keys}), encoding="utf-8")


def load(path):
    checkpoint = read_checkpoint(str(path))
    model = build_model(checkpoint.model_config)
    checkpoint.load_into(model)
    return checkpoint, model


def float32(path):
    """The tensors of a file in bfloat16, which NumPy lacks, in float32."""
    return {name: value.astype(np.float32) for name, value in load_file(path / "model.safetensors").items()}
