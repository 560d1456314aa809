"""What a server allows: requests at a time, rows of a request, tokens of a row."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tflm.serving.runtime.graph_session import NUM_CORES
from tflm.serving.server.core.batching_config import BatchingConfig
from tflm.serving.server.core.status import invalid

_MOST_THREADS = 512
_TOKENS = ("max_new_tokens", "num_tokens")
_STATE = "state_"


@dataclasses.dataclass(frozen=True)
class ServingOptions:
    """How models are served, the same for all."""

    batching: BatchingConfig | None = None
    """How requests are batched; None: each runs alone."""
    max_runs: int = NUM_CORES
    """Limit of requests that run at a time, outside batches; more of them make each slower."""
    max_waiting: int = 128
    """Limit of requests that wait for that; further ones are refused with UNAVAILABLE at once."""
    max_generated_tokens: int | None = None
    """The largest `max_new_tokens` that a request may ask for."""
    max_rows: int | None = None
    """Limit of rows per request."""
    warm_up: bool = True
    """Whether a version answers its warm-up requests before it is served."""

    @property
    def max_requests(self) -> int:
        """Limit of requests in flight over REST, and the same again over gRPC."""
        if self.batching is None:
            return self.max_runs + self.max_waiting
        num_batches = self.batching.num_batch_threads + self.batching.max_enqueued_batches
        in_batches = min(num_batches * self.batching.max_batch_size, _MOST_THREADS)
        return max(self.max_runs + self.max_waiting, in_batches)


def check_tokens(inputs: Mapping[str, np.ndarray], limit: int | None) -> None:
    """Refuses a request of which a row may generate more tokens than the limit: `max_new_tokens` of `generate` and its
    like, or `num_tokens` of `decode`, times `beam_size` where given.

    >>> check_tokens({"max_new_tokens": np.array([8, 900])}, 512)
    ServingError: INVALID_ARGUMENT: Row 1 asks for 900 tokens; the limit is 512 per row ...

    A request without these inputs, as of `serving_default`, is limited by the model's own defaults.

    Args:
        inputs: as they came.
        limit: tokens a row; None for no limit.
    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if limit is None:
        return
    beams = _whole_numbers(inputs.get("beam_size"))
    for name in _TOKENS:
        wanted = _whole_numbers(inputs.get(name))
        if wanted is None:
            continue
        hint = name
        if beams is not None and beams.shape == wanted.shape:
            wanted, hint = wanted * np.maximum(beams, 1), f"{name} or beam_size"
        if (too_many := np.flatnonzero(wanted > limit)).size:
            row = too_many[0]
            raise invalid(
                f"Row {row} asks for {wanted[row]} tokens; the limit is {limit} per row "
                f"(--max_generated_tokens). Lower {hint}."
            )


def check_rows(inputs: Mapping[str, np.ndarray], limit: int | None) -> None:
    """Refuses a request of more rows than the limit.

    >>> check_rows({"text": np.array([b"a"] * 100, object)}, 64)
    ServingError: INVALID_ARGUMENT: The request has 100 rows; the limit is 64 ...

    Args:
        inputs: the batch is their first axis; the state of `decode`, which may be laid out otherwise, is not counted.
        limit: rows a request; None for no limit.
    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if limit is None:
        return
    rows = max(
        (len(array) for name, array in inputs.items() if array.ndim and not name.startswith(_STATE)),
        default=0,
    )
    if rows > limit:
        raise invalid(
            f"The request has {rows} rows; the limit is {limit} (--max_rows). Send fewer rows at a time."
        )


def _whole_numbers(array: np.ndarray | None) -> np.ndarray | None:
    """One number a row, as Python's own, which do not overflow; None for what the model refuses itself."""
    if array is None or array.ndim != 1 or array.dtype.kind not in "iu":
        return None
    return array.astype(object)
