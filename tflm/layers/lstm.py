"""A long short-term memory layer (Hochreiter and Schmidhuber, 1997; forget gate of Gers et al., 2000).

Ours and not `keras.layers.LSTM`: that one may put a cuDNN operation into a graph, which a server on a CPU cannot
run, and it projects the inputs inside the time loop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

Tensor = Any
Tensors = tuple[Tensor, ...]

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
        self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor, training: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs over time.

        Args:
            inputs: float [B, T, D].
            hidden: float [B, W], before the first step.
            cell: float [B, W], likewise.
            mask: bool [B, T]; where False, the row's hidden and cell vectors stay as they were. None for all True.
            training: bool, with a gradient of its own, see `_trained`. The values are the same.
        Returns:
            The hidden vectors float [B, T, W], and the last hidden and cell vectors; cells are float32.
        """
        run = _trained if training else _run
        return run(*self.prepare(inputs, hidden, cell, mask))

    def prepare(self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor) -> Tensors:
        """What a loop over time takes: gates float [B, T, 4 W] as far as the inputs decide them, the recurrent
        kernel, `hidden`, `cell`, and the mask as numbers [B, T, 1] or None; the cell alone in float32."""
        dtype = self.compute_dtype
        kernel, recurrent_kernel, bias = (
            ops.convert_to_tensor(ops.cast(weight, dtype))
            for weight in (self.kernel, self.recurrent_kernel, self.bias)
        )
        gates = ops.add(ops.matmul(ops.cast(inputs, dtype), kernel), bias)
        keep = None if mask is None else ops.cast(mask, dtype)[:, :, None]
        return gates, recurrent_kernel, ops.cast(hidden, dtype), ops.cast(cell, "float32"), keep


def step_cell(gates: Tensor, carry: Tensors, keep: Sequence[Tensor]) -> Tensors:
    """One step. The cell vector stays in float32, since it adds up over the whole sequence.

    Args:
        gates: float [B, 4 W], before their sigmoids and tanh.
        carry: the hidden vector float [B, W] and the cell vector float32 [B, W]; what follows is not read.
        keep: nothing, or the mask as numbers [B, 1].
    Returns:
        The new hidden and cell vectors, and the gates after their sigmoids and tanh.
    """
    hidden, cell = carry[:2]
    enter, forget, candidate, leave = ops.split(ops.cast(gates, "float32"), 4, axis=-1)
    enter, forget, leave = ops.sigmoid(enter), ops.sigmoid(forget), ops.sigmoid(leave)
    candidate = ops.tanh(candidate)
    new_cell = forget * cell + enter * candidate
    new_hidden = ops.cast(leave * ops.tanh(new_cell), hidden.dtype)
    opened = ops.cast(ops.concatenate([enter, forget, candidate, leave], axis=-1), gates.dtype)
    for mask in keep:
        new_hidden = ops.where(mask > 0, new_hidden, hidden)
        new_cell = ops.where(mask > 0, new_cell, cell)
    return new_hidden, new_cell, opened


def walk(
    step: Callable[..., Tensors], carry: Tensors, inputs: Sequence[Tensor], reverse: bool = False
) -> tuple[Tensors, Tensors]:
    """The loop over time.

    >>> walk(lambda carry, x: (carry[0] + x,), (0,), [[[1, 2, 3]]])
    (6,), ([[1, 3, 6]],)

    Args:
        step: from a carry and one step's inputs [B, F] each, the next carry.
        carry: tensors [B, ...].
        inputs: tensors [B, T, F], F known; None among them is left out.
        reverse: bool, from the last step to the first.
    Returns:
        The last carry, and for each of its parts the values after every step, [B, T, ...].
    """
    inputs = [x for x in inputs if x is not None]
    length = inputs[0].shape[1]
    if length is None or length > UNROLL_LIMIT:
        return _scan(step, carry, inputs, reverse)
    steps = list(zip(*(ops.unstack(x, length, axis=1) for x in inputs), strict=True))
    carries = []
    for step_inputs in reversed(steps) if reverse else steps:
        carry = step(carry, *step_inputs)
        carries.append(carry)
    if reverse:
        carries.reverse()
    return carry, tuple(ops.stack(part, axis=1) for part in zip(*carries, strict=True))


def _scan(
    step: Callable[..., Tensors], carry: Tensors, inputs: Sequence[Tensor], reverse: bool
) -> tuple[Tensors, Tensors]:
    """`walk` as a loop in the graph. `ops.scan` on TensorFlow goes over one tensor only when the length is unknown,
    so the inputs ride side by side, in the widest of their dtypes."""
    dtype = keras.backend.result_type(*(x.dtype for x in inputs))
    ends = [sum(x.shape[-1] for x in inputs[:count]) for count in range(1, len(inputs))]
    joined = ops.concatenate([ops.cast(x, dtype) for x in inputs], axis=-1)

    def body(carry: Tensors, step_inputs: Tensor) -> tuple[Tensors, Tensors]:
        parts = ops.split(step_inputs, ends, axis=-1) if ends else [step_inputs]
        parts = [ops.cast(part, x.dtype) for part, x in zip(parts, inputs, strict=True)]
        carry = step(carry, *parts)
        return carry, carry

    carry, parts = ops.scan(body, carry, ops.transpose(joined, (1, 0, 2)), reverse=reverse)
    return carry, tuple(ops.transpose(part, (1, 0, 2)) for part in parts)


def _run(
    gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """All steps; arguments as `LSTM.prepare` gives them, returns as of `LSTM.call`."""

    def step(carry: Tensors, gates: Tensor, *keep: Tensor) -> Tensors:
        return step_cell(gates + ops.matmul(carry[0], kernel), carry, keep)[:2]

    (hidden, cell), (outputs, _) = walk(step, (hidden, cell), (gates, keep))
    return outputs, hidden, cell


def _trained(
    gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`_run` with its gradient written out, for up to a third less work in a training step. What a step adds to
    the gradient of the recurrent kernel is the size of the kernel; here all steps' is one product at the end."""

    def step(carry: Tensors, gates: Tensor, *keep: Tensor) -> Tensors:
        return step_cell(gates + ops.matmul(carry[0], kernel), carry, keep)

    @ops.custom_gradient
    def run(gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor) -> Any:
        carry = hidden, cell, ops.zeros_like(gates[:, 0])
        last, (hiddens, cells, opened) = walk(step, carry, (gates, keep))

        def gradient(*upstream: Any) -> Tensors:
            d_hiddens, d_hidden, d_cell = keras.tree.flatten(upstream)
            inputs = d_hiddens, opened, _shifted(cell, cells), cells, keep
            carry = d_hidden, d_cell, ops.zeros_like(opened[:, 0])
            (d_hidden, d_cell, _), (_, _, d_gates) = walk(_step_back(kernel), carry, inputs, reverse=True)
            before = ops.reshape(_shifted(hidden, hiddens), (-1, kernel.shape[0]))
            d_kernel = ops.matmul(ops.transpose(before), ops.reshape(d_gates, (-1, kernel.shape[1])))
            return d_gates, d_kernel, d_hidden, d_cell

        return (hiddens, last[0], last[1]), gradient

    return run(gates, kernel, hidden, cell)


def _step_back(kernel: Tensor) -> Callable[..., Tensors]:
    """The step of the gradient: from that of the vectors after a step to that of those before it, and of its gates."""
    turned_kernel = ops.transpose(kernel)

    def step(
        carry: Tensors, d_output: Tensor, opened: Tensor, before: Tensor, cell: Tensor, *keep: Tensor
    ) -> Tensors:
        d_hidden, d_cell = ops.cast(carry[0], "float32") + ops.cast(d_output, "float32"), carry[1]
        enter, forget, candidate, leave = ops.split(ops.cast(opened, "float32"), 4, axis=-1)
        squashed = ops.tanh(cell)
        d_new_cell = d_cell + d_hidden * leave * (1 - squashed * squashed)
        parts = [
            d_new_cell * candidate * enter * (1 - enter),
            d_new_cell * before * forget * (1 - forget),
            d_new_cell * enter * (1 - candidate * candidate),
            d_hidden * squashed * leave * (1 - leave),
        ]
        d_gates = ops.cast(ops.concatenate(parts, axis=-1), opened.dtype)
        d_hidden_before, d_cell_before = ops.matmul(d_gates, turned_kernel), d_new_cell * forget
        for mask in keep:
            d_gates = d_gates * mask
            d_hidden_before = ops.where(mask > 0, d_hidden_before, ops.cast(d_hidden, d_hidden_before.dtype))
            d_cell_before = ops.where(mask > 0, d_cell_before, d_cell)
        return d_hidden_before, d_cell_before, d_gates

    return step


def _shifted(first: Tensor, values: Tensor) -> Tensor:
    """[B, T, W], what stood before each step: `first` [B, W], then all of `values` [B, T, W] but the last."""
    return ops.concatenate([first[:, None], values[:, :-1]], axis=1)


def run_layers(
    layers: Sequence[Callable[..., tuple[Tensor, Tensor, Tensor]]],
    inputs: Tensor,
    state: tuple[Tensor, Tensor],
    mask: Tensor,
    dropout: keras.layers.Dropout,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer on top of the other.

    Args:
        layers: N of them, called as `LSTM` is.
        inputs: float [B, T, D].
        state: hidden and cell vectors before the first step, float [B, N, W] each.
        mask: bool [B, T] or None, as of `LSTM.call`.
        dropout: over the inputs, and the output of each layer.
        training: bool.
    Returns:
        The last layer's output float [B, T, W], and all layers' last hidden and cell vectors, [B, N, W] each.
    """
    x, hidden, cell = dropout(inputs, training=training), [], []
    for index, layer in enumerate(layers):
        before = state[0][:, index], state[1][:, index]
        x, last_hidden, last_cell = layer(x, *before, mask, training=training)
        x = dropout(x, training=training)
        hidden.append(last_hidden)
        cell.append(last_cell)
    return x, ops.stack(hidden, axis=1), ops.stack(cell, axis=1)


def zero_state(batch_size: Tensor, num_layers: int, hidden_dim: int, dtype: str) -> tuple[Tensor, Tensor]:
    """Hidden vectors of `dtype` and cell vectors float32, zeros [batch_size, num_layers, hidden_dim]."""
    shape = (batch_size, num_layers, hidden_dim)
    return ops.zeros(shape, dtype=dtype), ops.zeros(shape, dtype="float32")


def _forget_bias(shape: tuple[int, ...], dtype: Any = None) -> Tensor:
    """Ones for the forget gate, the second quarter; zeros elsewhere."""
    quarter = ops.arange(shape[0]) // (shape[0] // 4)
    return ops.cast(quarter == 1, dtype or "float32")
