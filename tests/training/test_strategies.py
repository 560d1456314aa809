"""Strategies by name, on a machine with one CPU and no GPU."""

import pytest
import tensorflow as tf

from tflm.errors import UsageError
from tflm.training import make_strategy


@pytest.mark.parametrize("name", ["auto", "one_device"])
def test_one_device(name):
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == 1
    assert not isinstance(strategy, tf.distribute.MirroredStrategy)


def test_mirrored():
    strategy = make_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices("CPU"))


def test_an_unknown_name():
    with pytest.raises(UsageError, match="--strategy is one of auto, one_device, mirrored; got 'tpu'"):
        make_strategy("tpu")
