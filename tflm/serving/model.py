"""What every model that answers requests has, whether it is a folder or behind a server."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tflm.serving.signature import Signature


class Model(Protocol):
    """`LocalModel`, `RestModel` and `GrpcModel`; what `connect` gives."""

    @property
    def path(self) -> str:
        """The version folder, or the URL."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Name to dtypes and shapes of inputs and outputs."""

    @property
    def config(self) -> dict[str, Any]:
        """What `config.json` holds; a server's model tells it by the signature `about`. Empty if there is none."""

    @property
    def card(self) -> str:
        """The text of `model_card.md`; empty for a server's model."""

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs a signature on a batch: input name to values, output name to array, batch first."""
