"""Rotary (Su et al., 2021) and sinusoidal (Vaswani et al., 2017, section 3.5) position encodings."""

import math
from typing import Any, NamedTuple

from keras import ops

Tensor = Any


class Rotation(NamedTuple):
    """Cosines and sines of the rotation angles, float [B or 1, T, 1, D / 2] each."""

    cosine: Tensor
    sine: Tensor


class RotaryScaling(NamedTuple):
    """How rotary frequencies are changed for texts longer than those of pretraining; see `rotary_frequencies`."""

    kind: str = ""
    """One of SCALINGS, or "" for none."""
    factor: float = 1.0
    """How many times longer the texts may be."""
    original_length: int = 0
    """The length of pretraining in tokens."""
    low_turns: float = 1.0
    """Pairs with fewer turns in `original_length` are slowed down by `factor`."""
    high_turns: float = 4.0
    """Pairs with more turns stay as they are."""
    magnitude: float = 1.0
    """Factor of cosines and sines."""


SCALINGS = ("linear", "llama3", "yarn")
NO_SCALING = RotaryScaling()


def rotary_frequencies(width: int, base: float, scaling: RotaryScaling = NO_SCALING) -> list[float]:
    """The angle per position of each pair of features, `base ** (-2 i / width)`, scaled for longer texts.

    linear: all pairs are slowed down by `factor` (Chen et al., 2023). llama3: pairs between `low_turns` and
    `high_turns` are interpolated by their number of turns (Llama 3.1). yarn: they are interpolated by their index,
    between the indices that have these numbers of turns (Peng et al., 2023, section 3.2).

    >>> rotary_frequencies(4, 100.0), rotary_frequencies(4, 100.0, RotaryScaling("linear", 2.0))
    ([1.0, 0.1], [0.5, 0.05])

    Args:
        width: int, D, even.
        base: float, see `rotate`.
        scaling: `RotaryScaling`.
    Returns:
        D / 2 floats.
    """
    half = width // 2
    frequencies = [base ** (-pair / half) for pair in range(half)]
    if not scaling.kind:
        return frequencies
    if scaling.kind == "linear":
        kept = [0.0] * half
    elif scaling.kind == "llama3":
        turns = [scaling.original_length * frequency / (2 * math.pi) for frequency in frequencies]
        span = scaling.high_turns - scaling.low_turns
        kept = [min(max((turn - scaling.low_turns) / span, 0.0), 1.0) for turn in turns]
    else:
        first = max(math.floor(_pair_of(scaling.high_turns, width, base, scaling.original_length)), 0)
        last = min(math.ceil(_pair_of(scaling.low_turns, width, base, scaling.original_length)), width - 1)
        span = last - first or 0.001
        kept = [1.0 - min(max((pair - first) / span, 0.0), 1.0) for pair in range(half)]
    return [
        frequency * (share + (1.0 - share) / scaling.factor)
        for frequency, share in zip(frequencies, kept, strict=True)
    ]


def _pair_of(turns: float, width: int, base: float, length: int) -> float:
    """The index of the pair that makes `turns` turns in `length` positions; a fraction."""
    return width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))


def rotation(
    positions: Tensor, width: int, base: float, dtype: Any, scaling: RotaryScaling = NO_SCALING
) -> Rotation:
    """Precomputed angles for `rotate`, shared by all layers.

    Args:
        positions: int32 [B or 1, T].
        width: int, D, even.
        base: float, see `rotate`.
        dtype: dtype of the result.
        scaling: `RotaryScaling`.
    """
    frequencies = ops.convert_to_tensor(rotary_frequencies(width, base, scaling), dtype="float32")
    angles = ops.cast(positions, "float32")[:, :, None, None] * frequencies
    cosine, sine = ops.cos(angles), ops.sin(angles)
    if scaling.magnitude != 1.0:
        cosine, sine = cosine * scaling.magnitude, sine * scaling.magnitude
    return Rotation(ops.cast(cosine, dtype), ops.cast(sine, dtype))


def rotate(states: Tensor, positions: Tensor | Rotation, base: float = 10000.0) -> Tensor:
    """Rotary position embedding (Su et al., 2021, section 3.2): rotates pairs of features by position-dependent angles.

    Pairs are (i, i + D/2), so each half is a contiguous slice. The dot product of a rotated query and a rotated key
    depends on their relative position only.

    Args:
        states: float [B, T, H, D], D even.
        positions: int32 [B or 1, T], or their `rotation`.
        base: float; wavelengths range from 2 pi to 2 pi base.
    Returns:
        float [B, T, H, D].
    """
    if not isinstance(positions, Rotation):
        positions = rotation(positions, states.shape[-1], base, states.dtype)
    cosine, sine = positions
    first, second = ops.split(states, 2, axis=-1)
    return ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def sinusoidal_positions(positions: Tensor, hidden_dim: int) -> Tensor:
    """Sinusoidal position encoding (Vaswani et al., 2017, section 3.5): sines in the first half of the features,
    cosines in the second.

    Args:
        positions: int32 [B or 1, T].
        hidden_dim: int, even.
    Returns:
        float32 [B or 1, T, hidden_dim].
    """
    half = hidden_dim // 2
    frequencies = 10000.0 ** (-ops.arange(half, dtype="float32") / half)
    angles = ops.cast(positions, "float32")[:, :, None] * frequencies
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
