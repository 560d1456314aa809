"""The gradient of an LSTM by hand: backpropagation through time in which the recurrent kernel gets its gradient in one
product over all steps, not in a sum of kernel-sized products, one per step."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tflm.layers.fusion import compiled
from tflm.layers.linear import written_transpose
from tflm.layers.time_loop import Tensors, scan, step_cell

Tensor = Any


def run_unrolled(
    gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """All steps, written out. What a step leaves for the backward pass is kept as it is, and not copied together.

    Args:
        gates: float [T, B, 4 W] with known T, the input projection of the gates.
        kernel: float [W, 4 W], the recurrent kernel.
        hidden: float [B, W], initial hidden state.
        cell: float32 [B, W], initial cell state.
        keep: float [T, B, 1], the mask, or None.
    Returns:
        Hidden states float [T, B, W], and the final hidden and cell states.
    """
    length = gates.shape[0]
    masks = [()] * length if keep is None else [(mask,) for mask in ops.unstack(keep, length)]

    @ops.custom_gradient
    def run(gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor) -> Any:
        hiddens, cells, activations = [hidden], [cell], []
        for gates_of_step, mask in zip(ops.unstack(gates, length), masks, strict=True):
            recurrent = ops.matmul(hiddens[-1], kernel)
            carry = hiddens[-1], cells[-1]
            new_hidden, new_cell, activation = compiled(
                _step_cell, gates_of_step, recurrent, carry, mask, repeated=True
            )
            hiddens.append(new_hidden)
            cells.append(new_cell)
            activations.append(activation)

        def gradient(*upstream: Any) -> Tensors:
            d_hiddens, d_hidden, d_cell = keras.tree.flatten(upstream)
            step, d_gates = _gradient_step(kernel), []
            d_outputs = ops.unstack(d_hiddens, length)
            for t in reversed(range(length)):
                saved = activations[t], cells[t], cells[t + 1]
                d_hidden, d_cell, d_step = step((d_hidden, d_cell), d_outputs[t], *saved, *masks[t])
                d_gates.append(d_step)
            d_all = ops.stack(d_gates[::-1])
            return d_all, _kernel_gradient(ops.stack(hiddens[:-1]), d_all), d_hidden, d_cell

        return (ops.stack(hiddens[1:]), hiddens[-1], cells[-1]), gradient

    return run(gates, kernel, hidden, cell)


def run_in_loop(
    gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for any number of steps, of `gates` [B, T, 4 W] and `keep` [B, T, 1], to hidden states [B, T, W]."""

    def step(carry: Tensors, gates: Tensor, *keep: Tensor) -> Tensors:
        return compiled(_step_cell, gates, ops.matmul(carry[0], kernel), carry[:2], keep, repeated=True)

    @ops.custom_gradient
    def run(gates: Tensor, kernel: Tensor, hidden: Tensor, cell: Tensor) -> Any:
        carry = hidden, cell, ops.zeros_like(gates[:, 0])
        last, (hiddens, cells, activations) = scan(step, carry, (gates, keep))

        def gradient(*upstream: Any) -> Tensors:
            d_hiddens, d_hidden, d_cell = keras.tree.flatten(upstream)
            inputs = d_hiddens, activations, _previous(cell, cells), cells, keep
            carry = d_hidden, d_cell, ops.zeros_like(activations[:, 0])
            (d_hidden, d_cell, _), (_, _, d_gates) = scan(_gradient_step(kernel), carry, inputs, reverse=True)
            return d_gates, _kernel_gradient(_previous(hidden, hiddens), d_gates), d_hidden, d_cell

        return (hiddens, last[0], last[1]), gradient

    return run(gates, kernel, hidden, cell)


def _kernel_gradient(hiddens: Tensor, d_gates: Tensor) -> Tensor:
    """float [W, 4 W] of the hidden states before the steps [..., W] and the gradients of the gates [..., 4 W]."""
    rows = ops.reshape(hiddens, (-1, hiddens.shape[-1]))
    return ops.matmul(ops.transpose(rows), ops.reshape(d_gates, (-1, d_gates.shape[-1])))


def _step_cell(gates: Tensor, recurrent: Tensor, carry: Tensors, keep: Sequence[Tensor]) -> Tensors:
    """`step_cell` of the sum of both parts of the gates."""
    return step_cell(gates + recurrent, carry, keep)


def _gradient_step(kernel: Tensor) -> Callable[..., Tensors]:
    """One step of backpropagation through time: maps the gradients of the states after a step to those of the states
    before it, and of the gates' pre-activations."""
    # As a part of each product, the transpose takes four times as long (oneDNN, 32 rows, W = 512).
    transposed_kernel = written_transpose(kernel)

    def step(
        carry: Tensors,
        d_output: Tensor,
        activations: Tensor,
        previous_cell: Tensor,
        cell: Tensor,
        *keep: Tensor,
    ) -> Tensors:
        d_gates, d_hidden, d_previous_cell = compiled(
            _cell_gradient, carry[:2], d_output, activations, previous_cell, cell, keep, repeated=True
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
