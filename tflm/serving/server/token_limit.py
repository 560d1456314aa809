"""How much one request may ask for: rows, and tokens that a row is to have. Looked at before anything runs."""

from collections.abc import Mapping

import numpy as np

from tflm.serving.server.status import invalid

_TOKENS = ("max_new_tokens", "num_tokens")
_STATE = "state_"


def check_tokens(inputs: Mapping[str, np.ndarray], limit: int | None) -> None:
    """Refuses a request of which a row may write more tokens than that: `max_new_tokens` of `generate` and its like, or
    `num_tokens` of `decode`, by `beam_size` where there is one, since every beam is written.

    >>> check_tokens({"max_new_tokens": np.array([8, 900])}, 512)
    ServingError: INVALID_ARGUMENT: Row 1 asks for 900 tokens; this server writes 512 at most ...

    What a request without these inputs writes is bounded by the model's own defaults, as of `serving_default`.

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
                f"Row {row} asks for {wanted[row]} tokens; this server writes {limit} at most for one row "
                f"(--max_generated_tokens). Lower {hint}."
            )


def check_rows(inputs: Mapping[str, np.ndarray], limit: int | None) -> None:
    """Refuses a request of more rows than that.

    >>> check_rows({"text": np.array([b"a"] * 100, object)}, 64)
    ServingError: INVALID_ARGUMENT: The request has 100 rows; this server takes 64 at most ...

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
            f"The request has {rows} rows; this server takes {limit} at most (--max_rows). Send fewer rows at a time."
        )


def _whole_numbers(array: np.ndarray | None) -> np.ndarray | None:
    """One number a row, as Python's own, which do not overflow; None for what the model refuses itself."""
    if array is None or array.ndim != 1 or array.dtype.kind not in "iu":
        return None
    return array.astype(object)
