"""Normalization layers by name: LayerNorm (Ba et al., 2016) or RMSNorm (Zhang and Sennrich, 2019)."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tflm.layers.fusion import fused

Tensor = Any

NORMS = ("layer_norm", "rms_norm")


class LayerNorm(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` over the last axis, as one chain of operations (see `fused`)."""

    def call(self, inputs: Tensor) -> Tensor:
        """float [..., D] to float [..., D]."""
        return fused(_layer_norm(self.epsilon, self.compute_dtype), inputs, *_tensors(self.gamma, self.beta))


class RMSNorm(keras.layers.RMSNormalization):
    """`keras.layers.RMSNormalization` over the last axis, as one chain of operations (see `fused`)."""

    def call(self, x: Tensor) -> Tensor:
        """float [..., D] to float [..., D]."""
        return fused(_rms_norm(self.epsilon), x, *_tensors(self.scale))


def make_norm(kind: str, epsilon: float, name: str) -> keras.layers.Layer:
    """A normalization layer over the last axis, with float32 statistics under every dtype policy.

    Raises:
        ValueError: `kind` is not one of NORMS.
    """
    if kind == "layer_norm":
        return LayerNorm(epsilon=epsilon, name=name)
    if kind == "rms_norm":
        return RMSNorm(epsilon=epsilon, name=name)
    raise ValueError(f"norm is one of {', '.join(NORMS)}; got {kind!r}.")


@functools.cache
def _layer_norm(epsilon: float, dtype: str) -> Callable[..., Tensor]:
    def normalize(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return ops.cast(ops.layer_normalization(x, gamma, beta, axis=-1, epsilon=epsilon), dtype)

    return normalize


@functools.cache
def _rms_norm(epsilon: float) -> Callable[..., Tensor]:
    def normalize(x: Tensor, scale: Tensor) -> Tensor:
        return ops.rms_normalization(x, scale=scale, axis=-1, epsilon=epsilon)

    return normalize


def _tensors(*weights: Any) -> list[Tensor]:
    return [ops.convert_to_tensor(weight) for weight in weights]
