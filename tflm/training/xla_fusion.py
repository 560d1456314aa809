"""Chains of elementwise operations of a training step, compiled by XLA."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_SMALLEST, _SMALLEST_REPEATED = 1 << 18, 1 << 15
"""Elements from which compiling a chain of operations pays; and one that is repeated in every step of a text."""


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
        if self._most_elements((inputs, constants)) < _SMALLEST:
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
        if self._most_elements(inputs) < least:
            return function(*inputs)
        if (function, least) not in self.compiled:
            by_xla = tf.function(function, jit_compile=True, autograph=False)

            @tf.function(autograph=False)
            def either(*inputs: Any) -> Any:
                sizes = [tf.size(each) for each in tf.nest.flatten(inputs)]
                is_large = tf.reduce_max(tf.stack(sizes)) >= least
                return tf.cond(is_large, lambda: by_xla(*inputs), lambda: function(*inputs))

            self.compiled[function, least] = by_xla, either
        by_xla, either = self.compiled[function, least]
        is_known = all(each.shape.is_fully_defined() for each in tf.nest.flatten(inputs))
        return (by_xla if is_known else either)(*inputs)

    def _most_elements(self, tensors: Any) -> int:
        """The greatest number of elements of a tensor that is possible."""
        most = 0
        for tensor in tf.nest.flatten(tensors):
            sizes = tensor.shape.as_list()
            if None in sizes and self._largest_batch is None:
                return 0
            for axis, size in enumerate(sizes):
                if size is None and self._largest_batch is not None:  # rows times length, or a length
                    sizes[axis] = math.prod(self._largest_batch) if axis == 0 else self._largest_batch[1]
            most = max(most, math.prod(sizes))
        return most


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
