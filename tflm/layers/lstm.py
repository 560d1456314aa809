"""A long short-term memory layer (Hochreiter and Schmidhuber, 1997; forget gate of Gers et al., 2000).

Used instead of `keras.layers.LSTM`, which may add a cuDNN operation that a CPU server cannot run and which projects
the inputs inside the time loop.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from tflm.layers.capturing import capture
from tflm.layers.fusion import is_fusing
from tflm.layers.linear import as_dtype, as_tensor, product
from tflm.layers.lstm_gradient import run_in_loop, run_unrolled
from tflm.layers.quantized import QuantizedMatrix
from tflm.layers.time_loop import Tensors, is_unrolled, scan, step_cell

Tensor = Any


class LSTM(keras.layers.Layer):
    """One unidirectional layer. The inputs of all steps are projected in one product outside the time loop.

    Gates are in the order input, forget, candidate, output. The bias of the forget gate is initialized to 1
    (Jozefowicz et al., 2015).

    Args:
        hidden_dim: int, W, width of the hidden and cell states.
    """

    matrices: ClassVar[tuple[str, ...]] = ("kernel", "recurrent_kernel")
    """As of `Linear`."""

    def __init__(self, hidden_dim: int, **kwargs: Any) -> None:
        # Autocasting would cast every argument to the compute dtype, including the float32 cell state.
        super().__init__(autocast=False, **kwargs)
        self.hidden_dim = hidden_dim

    def build(self, input_shape: Any) -> None:
        """Creates the kernels [D, 4 W] and [W, 4 W] and the bias [4 W]."""
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
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs over time.

        Args:
            inputs: float [B, T, D].
            hidden: float [B, W], initial hidden state.
            cell: float [B, W], initial cell state.
            mask: bool [B, T]; False keeps the row's hidden and cell states unchanged. None for all True.
            training: bool, use the custom gradient of `tflm.layers.lstm_gradient`. Outputs are the same.
        Returns:
            Hidden states float [B, T, W], and the final hidden state [B, W] and cell state float32 [B, W].
        """
        if not training:
            return _run(*self.prepare(inputs, hidden, cell, mask))
        if not is_unrolled(inputs.shape[1]):
            return run_in_loop(*self.prepare(inputs, hidden, cell, mask))
        # Time first: the parts of a step are contiguous.
        mask = None if mask is None else ops.transpose(mask)
        outputs, *last = run_unrolled(*self.prepare(ops.transpose(inputs, (1, 0, 2)), hidden, cell, mask))
        return ops.transpose(outputs, (1, 0, 2)), *last

    def prepare(self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor) -> Tensors:
        """Inputs of the time loop: the input projection of the gates float [B, T, 4 W], the recurrent kernel [W, 4 W],
        `hidden`, `cell`, and the mask as float [B, T, 1] or None. The cell state is float32, the rest has the compute
        dtype."""
        dtype = self.compute_dtype
        kernel, recurrent_kernel = (as_dtype(x, dtype) for x in (self.kernel, self.recurrent_kernel))
        if isinstance(recurrent_kernel, QuantizedMatrix) and inputs.shape[1] != 1:
            recurrent_kernel = as_tensor(recurrent_kernel, dtype)  # once for all steps
        bias = ops.convert_to_tensor(ops.cast(self.bias, dtype))
        multiply = product if is_fusing() or isinstance(kernel, QuantizedMatrix) else ops.matmul
        gates = ops.add(multiply(ops.cast(inputs, dtype), kernel), bias)
        keep = None if mask is None else ops.cast(mask, dtype)[:, :, None]
        return gates, recurrent_kernel, ops.cast(hidden, dtype), ops.cast(cell, "float32"), keep


def _run(
    gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """All steps. Arguments are those of `LSTM.prepare`'s result, the result is that of `LSTM.call`."""

    def step(carry: Tensors, gates: Tensor, *keep: Tensor) -> Tensors:
        return step_cell(gates + product(carry[0], kernel), carry, keep)[:2]

    (hidden, cell), (outputs, _) = scan(step, (hidden, cell), (gates, keep))
    return outputs, hidden, cell


def run_layers(
    layers: Sequence[Callable[..., tuple[Tensor, Tensor, Tensor]]],
    inputs: Tensor,
    state: tuple[Tensor, Tensor],
    mask: Tensor,
    dropout: keras.layers.Dropout,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """A stack of layers.

    Args:
        layers: N layers with the call signature of `LSTM`.
        inputs: float [B, T, D].
        state: initial hidden and cell states, float [B, N, W] each.
        mask: bool [B, T] or None, see `LSTM.call`.
        dropout: applied to the inputs and to the output of each layer (Zaremba et al., 2014).
        training: bool.
    Returns:
        The output of the last layer float [B, T, W], and the final hidden and cell states of all layers, [B, N, W]
        each.
    """
    x, hidden, cell = dropout(inputs, training=training), [], []
    for index, layer in enumerate(layers):
        initial = state[0][:, index], state[1][:, index]
        x, last_hidden, last_cell = layer(x, *initial, mask, training=training)
        capture(layer, "output", x)
        x = dropout(x, training=training)
        hidden.append(last_hidden)
        cell.append(last_cell)
    return x, ops.stack(hidden, axis=1), ops.stack(cell, axis=1)


def zero_state(batch_size: Tensor, num_layers: int, hidden_dim: int, dtype: str) -> tuple[Tensor, Tensor]:
    """Zero hidden states of `dtype` and zero cell states float32, [batch_size, num_layers, hidden_dim] each."""
    shape = (batch_size, num_layers, hidden_dim)
    return ops.zeros(shape, dtype=dtype), ops.zeros(shape, dtype="float32")


def _forget_bias(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """Initial bias [4 W]: 1 for the forget gate (the second quarter), 0 elsewhere."""
    quarter = ops.arange(shape[0]) // (shape[0] // 4)
    return ops.cast(quarter == 1, dtype or "float32")
