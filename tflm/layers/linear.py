"""A dense layer whose graph stays small when the batch size or the length is unknown at trace time."""

from typing import Any, ClassVar

import keras
from keras import ops

from tflm.layers.fusion import is_fusing
from tflm.layers.quantized import Int8Matrix, QuantizedMatrix

Tensor = Any


class Linear(keras.layers.Dense):
    """`keras.layers.Dense` on top of `product`. With unknown sizes, `keras.layers.Dense` traces to about twenty
    operations, and a generation graph has hundreds of dense layers.

    With a low-rank adapter it is x W + (x A) B alpha / rank (Hu et al., 2021, section 4.1). Dense adds A B to W: a
    matrix of the size of W for each layer, with a gradient of that size.
    """

    matrices: ClassVar[tuple[str, ...]] = ("_kernel",)
    """Attributes with a matrix [D, E], which may be a QuantizedMatrix."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """float [..., D] to [..., E]."""
        del training
        kernel = self._kernel if self.lora_enabled else self.kernel
        if not self._kernel.trainable and not isinstance(kernel, QuantizedMatrix):
            kernel = ops.stop_gradient(
                kernel
            )  # a block that is recomputed has gradients of all that it reads
        outputs = product(inputs, kernel)
        if self.lora_enabled:
            low_rank = product(product(inputs, self.lora_kernel_a), self.lora_kernel_b)
            outputs += ops.cast(low_rank * (self.lora_alpha / self.lora_rank), outputs.dtype)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


class TokenEmbedding(keras.layers.Embedding):
    """`keras.layers.Embedding` whose table may be an Int8Matrix: the rows that are taken are converted."""

    row_matrices: ClassVar[tuple[str, ...]] = ("_embeddings",)
    """Attributes with rows [E, D], which may be an Int8Matrix."""

    def call(self, inputs: Tensor) -> Tensor:
        """float [..., D] of int32 [...]."""
        if isinstance(self._embeddings, Int8Matrix):
            return ops.cast(self._embeddings.take(inputs), self.compute_dtype)
        return super().call(inputs)


def product(states: Tensor, kernel: Tensor) -> Tensor:
    """float [..., E] from [..., D] and [D, E], as one product of two matrices."""
    rows = as_rows(states)
    if isinstance(kernel, QuantizedMatrix):
        outputs = ops.cast(kernel.product(rows), states.dtype)
    elif is_fusing() and kernel.shape[0] < kernel.shape[1]:
        # Of rows [E, D], the product in the backward pass has no transposed factor. With one, oneDNN takes up to a
        # third more time where its rows are longer than those of the result.
        outputs = ops.matmul(rows, ops.transpose(written_transpose(kernel)))
    else:
        outputs = ops.matmul(rows, kernel)
    return outputs if rows is states else ops.reshape(outputs, (*static_sizes(states)[:-1], kernel.shape[-1]))


def written_transpose(matrix: Tensor) -> Tensor:
    """A matrix [D, E] transposed and written as [E, D]: TensorFlow would make a plain `transpose` part of each product
    that reads it, where oneDNN may be slower."""
    rows, columns = matrix.shape
    return ops.reshape(ops.transpose(ops.reshape(matrix, (1, rows, columns)), (0, 2, 1)), (columns, rows))


def rows_product(states: Tensor, table: Tensor) -> Tensor:
    """float [..., E] from [..., D] and the rows [E, D] of an embedding: `product` with the transposed table, whose
    gradient has the form of the table at once."""

    @ops.custom_gradient
    def run(rows: Tensor, table: Tensor) -> Any:
        def gradient(*upstream: Any) -> Any:
            (d_outputs,) = keras.tree.flatten(upstream)
            return ops.matmul(d_outputs, table), ops.matmul(ops.transpose(d_outputs), rows)

        return ops.matmul(rows, ops.transpose(table)), gradient

    rows = as_rows(states)
    outputs = run(rows, ops.convert_to_tensor(table))
    return outputs if rows is states else ops.reshape(outputs, (*static_sizes(states)[:-1], table.shape[0]))


def as_dtype(kernel: Tensor, dtype: str) -> Tensor:
    """A matrix for `product` with states of `dtype`."""
    return kernel if isinstance(kernel, QuantizedMatrix) else ops.convert_to_tensor(ops.cast(kernel, dtype))


def as_tensor(kernel: Tensor, dtype: str) -> Tensor:
    """A matrix as a tensor [D, E]."""
    kernel = kernel.tensor() if isinstance(kernel, QuantizedMatrix) else kernel
    return ops.convert_to_tensor(ops.cast(kernel, dtype))


def table_rows(table: Tensor) -> Tensor:
    """The rows of an embedding as a tensor float32 [E, D]."""
    return ops.cast(table.rows() if isinstance(table, Int8Matrix) else table, "float32")


def transposed(table: Tensor) -> Tensor:
    """A matrix [D, E] for `product` of the rows [E, D] of an embedding."""
    return table if isinstance(table, QuantizedMatrix) else ops.transpose(table)


def as_rows(states: Tensor) -> Tensor:
    """float [N, D] from [..., D]. Of several products in a row, only the first and the last need a `reshape`."""
    return states if len(states.shape) == 2 else ops.reshape(states, (-1, states.shape[-1]))


def static_sizes(tensor: Tensor) -> tuple[Any, ...]:
    """The shape of a tensor as an argument of `reshape`: static sizes where known, -1 for the first unknown size,
    scalar tensors for the other unknown sizes.

    >>> static_sizes(of shape [None, 1, 8]), static_sizes(of shape [None, None, 8])
    (-1, 1, 8), (-1, a scalar tensor, 8)
    """
    unknown = [axis for axis, size in enumerate(tensor.shape) if size is None]
    if len(unknown) < 2:
        return tuple(-1 if size is None else size for size in tensor.shape)
    sizes = list(ops.shape(tensor))
    sizes[unknown[0]] = -1
    return tuple(sizes)
