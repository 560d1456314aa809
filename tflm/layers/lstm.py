"""A long short-term memory layer (Hochreiter and Schmidhuber, 1997; forget gate of Gers et al., 2000).

Used instead of `keras.layers.LSTM`, which may add a cuDNN operation that a CPU server cannot run and which projects
the inputs inside the time loop.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from tflm.layers.capturing import capture
from tflm.layers.fusion import compiled
from tflm.layers.linear import as_dtype, as_tensor, product
from tflm.layers.quantized import QuantizedMatrix

Tensor = Any
Tensors = tuple[Tensor, ...]

# Loops of at most this many steps are unrolled: faster on a CPU, and the graph is still small.
UNROLL_LIMIT = 128


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
            training: bool, use the custom gradient of `_run_with_custom_gradient`. Outputs are the same.
        Returns:
            Hidden states float [B, T, W], and the final hidden state [B, W] and cell state float32 [B, W].
        """
        run = _run_with_custom_gradient if training else _run
        return run(*self.prepare(inputs, hidden, cell, mask))

    def prepare(self, inputs: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor) -> Tensors:
        """Inputs of the time loop: the input projection of the gates float [B, T, 4 W], the recurrent kernel [W, 4 W],
        `hidden`, `cell`, and the mask as float [B, T, 1] or None. The cell state is float32, the rest has the compute
        dtype."""
        dtype = self.compute_dtype
        kernel, recurrent_kernel = (as_dtype(x, dtype) for x in (self.kernel, self.recurrent_kernel))
        if isinstance(recurrent_kernel, QuantizedMatrix) and inputs.shape[1] != 1:
            recurrent_kernel = as_tensor(recurrent_kernel, dtype)  # once for all steps
        bias = ops.convert_to_tensor(ops.cast(self.bias, dtype))
        multiply = product if isinstance(kernel, QuantizedMatrix) else ops.matmul
        gates = ops.add(multiply(ops.cast(inputs, dtype), kernel), bias)
        keep = None if mask is None else ops.cast(mask, dtype)[:, :, None]
        return gates, recurrent_kernel, ops.cast(hidden, dtype), ops.cast(cell, "float32"), keep


def step_cell(gates: Tensor, carry: Tensors, keep: Sequence[Tensor]) -> Tensors:
    """One LSTM step. The cell state is float32, since it accumulates over the whole sequence.

    Args:
        gates: float [B, 4 W], pre-activations.
        carry: hidden state float [B, W] and cell state float32 [B, W]; further elements are ignored.
        keep: empty, or the mask as float [B, 1].
    Returns:
        The new hidden and cell states, and the gate activations float [B, 4 W].
    """
    hidden, cell = carry[:2]
    input_gate, forget_gate, candidate, output_gate = ops.split(ops.cast(gates, "float32"), 4, axis=-1)
    input_gate, forget_gate, output_gate = (ops.sigmoid(x) for x in (input_gate, forget_gate, output_gate))
    candidate = ops.tanh(candidate)
    new_cell = forget_gate * cell + input_gate * candidate
    new_hidden = ops.cast(output_gate * ops.tanh(new_cell), hidden.dtype)
    activations = ops.concatenate([input_gate, forget_gate, candidate, output_gate], axis=-1)
    activations = ops.cast(activations, gates.dtype)
    for mask in keep:
        new_hidden = ops.where(mask > 0, new_hidden, hidden)
        new_cell = ops.where(mask > 0, new_cell, cell)
    return new_hidden, new_cell, activations


def _step_cell(gates: Tensor, recurrent: Tensor, carry: Tensors, keep: Sequence[Tensor]) -> Tensors:
    """`step_cell` of the sum of both parts of the gates."""
    return step_cell(gates + recurrent, carry, keep)


def scan(
    step_fn: Callable[..., Tensors], carry: Tensors, inputs: Sequence[Tensor], reverse: bool = False
) -> tuple[Tensors, Tensors]:
    """The loop over time, unrolled up to UNROLL_LIMIT steps.

    >>> scan(lambda carry, x: (carry[0] + x,), (0,), [[[1, 2, 3]]])
    (6,), ([[1, 3, 6]],)

    Args:
        step_fn: maps a carry and the inputs of one step, [B, F] each, to the next carry.
        carry: initial carry, tensors [B, ...].
        inputs: tensors [B, T, F] with static F; None is skipped.
        reverse: bool, from the last step to the first.
    Returns:
        The final carry, and the carries after every step, [B, T, ...] each.
    """
    inputs = [x for x in inputs if x is not None]
    length = inputs[0].shape[1]
    if length is None or length > UNROLL_LIMIT:
        return _scan_in_graph(step_fn, carry, inputs, reverse)
    steps = list(zip(*(ops.unstack(x, length, axis=1) for x in inputs), strict=True))
    carries = []
    for step_inputs in reversed(steps) if reverse else steps:
        carry = step_fn(carry, *step_inputs)
        carries.append(carry)
    if reverse:
        carries.reverse()
    return carry, tuple(ops.stack(part, axis=1) for part in zip(*carries, strict=True))


def _scan_in_graph(
    step_fn: Callable[..., Tensors], carry: Tensors, inputs: Sequence[Tensor], reverse: bool
) -> tuple[Tensors, Tensors]:
    """`scan` as a loop in the graph. With an unknown length, `ops.scan` on TensorFlow accepts a single tensor, so the
    inputs are concatenated in their common dtype."""
    dtype = keras.backend.result_type(*(x.dtype for x in inputs))
    ends = [sum(x.shape[-1] for x in inputs[:count]) for count in range(1, len(inputs))]
    joined = ops.concatenate([ops.cast(x, dtype) for x in inputs], axis=-1)

    def body(carry: Tensors, step_inputs: Tensor) -> tuple[Tensors, Tensors]:
        parts = ops.split(step_inputs, ends, axis=-1) if ends else [step_inputs]
        parts = [ops.cast(part, x.dtype) for part, x in zip(parts, inputs, strict=True)]
        carry = step_fn(carry, *parts)
        return carry, carry

    carry, parts = ops.scan(body, carry, ops.transpose(joined, (1, 0, 2)), reverse=reverse)
    return carry, tuple(ops.transpose(part, (1, 0, 2)) for part in parts)


def _run(
    gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """All steps. Arguments are those of `LSTM.prepare`'s result, the result is that of `LSTM.call`."""

    def step(carry: Tensors, gates: Tensor, *keep: Tensor) -> Tensors:
        return step_cell(gates + product(carry[0], kernel), carry, keep)[:2]

    (hidden, cell), (outputs, _) = scan(step, (hidden, cell), (gates, keep))
    return outputs, hidden, cell


def _run_with_custom_gradient(
    gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`_run` with a custom gradient, which takes up to a third off a training step: the gradient of the recurrent
    kernel is one product over all steps, not a sum of kernel-sized products, one per step."""

    def step(carry: Tensors, gates: Tensor, *keep: Tensor) -> Tensors:
        return compiled(_step_cell, gates, ops.matmul(carry[0], kernel), carry[:2], keep)

    @ops.custom_gradient
    def run(gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor) -> Any:
        carry = hidden, cell, ops.zeros_like(gates[:, 0])
        last, (hiddens, cells, activations) = scan(step, carry, (gates, keep))

        def gradient(*upstream: Any) -> Tensors:
            d_hiddens, d_hidden, d_cell = keras.tree.flatten(upstream)
            inputs = d_hiddens, activations, _previous(cell, cells), cells, keep
            carry = d_hidden, d_cell, ops.zeros_like(activations[:, 0])
            (d_hidden, d_cell, _), (_, _, d_gates) = scan(_gradient_step(kernel), carry, inputs, reverse=True)
            previous = ops.reshape(_previous(hidden, hiddens), (-1, kernel.shape[0]))
            d_kernel = ops.matmul(ops.transpose(previous), ops.reshape(d_gates, (-1, kernel.shape[1])))
            return d_gates, d_kernel, d_hidden, d_cell

        return (hiddens, last[0], last[1]), gradient

    return run(gates, kernel, hidden, cell)


def _gradient_step(kernel: Tensor) -> Callable[..., Tensors]:
    """One step of backpropagation through time: maps the gradients of the states after a step to those of the states
    before it, and of the gates' pre-activations."""
    transposed_kernel = ops.transpose(kernel)

    def step(
        carry: Tensors,
        d_output: Tensor,
        activations: Tensor,
        previous_cell: Tensor,
        cell: Tensor,
        *keep: Tensor,
    ) -> Tensors:
        d_gates, d_hidden, d_previous_cell = compiled(
            _cell_gradient, carry[:2], d_output, activations, previous_cell, cell, keep
        )
        d_previous_hidden = ops.matmul(d_gates, transposed_kernel)
        for mask in keep:  # the gates of a masked step have no gradient, so neither has their product
            d_previous_hidden = d_previous_hidden + ops.cast(
                ops.where(mask > 0, 0.0, d_hidden), d_previous_hidden.dtype
            )
        return d_previous_hidden, d_previous_cell, d_gates

    return step


def _cell_gradient(
    carry: Tensors,
    d_output: Tensor,
    activations: Tensor,
    previous_cell: Tensor,
    cell: Tensor,
    keep: Sequence[Tensor],
) -> Tensors:
    """The elementwise part of a step: gradients of the gates' pre-activations, of the hidden state after the step, and
    of the cell state before it."""
    d_hidden, d_cell = ops.cast(carry[0], "float32") + ops.cast(d_output, "float32"), carry[1]
    gates = ops.split(ops.cast(activations, "float32"), 4, axis=-1)
    input_gate, forget_gate, candidate, output_gate = gates
    tanh_cell = ops.tanh(cell)
    d_new_cell = d_cell + d_hidden * output_gate * (1 - tanh_cell * tanh_cell)
    parts = [
        d_new_cell * candidate * input_gate * (1 - input_gate),
        d_new_cell * previous_cell * forget_gate * (1 - forget_gate),
        d_new_cell * input_gate * (1 - candidate * candidate),
        d_hidden * tanh_cell * output_gate * (1 - output_gate),
    ]
    d_gates = ops.cast(ops.concatenate(parts, axis=-1), activations.dtype)
    d_previous_cell = d_new_cell * forget_gate
    for mask in keep:
        d_gates = d_gates * mask
        d_previous_cell = ops.where(mask > 0, d_previous_cell, d_cell)
    return d_gates, d_hidden, d_previous_cell


def _previous(initial: Tensor, states: Tensor) -> Tensor:
    """The state before each step, [B, T, W]: `initial` [B, W], then `states` [B, T, W] without the last."""
    return ops.concatenate([initial[:, None], states[:, :-1]], axis=1)


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
