"""Where training runs, by name."""

import json
import os
import re
import socket
import types

import pytest
import tensorflow as tf

from apps.launch import free_ports
from tflm.errors import UsageError
from tflm.training import Cluster, make_strategy
from tflm.training.replica_rows import distribute
from tflm.training.strategies import cluster_of, read_cluster


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


def test_mirrored_on_this_machine(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")  # as where it is not set
    strategy = make_strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices("CPU"))


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(
        UsageError, match=r"--strategy is one of auto, one_device, mirrored, multi_worker, tpu; got 'gpu'."
    ):
        make_strategy("gpu")


CONFIG = Cluster(("127.0.0.1:2222", "127.0.0.1:2223"), 1)


@pytest.fixture
def multi_worker(monkeypatch):
    """`multi_worker(NAME, CLUSTER)`: the TF_CONFIG with which a strategy of several workers would be made, or None."""
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: os.environ["TF_CONFIG"])
    monkeypatch.setenv("TF_CONFIG", "")

    def made(name, cluster=None):
        found = make_strategy(name, cluster)
        return json.loads(found) if isinstance(found, str) else None

    return made


def with_free_ports():
    return Cluster(tuple(f"127.0.0.1:{port}" for port in free_ports(2)), 1)


def test_auto_takes_the_workers_that_are_named(multi_worker, monkeypatch):
    assert multi_worker("auto") is None
    cluster = with_free_ports()
    expected = {"cluster": {"worker": [*cluster.workers]}, "task": {"type": "worker", "index": 1}}
    assert multi_worker("auto", cluster) == multi_worker("multi_worker", cluster) == expected
    monkeypatch.setenv("TF_CONFIG", cluster.to_json())
    assert multi_worker("auto") == expected
    assert multi_worker("one_device") is None
    alone = Cluster(cluster.workers[:1], 0)
    assert multi_worker("auto", alone) is None, "one worker is no cluster"


def test_multi_worker_needs_workers(multi_worker):
    with pytest.raises(UsageError, match=r"--strategy=multi_worker needs the workers: --workers=HOST:PORT"):
        multi_worker("multi_worker")


def test_a_port_in_use_is_said(multi_worker):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"the port of this worker, {address}, is in use"):
            multi_worker("multi_worker", Cluster((address, "127.0.0.1:2"), 0))


def test_the_cluster_of_flags():
    assert cluster_of([], None) is None
    assert cluster_of(CONFIG.workers, 1) == CONFIG


@pytest.mark.parametrize(
    "workers, index, words",
    [
        ([], 0, "--worker_index=0 needs --workers"),
        (["a:1", "b"], 0, "--workers=a:1,b: a worker is HOST:PORT, such as 127.0.0.1:2222; got 'b'"),
        (["a:1", "b:99999"], 0, "got 'b:99999'"),
        (["a:1", "a:1"], 0, "names a worker twice"),
        (["a:1", "b:1"], None, "needs --worker_index"),
        (["a:1", "b:1"], 2, "--worker_index is from 0 to 1 for 2 workers; got 2"),
        (["a:1", "b:1"], -1, "got -1"),
    ],
)
def test_wrong_flags_are_said(workers, index, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        cluster_of(workers, index)


def test_the_cluster_of_tf_config():
    assert read_cluster({}) is read_cluster({"TF_CONFIG": "{}"}) is None
    assert read_cluster({"TF_CONFIG": CONFIG.to_json()}) == CONFIG
    jobs = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}

    def index_of(kind, index):
        found = read_cluster(
            {"TF_CONFIG": json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})}
        )
        assert found.workers == ("c:1", "a:1", "b:1")
        return found.index

    assert [index_of("chief", 0), index_of("worker", 0), index_of("worker", "1")] == [0, 1, 2]


WORKERS = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "TF_CONFIG is not JSON"),
        ("[1]", "TF_CONFIG is not a JSON object"),
        (json.dumps({"cluster": WORKERS}), "has no task with a type among worker and an index; got None"),
        (json.dumps({"cluster": WORKERS, "task": {"type": "ps", "index": 0}}), "has no task"),
        (json.dumps({"cluster": WORKERS, "task": {"type": "worker"}}), "has no task"),
        (
            json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}),
            "the cluster has 2 of type",
        ),
        (json.dumps({"cluster": {"worker": "a:1"}}), "cluster maps a job to a list of HOST:PORT"),
        (json.dumps({"cluster": {"ps": ["a:1"]}}), "the jobs of the cluster are worker and chief; got ps"),
        (json.dumps({"cluster": {"worker": ["a"]}}), "TF_CONFIG: a worker is HOST:PORT"),
    ],
)
def test_a_wrong_tf_config_is_said(text, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        read_cluster({"TF_CONFIG": text})


def test_a_missing_tpu_is_said(monkeypatch):
    def resolver(tpu):
        raise ValueError(f"no {tpu} here\nmore")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
    for name in ("tpu", "auto"):
        with pytest.raises(UsageError, match=r"--tpu=first: no TPU was found: no first here$"):
            make_strategy(name, tpu="first")
    with pytest.raises(UsageError, match=r"--tpu=first is for --strategy=tpu; got --strategy=mirrored"):
        make_strategy("mirrored", tpu="first")


def test_each_replica_has_its_rows_of_every_batch():
    """As a strategy of two workers with two replicas each asks for them."""

    class FourReplicas:
        num_replicas_in_sync = 4

        @staticmethod
        def distribute_datasets_from_function(function):
            return [function(tf.distribute.InputContext(2, index, 4)) for index in range(2)]

    batches = tf.data.Dataset.range(2).map(
        lambda n: {"ids": 100 * n + tf.range(8, dtype=tf.int64), "x": tf.zeros([8, n + 1])}
    )
    first, second = distribute(FourReplicas, batches)
    assert [part["ids"].tolist() for part in first.as_numpy_iterator()] == [
        [0, 1],
        [2, 3],
        [100, 101],
        [102, 103],
    ]
    assert [part["ids"].tolist() for part in second.as_numpy_iterator()] == [
        [4, 5],
        [6, 7],
        [104, 105],
        [106, 107],
    ]
    assert [part["x"].shape for part in second.as_numpy_iterator()] == [(2, 1)] * 2 + [(2, 2)] * 2
    assert second.element_spec["ids"].shape == [2], "static, as a TPU needs it"
