"""Matrices of weights in 8 or 4 bits, which are converted to float32 where they are multiplied.

A part of a matrix is converted at a time, and no part is kept. Inputs, products and sums are float32.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

Tensor = Any

BLOCK = 64
"""Columns of a block in 4 bits: codes of one input fill a cache line."""
_LARGEST_WHOLE = 1 << 22
"""Weights of a matrix that is converted as a whole: 16 MiB in float32."""
_LARGEST_PART = 400_000
"""Weights of a part, which a second-level cache holds in float32."""


class QuantizedMatrix(keras.layers.Layer):
    """A matrix W [D, E] with integer codes.

    Args:
        width: int, D.
        num_columns: int, E.
    """

    def __init__(self, width: int, num_columns: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, dtype="float32", **kwargs)
        self.width, self.num_columns = width, num_columns
        self.shape = (width, num_columns)

    def stored(self) -> list[Any]:
        """The variables, codes first; the first axis of each is that of units: columns or blocks of columns."""
        raise NotImplementedError(f"{type(self).__name__} does not implement stored().")

    def tensor(self) -> Tensor:
        """W, float32 [D, E]."""
        raise NotImplementedError(f"{type(self).__name__} does not implement tensor().")

    def product(self, states: Tensor) -> Tensor:
        """float32 [N, E] of float [N, D]."""
        states = ops.cast(states, "float32")
        if not _is_inside_loop():
            is_small = self.width * self.num_columns <= _LARGEST_WHOLE
            products = self._whole(states) if is_small else self._in_parts(states)
        else:
            # XLA has a kernel that converts and multiplies in one pass for one row of states, not for several.
            # It knows how many there are when it compiles, and drops the other branch, which has the same shape.
            count = ops.shape(states)[0]
            products = ops.cond(
                ops.equal(count, 1),
                lambda: ops.repeat(self._one_row(states[:1]), count, axis=0),
                lambda: self._in_parts(states),
            )
        return self._finish(products)

    def _multiply(self, states: Tensor, *stored: Tensor) -> Tensor:
        """Products float32 [N, columns] with some units."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _multiply().")

    def _one_row(self, states: Tensor) -> Tensor:
        """The products of states [1, D], by operations that XLA fuses."""
        raise NotImplementedError(f"{type(self).__name__} does not implement _one_row().")

    def _finish(self, products: Tensor) -> Tensor:
        """The result, of products with all units."""
        return products if products.shape[-1] == self.num_columns else products[:, : self.num_columns]

    def _whole(self, states: Tensor) -> Tensor:
        """The products with all units, which are converted once the states are there."""
        codes, *rest = self.stored()
        return self._multiply(states, _after(states, codes), *rest)

    def _in_parts(self, states: Tensor) -> Tensor:
        """The products with all units, of which a part at a time is converted."""
        stored = self.stored()
        num_units = stored[0].shape[0]
        size = _part_size(num_units, self.width * self.num_columns // num_units)
        if size == num_units:
            return self._whole(states)
        parts = [ops.reshape(array, (num_units // size, size, *array.shape[1:])) for array in stored]
        found = ops.map(
            lambda index: self._multiply(states, *(part[index] for part in parts)),
            ops.arange(num_units // size),
        )
        return ops.reshape(ops.transpose(found, (1, 0, 2)), (-1, num_units // size * found.shape[-1]))

    def _variable(self, shape: tuple[int, ...], dtype: str, name: str) -> Any:
        return self.add_weight(shape=shape, dtype=dtype, name=name, initializer="zeros", trainable=False)


class Int8Matrix(QuantizedMatrix):
    """W[d, e] = scales[e] codes[e, d], codes from -127 to 127. The rows of the transpose are those of an embedding.

    Args:
        width, num_columns: see `QuantizedMatrix`.
    """

    def __init__(self, width: int, num_columns: int, **kwargs: Any) -> None:
        super().__init__(width, num_columns, **kwargs)
        self.codes = self._variable((padded_columns(width, num_columns), width), "int8", "codes")
        self.scales = self._variable((num_columns,), "float32", "scales")
        self.built = True

    def stored(self) -> list[Any]:
        return [self.codes]

    def tensor(self) -> Tensor:
        return ops.transpose(self.rows())

    def rows(self) -> Tensor:
        """The transpose of W, float32 [E, D]."""
        return ops.cast(self.codes[: self.num_columns], "float32") * self.scales[:, None]

    def take(self, indices: Tensor) -> Tensor:
        """Rows of the transpose, float32 [..., D], by int32 [...]."""
        codes, scales = (ops.take(array, indices, axis=0) for array in (self.codes, self.scales))
        return ops.cast(codes, "float32") * scales[..., None]

    def _multiply(self, states: Tensor, *stored: Tensor) -> Tensor:
        return ops.einsum("ab,cb->ac", states, ops.cast(stored[0], "float32"))

    def _one_row(self, states: Tensor) -> Tensor:
        return self._multiply(states, _after(states, self.codes))

    def _finish(self, products: Tensor) -> Tensor:
        return super()._finish(products) * self.scales


class Int4Matrix(QuantizedMatrix):
    """W[d, e] = scales[d // g, e] (codes[d, e] - 8) + centers[d // g, e], codes from 0 to 15 and g inputs to a group.

    Columns are stored in blocks of up to 64. A byte holds the codes of inputs d, in its low bits, and d + D / 2.

    Args:
        width, num_columns: see `QuantizedMatrix`.
        group: int, g; divides D / 2.
    """

    def __init__(self, width: int, num_columns: int, group: int, **kwargs: Any) -> None:
        super().__init__(width, num_columns, **kwargs)
        self.group, block = group, min(BLOCK, num_columns)
        num_blocks = -(-num_columns // block)
        self.codes = self._variable((num_blocks, width // 2, block), "uint8", "codes")
        self.scales = self._variable((num_blocks, width // group, block), "bfloat16", "scales")
        self.centers = self._variable((num_blocks, width // group, block), "bfloat16", "centers")
        self.built = True

    def stored(self) -> list[Any]:
        return [self.codes, self.scales, self.centers]

    def tensor(self) -> Tensor:
        scales, centers = ops.cast(self.scales, "float32"), ops.cast(self.centers, "float32")
        halves = [self._grouped(ops.cast(half, "float32")) for half in _unpacked(self.codes)]
        groups = ops.concatenate(halves, axis=1) * scales[:, :, None] + (centers - 8.0 * scales)[:, :, None]
        columns = ops.reshape(ops.transpose(groups, (1, 2, 0, 3)), (self.width, -1))
        return columns[:, : self.num_columns]

    def _multiply(self, states: Tensor, *stored: Tensor) -> Tensor:
        codes, scales, centers = stored[0], *(ops.cast(array, "float32") for array in stored[1:])
        sums = ops.sum(ops.reshape(states, (-1, self.width // self.group, self.group)), axis=2)
        products = ops.matmul(sums[None], centers - 8.0 * scales)
        num_blocks, _, block = codes.shape
        for half, scale, inputs in zip(
            _unpacked(codes), ops.split(scales, 2, axis=1), ops.split(states, 2, axis=1), strict=True
        ):
            weights = self._grouped(ops.cast(half, "float32")) * scale[:, :, None]
            products += ops.matmul(inputs[None], ops.reshape(weights, (num_blocks, -1, block)))
        return ops.reshape(ops.transpose(products, (1, 0, 2)), (-1, num_blocks * block))

    def _one_row(self, states: Tensor) -> Tensor:
        scales, centers = ops.cast(self.scales, "float32"), ops.cast(self.centers, "float32")
        inputs = ops.reshape(states, (2, 1, -1, self.group, 1))
        sums = ops.reshape(ops.sum(inputs, axis=3), (1, -1, 1))
        halves = _unpacked(_after(states, self.codes))
        products = [
            self._grouped(ops.cast(half, "float32") - 8.0) * inputs[index] * scale[:, :, None]
            for index, (half, scale) in enumerate(zip(halves, ops.split(scales, 2, axis=1), strict=True))
        ]
        products = ops.sum(products[0] + products[1], axis=(1, 2)) + ops.sum(centers * sums, axis=1)
        return ops.reshape(products, (1, -1))

    def _grouped(self, codes: Tensor) -> Tensor:
        """[blocks, D / 2, columns] to [blocks, groups, g, columns]."""
        return ops.reshape(codes, (codes.shape[0], -1, self.group, codes.shape[2]))


def padded_columns(width: int, num_columns: int) -> int:
    """The rows of codes of an `Int8Matrix`: of a large one a number with a divisor for parts of a good size."""
    if width * num_columns <= _LARGEST_PART:
        return num_columns
    multiple = 512 if num_columns >= 1 << 14 else 64
    return -(-num_columns // multiple) * multiple


def _part_size(num_units: int, weights_of_unit: int) -> int:
    """The largest divisor of `num_units` that makes a part of at most `_LARGEST_PART` weights; at least 1."""
    largest = max(1, min(num_units, _LARGEST_PART // weights_of_unit))
    return next(size for size in range(largest, 0, -1) if num_units % size == 0)


def _unpacked(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The codes of the first and of the second half of the inputs, uint8 [blocks, D / 2, columns] from 0 to 15."""
    return ops.bitwise_and(codes, ops.convert_to_tensor(15, "uint8")), ops.right_shift(codes, 4)


_compiling = threading.local()


@contextlib.contextmanager
def compiled_by_xla(in_loop: bool) -> Iterator[None]:
    """A context for products in functions that XLA compiles.

    Args:
        in_loop: whether they are in a loop, so that it is worth while to compile a kernel for one row.
    """
    before = getattr(_compiling, "value", None)
    _compiling.value = "loop" if in_loop else "once"
    try:
        yield
    finally:
        _compiling.value = before


def _is_inside_loop() -> bool:
    return getattr(_compiling, "value", None) == "loop"


def _after(states: Tensor, codes: Tensor) -> Tensor:
    """`codes`, which the graph cannot use before it has `states`.

    TensorFlow would convert the weights of all layers at once, as soon as a step begins. XLA moves what does not change
    in a loop to the front of it: weights would be converted once, and read as float32 in each step.
    """
    if getattr(_compiling, "value", None) is None:
        start = ops.minimum(ops.shape(states)[0], 0)  # a slice of all rows, which is not copied
        return ops.slice(codes, [start, *[0] * (len(codes.shape) - 1)], codes.shape)
    first = states[0, 0]  # XLA knows shapes, and such a slice
    zero = ops.cast(ops.logical_and(ops.isnan(first), ops.equal(first, first)), codes.dtype)
    return ops.bitwise_xor(codes, zero)
