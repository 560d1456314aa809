"""How fast training goes, in tokens a second and as a share of what the device can do."""

import time

import tensorflow as tf


def peak_flops(dtype: str, size: int = 1536, rounds: int = 4) -> float:
    """Floating-point operations a second of a square matrix product on this device: what we call the peak.

    Args:
        dtype: float32 or bfloat16.
        size: the matrices' side.
        rounds: products in one call; the best of three calls counts.
    """
    matrix = tf.random.stateless_normal((size, size), seed=(0, 0))
    matrix = tf.cast(matrix, dtype)

    @tf.function
    def products(x: tf.Tensor) -> tf.Tensor:
        y = x
        for _ in range(rounds):
            y = tf.matmul(y, x) * tf.cast(size**-0.5, dtype)
        return tf.reduce_sum(tf.cast(y, tf.float32))

    products(matrix).numpy()
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        products(matrix).numpy()
        best = min(best, time.perf_counter() - begin)
    return 2.0 * size**3 * rounds / best


def training_flops_per_token(num_parameters: int) -> float:
    """Six for each parameter (Kaplan et al., 2020, section 2.1): two forward, four backward; attention left out."""
    return 6.0 * num_parameters
