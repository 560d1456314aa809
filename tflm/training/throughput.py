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


class SpeedMeter:
    """What a log says of the speed: tokens and seconds so far, and those of the last call.

    Args:
        num_parameters: int, of the model.
        peak: float, floating-point operations a second of all replicas together.
        tokens: trained on before, in the part of the run that an interruption ended.
        seconds: likewise.
    """

    def __init__(self, num_parameters: int, peak: float, tokens: float = 0.0, seconds: float = 0.0) -> None:
        self.tokens, self.seconds = tokens, seconds
        self._share = training_flops_per_token(num_parameters) / peak
        self._is_first = True

    def measure(self, tokens: float, seconds: float) -> dict[str, float]:
        """A record for a call that trained on `tokens` in `seconds`. The first call's speed is the compiler's,
        and left out; its time counts."""
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        record = {"tokens": self.tokens, "seconds": self.seconds}
        if not self._is_first:
            record["tokens_per_second"] = tokens / seconds
            record["share_of_peak"] = record["tokens_per_second"] * self._share
        self._is_first = False
        return record


def training_flops_per_token(num_parameters: int) -> float:
    """Six for each parameter (Kaplan et al., 2020, section 2.1): two forward, four backward; attention left out."""
    return 6.0 * num_parameters
