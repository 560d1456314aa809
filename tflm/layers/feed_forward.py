"""The position-wise feed-forward network of a Transformer block (Vaswani et al., 2017, section 3.3)."""

from typing import Any

import keras
from keras import ops

from tflm.layers.fusion import fused
from tflm.layers.linear import Linear, as_rows, static_sizes

Tensor = Any


def _gelu(inner: Tensor) -> Tensor:
    return ops.gelu(inner, approximate=True)


def _gelu_exact(inner: Tensor) -> Tensor:
    return ops.gelu(inner, approximate=False)


def _relu_squared(inner: Tensor) -> Tensor:
    return ops.square(ops.relu(inner))


def _swiglu(inner: Tensor, gate: Tensor) -> Tensor:
    return inner * ops.silu(gate)


def _geglu(inner: Tensor, gate: Tensor) -> Tensor:
    return inner * ops.gelu(gate, approximate=True)


_FUNCTIONS = {
    "gelu": _gelu,
    "gelu_exact": _gelu_exact,
    "relu": ops.relu,
    "relu_squared": _relu_squared,
    "swiglu": _swiglu,
    "geglu": _geglu,
}
ACTIVATIONS = tuple(_FUNCTIONS)
GATED = ("swiglu", "geglu")


class FeedForward(keras.layers.Layer):
    """Two projections with an activation in between, or three for a gated linear unit.

    gelu: W2 gelu(W1 x), tanh approximation (Hendrycks and Gimpel, 2016); gelu_exact: the same with the error function,
    as in BERT. relu: W2 relu(W1 x) (Vaswani et al., 2017). relu_squared: W2 relu(W1 x)^2 (So et al., 2021). swiglu:
    W2 (silu(Wg x) * W1 x); geglu: the same with gelu (Shazeer, 2020).

    Args:
        intermediate_dim: int, width of the inner layer.
        activation: one of ACTIVATIONS.
        use_bias: bool, biases in every projection.
        initializer: initializer of the kernels W1 and Wg.
        output_initializer: initializer of the kernel W2.
    Raises:
        ValueError: unknown activation.
    """

    def __init__(
        self,
        intermediate_dim: int,
        activation: str = "gelu",
        *,
        use_bias: bool = False,
        initializer: Any = "glorot_uniform",
        output_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}; got {activation!r}.")
        self.intermediate_dim, self.activation, self.use_bias = intermediate_dim, activation, use_bias
        self.initializer, self.output_initializer = initializer, output_initializer

    def build(self, input_shape: Any) -> None:
        """Builds the projections; the output has the width of the input."""
        self.inner = self._projection(self.intermediate_dim, self.initializer, "inner")
        self.inner.build(input_shape)
        self.gate = None
        if self.activation in GATED:
            self.gate = self._projection(self.intermediate_dim, self.initializer, "gate")
            self.gate.build(input_shape)
        self.outer = self._projection(input_shape[-1], self.output_initializer, "outer")
        self.outer.build((*input_shape[:-1], self.intermediate_dim))
        self.built = True

    def call(self, hidden_states: Tensor) -> Tensor:
        """float [B, T, hidden_dim] to float [B, T, hidden_dim]."""
        outer = self.outer(self._activated(as_rows(hidden_states)))
        return ops.reshape(outer, (*static_sizes(hidden_states)[:-1], hidden_states.shape[-1]))

    def _activated(self, rows: Tensor) -> Tensor:
        """float [N, hidden_dim] to float [N, intermediate_dim]."""
        inner = [self.inner(rows)] if self.gate is None else [self.inner(rows), self.gate(rows)]
        return fused(_FUNCTIONS[self.activation], *inner)

    def _projection(self, width: int, initializer: Any, name: str) -> keras.layers.Layer:
        return Linear(
            width, use_bias=self.use_bias, kernel_initializer=initializer, dtype=self.dtype_policy, name=name
        )
