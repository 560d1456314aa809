"""What every model that answers requests has, whether it is a folder or behind a server."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tflm.serving.signature import Signature


class Model(Protocol):
    """`LocalModel`, `RestModel` and `GrpcModel`, and a model inside the server."""

    @property
    def path(self) -> str:
        """The version folder, or the URL."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Name to dtypes and shapes of inputs and outputs."""

    @property
    def config(self) -> dict[str, Any]:
        """What `config.json` holds; a server's model returns it by the signature `about`. Empty without one."""

    @property
    def card(self) -> str:
        """The text of `model_card.md`; empty for a server's model."""

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs a signature on a batch: input name to values, output name to array, batch first."""


class OpenModel(Model, Protocol):
    """A model that whoever opened it closes; what `connect` gives."""

    def close(self) -> None:
        """Closes connections and gives memory back; for whoever has no more to ask."""
