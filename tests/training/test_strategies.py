"""Where training runs, by name."""

import types

import pytest
import tensorflow as tf

from tflm.errors import UsageError
from tflm.training import make_strategy
from tflm.training.strategies import STRATEGIES


@pytest.fixture
def mirrored_devices(monkeypatch):
    """`mirrored_devices(NUM_GPUS, NAME)`: the devices that a machine with this number of GPUs would train on."""
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: devices)

    def devices_of(num_gpus, name):
        found = {"GPU": [f"/GPU:{i}" for i in range(num_gpus)], "CPU": ["/CPU:0", "/CPU:1"]}
        devices = {kind: [types.SimpleNamespace(name=n) for n in names] for kind, names in found.items()}
        monkeypatch.setattr(tf.config, "list_logical_devices", devices.get)
        strategy = make_strategy(name)
        return strategy if isinstance(strategy, list) else None

    return devices_of


@pytest.mark.parametrize(
    "num_gpus, name, expected",
    [
        (0, "auto", None),
        (1, "auto", None),
        (2, "auto", ["/GPU:0", "/GPU:1"]),
        (0, "one_device", None),
        (2, "one_device", None),
        (0, "mirrored", ["/CPU:0", "/CPU:1"]),
        (1, "mirrored", ["/GPU:0"]),
        (2, "mirrored", ["/GPU:0", "/GPU:1"]),
    ],
)
def test_devices(mirrored_devices, num_gpus, name, expected):
    assert mirrored_devices(num_gpus, name) == expected


def test_one_device_is_one_replica():
    for name in ("auto", "one_device"):
        assert make_strategy(name).num_replicas_in_sync == 1


def test_mirrored_on_this_machine():
    strategy = make_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices("CPU"))


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UsageError, match=r"--strategy is one of auto, one_device, mirrored; got 'tpu'."):
        make_strategy("tpu")
    assert STRATEGIES == ("auto", "one_device", "mirrored")
