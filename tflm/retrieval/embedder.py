"""Batched text embeddings by an exported model, with a fingerprint of the model."""

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tflm.errors import UserError
from tflm.export.checksums import CHECKSUMS_FILE

if TYPE_CHECKING:
    from tflm.serving.model import Model


class Embedder:
    """Embeds texts with the signature `embed` of an export.

    Attributes:
        path: the version folder of the model.
        fingerprint: SHA-256 of `checksums.json`; equal for copies of the model.
    """

    def __init__(self, model: "Model", batch_size: int = 32) -> None:
        """
        Args:
            model: a model handle of an export.
            batch_size: int, texts per request.
        Raises:
            UserError: the model has no signature `embed`, or no `checksums.json`, such as the model of a server.
        """
        self._model, self._batch_size, self.path = model, batch_size, model.path
        if "embed" not in model.signatures:
            raise UserError(
                f"{model.path!r} has no signature 'embed'; it has "
                f"{', '.join(model.signatures)}. Export a model with one, such as an encoder."
            )
        if "://" in model.path:
            raise UserError(
                f"{model.path!r} is a server's model, which an index cannot know again. Give the folder of an "
                "export, such as saved_models/NAME."
            )
        try:
            with open(os.path.join(model.path, CHECKSUMS_FILE), "rb") as file:
                self.fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(
                f"{model.path!r} has no {CHECKSUMS_FILE}, by which an index knows its model again. Export it with "
                "tflm export."
            ) from error

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings float32 [N, D] of N >= 1 texts, in order, not normalized.

        Distinct texts are embedded once, in batches of similar length.

        Raises:
            UserError: an embedding contains NaN or infinity.
        """
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        size = self._batch_size
        parts = [
            self._model.predict("embed", {"text": distinct[begin : begin + size]})["embedding"]
            for begin in range(0, len(distinct), size)
        ]
        places = {text: place for place, text in enumerate(distinct)}
        vectors = np.concatenate(parts).astype(np.float32)
        if not np.isfinite(vectors).all():
            raise UserError(f"{self.path!r} gives vectors with NaN or infinity in them. Train it again.")
        return vectors[[places[text] for text in texts]]
