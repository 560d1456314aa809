"""Normalization layers by name: LayerNorm (Ba et al., 2016) or RMSNorm (Zhang and Sennrich, 2019)."""

import keras

NORMS = ("layer_norm", "rms_norm")


def make_norm(kind: str, epsilon: float, name: str) -> keras.layers.Layer:
    """A normalization layer over the last axis, with float32 statistics under every dtype policy.

    Raises:
        ValueError: `kind` is not one of NORMS.
    """
    if kind == "layer_norm":
        return keras.layers.LayerNormalization(epsilon=epsilon, name=name)
    if kind == "rms_norm":
        return keras.layers.RMSNormalization(epsilon=epsilon, name=name)
    raise ValueError(f"norm is one of {', '.join(NORMS)}; got {kind!r}.")
