"""Where a token stands: rotary (Su et al., 2021) and sinusoidal (Vaswani et al., 2017, section 3.5) positions."""

from typing import Any, NamedTuple

from keras import ops

Tensor = Any


class Rotation(NamedTuple):
    """Cosine and sine of the angles of positions, float [B or 1, T, 1, D / 2] each."""

    cosine: Tensor
    sine: Tensor


def rotation(positions: Tensor, width: int, base: float, dtype: Any) -> Rotation:
    """What `rotate` turns features of `width` by: made once for all the layers that use it."""
    half = width // 2
    frequencies = ops.convert_to_tensor([base ** (-pair / half) for pair in range(half)], dtype="float32")
    angles = ops.cast(positions, "float32")[:, :, None, None] * frequencies
    return Rotation(ops.cast(ops.cos(angles), dtype), ops.cast(ops.sin(angles), dtype))


def rotate(states: Tensor, positions: Tensor | Rotation, base: float = 10000.0) -> Tensor:
    """Turns each pair of features by an angle that grows with the position (Su et al., 2021, section 3.2).

    Pairs are (i, i + D/2), so that the two halves are each one slice. The product of a rotated query and a
    rotated key depends on the distance between them alone.

    Args:
        states: float [B, T, H, D], D even.
        positions: int32 [B or 1, T], or their `rotation`.
        base: wavelengths run from 2 pi to 2 pi base.
    Returns:
        Like `states`.
    """
    if not isinstance(positions, Rotation):
        positions = rotation(positions, states.shape[-1], base, states.dtype)
    cosine, sine = positions
    first, second = ops.split(states, 2, axis=-1)
    return ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def sinusoidal_positions(positions: Tensor, hidden_dim: int) -> Tensor:
    """Sines in the first half of the features, cosines in the second (Vaswani et al., 2017, section 3.5).

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
