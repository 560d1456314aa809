"""Chains of elementwise operations of a training step, compiled by XLA."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_SMALLEST, _SMALLEST_REPEATED = 1 << 18, 1 << 15
"""Elements from which compiling a chain of operations pays; and one that is repeated in every step of a text."""
_SMALLEST_UNKNOWN = 1 << 20
"""The same for shapes that are not known, of which each takes about a second to compile, for all chains of a model."""


class XlaFusion:
    """Compiles chains of operations by XLA, one kernel forward and one backward. The backward one computes the chain
    again from its inputs, so that nothing in between is stored.

    Each shape is compiled once, when it is first computed, and chains of small tensors are left as they are. Where a
    shape is not known when the step is traced, the graph has both forms, and the size decides in each step: batches of
    texts of different lengths have a bounded number of widths, and so of kernels.

    Args:
        largest_batch: rows and greatest length of a batch (on one device, in one micro-batch); None if not known:
            chains of unknown shapes are then left as they are.
    """

    def __init__(self, largest_batch: tuple[int, int] | None = None) -> None:
        self._largest_batch = largest_batch
        self._chains: dict[Any, Any] = {}
        self.compiled: dict[Any, Any] = {}
        """Functions that are compiled, by the function and its least size."""

    def compile(self, function: Callable[..., Any], inputs: tuple[Any, ...], repeated: bool) -> Any:
        """See `tflm.layers.fusion.Fusion`."""
        return self._chosen(function, inputs, _SMALLEST_REPEATED if repeated else _SMALLEST)

    def fuse(self, function: Callable[..., Any], inputs: Any, constants: Any) -> tf.Tensor:
        """See `tflm.layers.fusion.Fusion`."""
        inputs = [tf.convert_to_tensor(each) for each in inputs]
        if self._is_small((inputs, constants), _SMALLEST):
            return function(*inputs, *constants)
        if function not in self._chains:
            self._chains[function] = _both_ways(function)
        forward, backward = self._chains[function]

        @tf.custom_gradient
        def run(*inputs: tf.Tensor) -> Any:
            # The gradient is `backward`: without `stop_gradient`, the tape would also prepare that of `forward`.
            stopped = [tf.stop_gradient(each) for each in inputs]
            outputs = self._chosen(forward, (stopped, constants), _SMALLEST)
            return outputs, lambda upstream: self._chosen(backward, (inputs, constants, upstream), _SMALLEST)

        return run(*inputs)

    def _chosen(self, function: Callable[..., Any], inputs: tuple[Any, ...], least: int) -> Any:
        """function(*inputs), compiled where its largest tensor has `least` elements."""
        if self._is_small(inputs, least):
            return function(*inputs)
        if (function, least) not in self.compiled:
            by_xla = tf.function(function, jit_compile=True, autograph=False)

            @tf.function(autograph=False)
            def either(*inputs: Any) -> Any:
                sizes = [tf.size(each) for each in tf.nest.flatten(inputs)]
                is_large = tf.reduce_max(tf.stack(sizes)) >= max(least, _SMALLEST_UNKNOWN)
                return tf.cond(is_large, lambda: by_xla(*inputs), lambda: function(*inputs))

            self.compiled[function, least] = by_xla, either
        by_xla, either = self.compiled[function, least]
        return (by_xla if _are_known(inputs) else either)(*inputs)

    def _is_small(self, tensors: Any, least: int) -> bool:
        """Whether no tensor has `least` elements, in the largest batch."""
        if not _are_known(tensors):
            if self._largest_batch is None:
                return True
            least = max(least, _SMALLEST_UNKNOWN)
        rows, length = self._largest_batch or (0, 0)
        most = 0
        for tensor in tf.nest.flatten(tensors):
            unknown = [rows * length if axis == 0 else length for axis in range(len(tensor.shape))]
            sizes = [
                other if size is None else size for size, other in zip(tensor.shape, unknown, strict=True)
            ]
            most = max(most, math.prod(sizes))
        return most < least


def _are_known(tensors: Any) -> bool:
    return all(each.shape.is_fully_defined() for each in tf.nest.flatten(tensors))


def _both_ways(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The chain and its gradient, which computes the chain again."""

    def forward(inputs: Any, constants: Any) -> tf.Tensor:
        return function(*inputs, *constants)

    def backward(inputs: Any, constants: Any, upstream: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(*inputs, *constants)
        return tape.gradient(outputs, list(inputs), output_gradients=upstream)

    return forward, backward
