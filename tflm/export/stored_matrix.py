"""Matrices in 8 or 4 bits as arrays, and their values. Needs no Keras, as all that reads an export."""

from typing import NamedTuple

import numpy as np


class StoredMatrix(NamedTuple):
    """The values of the variables of an `Int8Matrix` or an `Int4Matrix`."""

    codes: np.ndarray
    scales: np.ndarray
    centers: np.ndarray | None = None
    """None with 8 bits."""


def dequantize(stored: StoredMatrix) -> np.ndarray:
    """The transpose of the matrix, float32 [E, D]."""
    if stored.centers is None:
        return stored.codes[: len(stored.scales)].astype(np.float32) * stored.scales[:, None]
    num_columns = np.count_nonzero(stored.scales[:, 0])  # what fills the last block has scales of 0
    codes, scales, centers = (
        np.swapaxes(array, 1, 2).reshape(-1, array.shape[1])[:num_columns]
        for array in (stored.codes, stored.scales, stored.centers)
    )
    scales, centers = (array.astype(np.float32)[..., None] for array in (scales, centers))
    groups = unpack_codes(codes).astype(np.float32).reshape(num_columns, scales.shape[1], -1)
    return (groups * scales + (centers - np.float32(8) * scales)).reshape(num_columns, -1)


def pack_codes(codes: np.ndarray) -> np.ndarray:
    """uint8 [E, D / 2] of codes uint8 [E, D] from 0 to 15: column d in the low bits, column d + D / 2 in the high bits.

    >>> pack_codes(np.array([[0, 15, 8, 1]], np.uint8))
    [[0x80, 0x1f]]
    """
    low, high = np.split(codes, 2, axis=1)
    return low | high << 4


def unpack_codes(packed: np.ndarray) -> np.ndarray:
    """The inverse of `pack_codes`."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)
