"""What an explanation changes inside a model: the scale of its inputs.

    with probing(probe):                              # in a signature that explains
        logits = model(token_ids)

A model marks its token embeddings and the values of its n-grams by `probed`, which does nothing without such a block.
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


def _probe() -> Probe | None:
    return getattr(_current, "probe", None)
