"""The weights of a public family and ours: a list of entries that is read in both directions.

    Entry.of("decoder/block_0/attention/query/kernel", "layers.0.self_attn.q_proj.weight", TRANSPOSED)

Our names are paths of variables without the name of the model; theirs are without the prefix of the family. PyTorch's
`nn.Linear` keeps its kernel as [out, in], Keras as [in, out].
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

Arrays = tuple[np.ndarray, ...]
VOCABULARY = {"token_embedding/embeddings": 0, "head/kernel": 1, "output_bias/bias": 0}
"""Axes of our variables that are as long as the vocabulary."""


@dataclasses.dataclass(frozen=True)
class Transform:
    """What happens to weights on their way."""

    read: Callable[..., Arrays]
    """Their arrays to ours."""
    write: Callable[..., Arrays]
    """Our arrays to theirs."""


SAME = Transform(lambda *arrays: arrays, lambda *arrays: arrays)
TRANSPOSED = Transform(lambda kernel: (kernel.T,), lambda kernel: (kernel.T,))
ONE_LESS = Transform(
    lambda scale: (scale.astype(np.float32) + 1.0,), lambda scale: (scale.astype(np.float32) - 1.0,)
)
"""Theirs is the scale minus 1, as in the norms of Gemma."""


def joined(count: int, axis: int) -> Transform:
    """Ours are `count` arrays that are one of theirs, side by side along `axis`."""
    return Transform(
        lambda array: tuple(np.split(array, count, axis=axis)),
        lambda *arrays: (np.concatenate(arrays, axis=axis),),
    )


@dataclasses.dataclass(frozen=True)
class Entry:
    """Some of our variables and the tensors of theirs that have the same content: one each, or several of a side."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    transform: Transform = SAME

    @classmethod
    def of(cls, ours: str | Sequence[str], theirs: str | Sequence[str], transform: Transform = SAME) -> Self:
        """One name or several on each side."""
        return cls(_names(ours), _names(theirs), transform)


def linear(ours: str, theirs: str, bias: bool) -> list[Entry]:
    """The kernel of an `nn.Linear`, and its bias."""
    entries = [Entry.of(f"{ours}/kernel", f"{theirs}.weight", TRANSPOSED)]
    return [*entries, Entry.of(f"{ours}/bias", f"{theirs}.bias")] if bias else entries


def layer_norm(ours: str, theirs: str) -> list[Entry]:
    """Scale and offset of a LayerNorm."""
    return [Entry.of(f"{ours}/gamma", f"{theirs}.weight"), Entry.of(f"{ours}/beta", f"{theirs}.bias")]


def rms_norm(ours: str, theirs: str, transform: Transform = SAME) -> list[Entry]:
    """The scale of an RMSNorm."""
    return [Entry.of(f"{ours}/scale", f"{theirs}.weight", transform)]


def embedding(ours: str, theirs: str) -> list[Entry]:
    """The table of an embedding."""
    return [Entry.of(f"{ours}/embeddings", f"{theirs}.weight")]


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
