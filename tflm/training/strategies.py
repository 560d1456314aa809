"""Distribution strategies by name."""

import tensorflow as tf

from tflm.errors import UsageError

STRATEGIES = ("auto", "one_device", "mirrored")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Creates a `tf.distribute` strategy.

    auto: all GPUs if there are several, else one device. one_device: the first GPU, or the CPU. mirrored: all GPUs, or
    all logical CPUs without a GPU.

    Raises:
        UsageError: unknown strategy.
    """
    if name not in STRATEGIES:
        raise UsageError(f"--strategy is one of {', '.join(STRATEGIES)}; got {name!r}.")
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()
