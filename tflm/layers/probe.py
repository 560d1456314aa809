"""What an explanation changes and reads inside a model: the scale of its inputs, and its attention weights.

    with probing(probe):                              # in a signature that explains
        logits = model(token_ids)

A model marks its token embeddings and the values of its n-grams by `probed`, and an attention layer its weights by
`record_attention`. Without a `probing` block neither does anything.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol

Tensor = Any


class Probe(Protocol):
    """Sees one pass of a model."""

    def scaled(self, name: str, values: Tensor) -> Tensor:
        """What the model reads in place of `values`.

        Args:
            name: `tokens` for embeddings float [B, T, E], once for each sequence that the model reads, the source of an
                encoder-decoder first; `ngrams` for values float32 [B, N].
        """

    def attention(self, weights: Tensor, is_cross: bool) -> None:
        """Called by each attention layer in the order of the layers.

        Args:
            weights: float [B, H, K, S], the weights of S keys for K queries in each of H heads.
            is_cross: whether the keys are those of the encoder.
        """


_current = threading.local()


@contextlib.contextmanager
def probing(probe: Probe | None) -> Iterator[None]:
    """A block in which `probe` sees what a model computes."""
    outer = _probe()
    _current.probe = probe
    try:
        yield
    finally:
        _current.probe = outer


def probed(name: str, values: Tensor) -> Tensor:
    """`values`, or what a probe puts in their place."""
    probe = _probe()
    return values if probe is None else probe.scaled(name, values)


def is_probed() -> bool:
    """Whether this is in a `probing` block."""
    return _probe() is not None


def record_attention(weights: Tensor, is_cross: bool) -> None:
    """Shows attention weights float [B, H, K, S] to a probe."""
    if (probe := _probe()) is not None:
        probe.attention(weights, is_cross)


def _probe() -> Probe | None:
    return getattr(_current, "probe", None)
