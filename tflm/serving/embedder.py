"""Vectors of many texts from an exported model, and which model that is."""

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
    """Texts to vectors by the signature `embed` of an export.

    Attributes:
        path: the version folder of the model.
        fingerprint: SHA-256 of the list of its files' checksums; the same model in another place has the same.
    """

    def __init__(self, model: "Model", batch_size: int = 32) -> None:
        """Embeds so many texts at a time.

        Raises:
            UserError: the model has no signature `embed`, or no `checksums.json`, as a server's has none.
        """
        self._model, self._batch_size, self.path = model, batch_size, model.path
        if "embed" not in model.signatures:
            raise UserError(
                f"{model.path!r} has no signature 'embed', which makes vectors of texts; it has "
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
                "apps.export."
            ) from error

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, float32 [N, D], in the order of the texts, N >= 1; not scaled.

        Texts of like length go through the model together, and each text once.

        Raises:
            UserError: a vector with something that is no number, which nothing can be compared with.
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
