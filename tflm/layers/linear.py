"""A product with a matrix whose graph stays small where sizes are unknown until it runs."""

from typing import Any

import keras
from keras import ops

Tensor = Any


class Linear(keras.layers.Dense):
    """A Dense layer by `product`: where the batch or the length is unknown when it is traced, Keras's own makes twenty
    operations of each, and a graph that writes text has hundreds of them."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """float [..., D] to [..., E]."""
        del training
        outputs = product(inputs, self.kernel)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def product(states: Tensor, kernel: Tensor) -> Tensor:
    """float [..., E] of [..., D] and [D, E], as one product of two matrices."""
    if len(states.shape) == 2:
        return ops.matmul(states, kernel)
    flat = ops.matmul(ops.reshape(states, (-1, states.shape[-1])), kernel)
    return ops.reshape(flat, (*known_sizes(states)[:-1], kernel.shape[-1]))


def known_sizes(tensor: Tensor) -> tuple[Any, ...]:
    """The sizes of a tensor for `reshape`: numbers where they are known, one -1 for the first that is not, and what a
    graph finds out for the others.

    >>> known_sizes(of shape [None, 1, 8]), known_sizes(of shape [None, None, 8])
    (-1, 1, 8), (-1, a scalar tensor, 8)
    """
    unknown = [axis for axis, size in enumerate(tensor.shape) if size is None]
    if len(unknown) < 2:
        return tuple(-1 if size is None else size for size in tensor.shape)
    sizes = list(ops.shape(tensor))
    sizes[unknown[0]] = -1
    return tuple(sizes)
