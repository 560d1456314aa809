"""What an explanation or adversarial training changes inside a model: its inputs.

    with probing(probe):                              # in a signature that explains, or a training step
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

    def scaled(self, name: str, values: Tensor, token_ids: Tensor = None) -> Tensor:
        """What the model reads in place of `values`.

        Args:
            name: `tokens` for embeddings float [B, T, E], once for each sequence that the model reads, the source of an
                encoder-decoder first; `ngrams` for values float32 [B, N].
            values: as the model computes them.
            token_ids: int32 [B, T], of `tokens`.
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


def probed(name: str, values: Tensor, token_ids: Tensor = None) -> Tensor:
    """`values`, or what a probe puts in their place; see `Probe.scaled`."""
    probe = _probe()
    return values if probe is None else probe.scaled(name, values, token_ids)


def _probe() -> Probe | None:
    return getattr(_current, "probe", None)
