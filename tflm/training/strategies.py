"""Where training runs, by name."""

import tensorflow as tf

from tflm.errors import UsageError

STRATEGIES = ("auto", "one_device", "mirrored")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """A `tf.distribute` strategy.

    auto: all GPUs of this machine when there are several, else the one device there is. one_device: the first
    GPU, or the CPU. mirrored: all GPUs, or all logical CPUs where there is no GPU.

    Raises:
        UsageError: no strategy of this name.
    """
    if name not in STRATEGIES:
        raise UsageError(f"--strategy is one of {', '.join(STRATEGIES)}; got {name!r}.")
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()
