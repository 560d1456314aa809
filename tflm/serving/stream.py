"""Streaming generation with an exported model: an iterator over its `prefill` and `decode` signatures."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from tflm.serving.model import Model


def can_stream(model: "Model") -> bool:
    """Whether the model has `prefill` and `decode`."""
    return {"prefill", "decode"} <= set(model.signatures)


def stream(
    model: "Model", request: Mapping[str, Any], tokens_a_piece: int = 4
) -> Iterator[dict[str, "np.ndarray"]]:
    """The outputs of `prefill` and then of `decode`, until every row has finished.

    >>> "".join(outputs["piece"][0].decode() for outputs in stream(model, {"text": ["Once"], **settings}))
    'upon a time'

    The pieces of a row joined are the text that `generate` gives, and no character is split. The generation
    state travels with each request, so any server may answer the next one. Closing the iterator ends the generation.

    Args:
        model: from `connect`.
        request: what `prefill` takes, [B] each.
        tokens_a_piece: tokens of a row in one request.
    Yields:
        `piece` string [B], `finished` bool [B], `num_tokens` int32 [B], `log_probability` float32 [B] and the state.
    """
    yield from stream_on(model, model.predict("prefill", request), tokens_a_piece)


def stream_on(
    model: "Model", outputs: dict[str, "np.ndarray"], tokens_a_piece: int = 4
) -> Iterator[dict[str, "np.ndarray"]]:
    """`outputs`, of `prefill` or `resume`, and then those of `decode`, until every row has finished."""
    import numpy as np

    yield outputs
    while not outputs["finished"].all():
        num_tokens = np.full(len(outputs["finished"]), tokens_a_piece, np.int32)
        outputs = model.predict("decode", {**state_for(model, "decode", outputs), "num_tokens": num_tokens})
        yield outputs


def state_for(model: "Model", signature: str, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """What `decode` or `resume` takes of the outputs of `prefill`, `decode` or `resume`."""
    takes = model.signatures[signature].inputs
    return {name: value for name, value in outputs.items() if name.startswith("state_") and name in takes}
