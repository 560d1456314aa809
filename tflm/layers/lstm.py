"""A long short-term memory layer (Hochreiter and Schmidhuber, 1997; forget gate of Gers et al., 2000).

Ours and not `keras.layers.LSTM`: that one may put a cuDNN operation into a graph, which a server on a CPU cannot
run, and it projects the inputs inside the time loop.
"""

from typing import Any

import keras
from keras import ops

Tensor = Any

# A loop of at most this many steps is written out: faster on a CPU, and the graph stays small.
UNROLL_LIMIT = 128


class LSTM(keras.layers.Layer):
    """One direction, one layer. The inputs of all steps are projected in one product; only the cell is stepped.

    Gates are in the order input, forget, candidate, output. The forget gate's bias starts at 1 (Jozefowicz et
    al., 2015).

    Args:
        hidden_dim: int, W, the width of the hidden and of the cell vector.
    """

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        # Keras would cast every argument to the compute dtype, the cell vector of an earlier step too.
        super().__init__(autocast=False, **kwargs)
        self.hidden_dim = hidden_dim

    def build(self, input_shape: Any) -> None:
        """Kernels [D, 4 W] and [W, 4 W], bias [4 W]."""
        width = self.hidden_dim
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 4 * width), initializer="glorot_uniform", name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            shape=(width, 4 * width), initializer=keras.initializers.Orthogonal(), name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(4 * width,), initializer=_forget_bias, name="bias")
        self.built = True

    def call(
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs over time.

        Args:
            inputs: float [B, T, D].
            hidden: float [B, W], before the first step.
            cell: float [B, W], likewise.
            mask: bool [B, T]; where False, the row's hidden and cell vectors stay as they were. None for all True.
        Returns:
            The hidden vectors float [B, T, W], and the last hidden and cell vectors.
        """
        inputs, hidden = ops.cast(inputs, self.compute_dtype), ops.cast(hidden, self.compute_dtype)
        cell = ops.cast(cell, "float32")
        kernel, bias = ops.cast(self.kernel, self.compute_dtype), ops.cast(self.bias, self.compute_dtype)
        gates = ops.add(ops.matmul(inputs, kernel), bias)
        length = inputs.shape[1]
        if length is None or length > UNROLL_LIMIT:
            return self._scan(gates, hidden, cell, mask)
        outputs = []
        for time in range(length):
            step_mask = None if mask is None else mask[:, time]
            hidden, cell = self._step(gates[:, time], step_mask, hidden, cell)
            outputs.append(hidden)
        return ops.stack(outputs, axis=1), hidden, cell

    def _scan(
        self, gates: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loop in the graph. `ops.scan` on TensorFlow goes over one tensor only when the length is unknown,
        and stacks what it carries: so the mask rides along as one more column, and the cells are stacked too."""
        steps = gates
        if mask is not None:
            steps = ops.concatenate([gates, ops.cast(mask, gates.dtype)[:, :, None]], axis=-1)

        def body(carry: tuple[Tensor, Tensor], step: Tensor) -> tuple[Any, Any]:
            step_mask = None if mask is None else step[:, -1] > 0
            carry = self._step(step[:, : 4 * self.hidden_dim], step_mask, *carry)
            return carry, carry

        (hidden, cell), (outputs, _) = ops.scan(body, (hidden, cell), ops.transpose(steps, (1, 0, 2)))
        return ops.transpose(outputs, (1, 0, 2)), hidden, cell

    def _step(self, gates: Tensor, mask: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """One cell; the cell vector stays in float32, since it adds up over the whole sequence."""
        kernel = ops.cast(self.recurrent_kernel, hidden.dtype)
        gates = ops.cast(gates + ops.matmul(hidden, kernel), "float32")
        enter, forget, candidate, leave = ops.split(gates, 4, axis=-1)
        new_cell = ops.sigmoid(forget) * cell + ops.sigmoid(enter) * ops.tanh(candidate)
        new_hidden = ops.cast(ops.sigmoid(leave) * ops.tanh(new_cell), hidden.dtype)
        if mask is None:
            return new_hidden, new_cell
        keep = mask[:, None]
        return ops.where(keep, new_hidden, hidden), ops.where(keep, new_cell, cell)


def _forget_bias(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """Ones for the forget gate, the second quarter; zeros elsewhere."""
    quarter = ops.arange(shape[0]) // (shape[0] // 4)
    return ops.cast(quarter == 1, dtype or "float32")
