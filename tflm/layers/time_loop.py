"""An LSTM's step and the loop over steps."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

Tensor = Any
Tensors = tuple[Tensor, ...]

# Loops of at most this many steps are unrolled: faster on a CPU, and the graph is still small.
UNROLL_LIMIT = 128


def is_unrolled(length: int | None) -> bool:
    """Whether a loop of this many steps is written out in the graph; None for a length that is not known."""
    return length is not None and length <= UNROLL_LIMIT


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
    if not is_unrolled(length):
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
