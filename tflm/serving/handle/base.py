"""What the methods of a model handle share: the model, which methods it has, and their checks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflm.errors import UserError
from tflm.serving.about import config_section
from tflm.serving.model import Model, OpenModel
from tflm.serving.signature import Signature

NEEDS: dict[str, tuple[str, ...]] = {
    "generate": ("generate",),
    "samples": ("generate",),
    "continue_text": ("generate",),
    "alternatives": ("generate", "alternatives"),
    "stream": ("prefill", "decode"),
    "chat": ("chat",),
    "conversation": ("generate",),
    "translate": ("generate",),
    "summarize": ("generate",),
    "choose": ("choose",),
    "score": ("score",),
    "classify": ("classify",),
    "tag": ("tag",),
    "segment": ("tag",),
    "answer": ("answer",),
    "fill": ("fill",),
    "embed": ("embed",),
    "similarity": ("similarity",),
    "nearest": ("nearest",),
    "tokenize": ("tokenize",),
    "explain": ("attribute",),
    "attention": ("attention",),
    "faithfulness": ("attribute", "classify"),
}
"""Method to the signatures that it needs."""
_TOKENS = ("tokens", "parts", "starts", "ends", "num_tokens")
OUTPUTS: dict[str, tuple[str, ...]] = {
    "generate": ("text", "num_tokens", "log_probability"),
    "beam": ("text", "num_tokens", "log_probability", "score"),
    "alternatives": (
        "tokens",
        "log_probabilities",
        "alternatives",
        "alternative_log_probabilities",
        "num_tokens",
    ),
    "chat": ("text",),
    "prefill": ("piece", "finished"),
    "score": ("log_probability", "num_tokens"),
    "classify": ("label", "labels", "scores"),
    "choose": ("choice", "probabilities"),
    "tag": ("start", "end", "label", "score", "num_spans"),
    "answer": ("answers", "starts", "ends", "scores", "start", "score", "margin"),
    "fill": ("text", "log_probability"),
    "embed": ("embedding",),
    "similarity": ("similarity",),
    "nearest": ("words", "scores"),
    "tokenize": ("token_ids", "lengths"),
    "attribute": (
        *_TOKENS,
        "targets",
        "target_starts",
        "target_ends",
        "num_targets",
        "scores",
        "baseline_scores",
        "attributions",
    ),
    "attention": (*_TOKENS, "weights"),
}
"""Signature to the outputs of it that are read."""


class HandleBase:
    """A model and its methods."""

    def __init__(self, model: OpenModel) -> None:
        self._model: OpenModel | None = model
        self.path: str = model.path
        """The version folder, or the URL."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods for which the model has the signatures."""
        signatures = self._open_model().signatures
        return tuple(name for name, needed in NEEDS.items() if set(needed) <= set(signatures))

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Name to dtypes and shapes of inputs and outputs."""
        return self._open_model().signatures

    @property
    def card(self) -> str:
        """The text of `model_card.md`; empty for a server's model."""
        return self._open_model().card

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs a signature as it is, for what no method does: input name to values, output name to array, batch first;
        strings come as bytes."""
        return self._open_model().predict(signature, inputs)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config of the export; empty where it has none."""
        return self._open_model().config

    def close(self) -> None:
        """Closes the connections of a server's model, frees the memory of a folder's. No call may be running."""
        model, self._model = self._model, None
        if model is not None:
            model.close()

    def _open_model(self) -> OpenModel:
        if self._model is None:
            raise UserError(f"the model {self.path!r} is closed. Load it again: tflm.load({self.path!r}).")
        return self._model

    def _for(self, method: str) -> OpenModel:
        """The model, if it has what a method needs.

        Raises:
            UserError: it is closed, lacks a signature, or one that it has gives too little.
        """
        model = self._open_model()
        if missing := [name for name in NEEDS[method] if name not in model.signatures]:
            raise UserError(
                f"{self.path!r} cannot {method}: it has no signature {missing[0]!r}. "
                f"Its methods: {', '.join(self.methods) or 'none'}."
            )
        for name in NEEDS[method]:
            check_outputs(model, name, OUTPUTS.get(name, ()))
        return model

    def _task(self, name: str, default: Any = None) -> Any:
        return config_section(self._open_model(), "task").get(name, default)


def check_outputs(model: Model, signature: str, names: Sequence[str]) -> None:
    """Raises UserError unless a signature that a model has gives those outputs."""
    given = model.signatures[signature].outputs
    if missing := [name for name in names if name not in given]:
        raise UserError(
            f"{model.path!r}: its signature {signature!r} gives {', '.join(given)}; {', '.join(missing)} is needed "
            "too. Load a model that tflm exported."
        )
