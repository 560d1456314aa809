"""A version that is being served as a `tflm.serving.model.Model`, so that `tflm.serving.stream` works in a server."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.serving.about import read_config
from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core.servable import Servable
from tflm.serving.server.core.status import invalid
from tflm.serving.signature import Signature, find_signature


class ServedModel:
    """For one request.

        with manager.use("chat") as servable:
            model = ServedModel(servable, cancellation)
            for outputs in stream(model, {"text": ["Hello"], **settings}): ...

    Attributes:
        path: "NAME/VERSION".
        signatures: name to `Signature`.
        card: empty.
        max_rows: the most rows in one `predict`; None for no limit.
    """

    card = ""

    def __init__(self, servable: Servable, cancellation: Cancellation | None = None) -> None:
        """
        Args:
            cancellation: ends whatever runs for the request.
        """
        self._servable, self._cancellation = servable, cancellation
        self.path, self.max_rows = f"{servable.name}/{servable.version}", servable.max_rows

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Name to dtypes and shapes of inputs and outputs."""
        return self._servable.signatures

    @property
    def config(self) -> dict[str, Any]:
        """The config, by the signature `about`; empty without one. Cached."""
        if self._servable.config is None:
            self._servable.config = read_config(self)
        return self._servable.config

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs a signature on a batch.

        Raises:
            ServingError: INVALID_ARGUMENT for inputs that it does not take; or what the run failed with.
        """
        try:
            arrays = find_signature(self.signatures, signature, self.path).arrays(signature, inputs)
        except UserError as error:
            raise invalid(str(error)) from error
        return self._servable.run(signature, arrays, cancellation=self._cancellation)
