"""Google's checkpoints of BERT: bert_config.json and a TensorFlow checkpoint, bert_model.ckpt."""

import json
import os
import re
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.files.tf_checkpoint import TensorFlowCheckpoint
from tflm.models.checkpoints.tensor_files import TensorSource

BERT_CONFIG = "bert_config.json"
_CHECKPOINT = "bert_model.ckpt"

# Names there to those of transformers.
_RENAMED = (
    (r"/layer_(\d+)/", r"/layer.\1/"),
    (r"^cls/predictions/output_bias$", "cls/predictions/bias"),
    (r"^cls/seq_relationship/output_(weights|bias)$", r"cls/seq_relationship/\1"),
    (r"/kernel$", "/weight"),
    (r"/gamma$", "/weight"),
    (r"/beta$", "/bias"),
    (r"_embeddings$", "_embeddings/weight"),
)


class GoogleBert(TensorSource):
    """The tensors under the names of transformers, their kernels as [out, in]."""

    def __init__(self, folder: str) -> None:
        self._file = TensorFlowCheckpoint(os.path.join(folder, _CHECKPOINT))
        self._places = {
            _renamed(name): name
            for name in self._file.shapes
            if name.startswith(("bert/", "cls/")) and not re.search(r"/(adam|lamb)_[mv]$", name)
        }
        shapes = {own: self._file.shapes[name] for own, name in self._places.items()}
        super().__init__(
            folder,
            {own: shape[::-1] if self._is_kernel(own) else shape for own, shape in shapes.items()},
        )

    def read(self, name: str) -> np.ndarray:
        """See `TensorSource`."""
        array = self._file.read(self._places[name])
        return array.T if self._is_kernel(name) else array

    def _is_kernel(self, name: str) -> bool:
        return self._places[name].endswith("/kernel")


def open_google_bert(folder: str) -> tuple[dict[str, Any], TensorSource]:
    """Their config, with the keys that transformers adds, and the tensors.

    Raises:
        UserError: the config or the checkpoint is missing or damaged.
    """
    path = os.path.join(folder, BERT_CONFIG)
    try:
        with open(path, encoding="utf-8") as file:
            config = dict(json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {path!r}: {error}. Download the folder again.") from error
    return {"model_type": "bert", **config}, GoogleBert(folder)


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name.replace("/", ".")
