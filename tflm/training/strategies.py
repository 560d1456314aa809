"""Distribution strategies by name, and the cluster of several workers."""

import dataclasses
import errno
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tflm.errors import Interrupted, UsageError

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
_EXAMPLE = (
    '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers that train together, and which of them this process is."""

    workers: tuple[str, ...]
    """host:port of each."""
    index: int
    """The place of this process among them; 0 is the chief."""

    def to_json(self) -> str:
        """The value of TF_CONFIG."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})


def make_strategy(name: str, cluster: Cluster | None = None, tpu: str = "") -> tf.distribute.Strategy:
    """Creates a `tf.distribute` strategy.

    auto: multi_worker if TF_CONFIG or `cluster` names several workers; mirrored with several GPUs; else one_device.
    one_device: the first GPU, or the CPU. mirrored: all GPUs, or all logical CPUs without a GPU. multi_worker: the
    devices of all workers; waits until all have started, and can be created once in a process, before the first
    TensorFlow operation. tpu: all cores of the TPU, which has not been tried.

    Args:
        name: see above.
        cluster: the workers; that of the environment variable TF_CONFIG if None.
        tpu: with the name tpu: the name or address of the TPU, or "local".
    Raises:
        UsageError: unknown strategy, a wrong TF_CONFIG, no TPU, or a port that is in use.
        Interrupted: the other workers are not reachable, or belong to an earlier start.
    """
    if name not in STRATEGIES:
        raise UsageError(f"--strategy is one of {', '.join(STRATEGIES)}; got {name!r}.")
    if tpu and name not in ("auto", "tpu"):
        raise UsageError(f"--tpu={tpu} is for --strategy=tpu; got --strategy={name}.")
    if name == "tpu" or tpu:
        return _tpu(tpu or "local")
    if name in ("auto", "multi_worker"):
        cluster = cluster or read_cluster(os.environ)
        if cluster is not None and (name == "multi_worker" or len(cluster.workers) > 1):
            return _multi_worker(cluster)
        if name == "multi_worker":
            raise UsageError(
                "--strategy=multi_worker needs the workers: --workers=HOST:PORT,HOST:PORT --worker_index=K, or the "
                f"environment variable TF_CONFIG, such as {_EXAMPLE}"
            )
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        if not os.environ.get("TF_CONFIG", "unset").strip():
            del os.environ["TF_CONFIG"]  # TensorFlow would read an empty one as JSON
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def cluster_of(workers: Sequence[str], index: int | None) -> Cluster | None:
    """The cluster of the flags --workers and --worker_index; None without them.

    Raises:
        UsageError: a worker is not host:port, is named twice, or the index is missing or out of range.
    """
    if not workers:
        if index is not None:
            raise UsageError(f"--worker_index={index} needs --workers=HOST:PORT,HOST:PORT.")
        return None
    given = ",".join(workers)
    for worker in workers:
        _check_address(worker, f"--workers={given}")
    if len(set(workers)) < len(workers):
        raise UsageError(f"--workers={given} names a worker twice.")
    if index is None:
        raise UsageError(f"--workers={given} needs --worker_index: the place of this process, from 0 on.")
    if not 0 <= index < len(workers):
        raise UsageError(
            f"--worker_index is from 0 to {len(workers) - 1} for {len(workers)} workers; got {index}."
        )
    return Cluster(tuple(workers), index)


def read_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """The cluster of TF_CONFIG; None where the variable is not set or names no cluster.

    A cluster with a "chief" is one whose first worker is the chief.

    Raises:
        UsageError: it is not JSON, or lacks the cluster's workers or the task.
    """
    text = environment.get("TF_CONFIG", "")
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UsageError(f"TF_CONFIG is not JSON: {error}. An example: {_EXAMPLE}") from error
    if not isinstance(config, dict):
        raise UsageError(f"TF_CONFIG is not a JSON object. An example: {_EXAMPLE}")
    if not config.get("cluster"):
        return None
    jobs: Any = config["cluster"]
    if not isinstance(jobs, dict) or not all(
        isinstance(hosts, list) and all(isinstance(host, str) for host in hosts) for hosts in jobs.values()
    ):
        raise UsageError(f"TF_CONFIG: cluster maps a job to a list of HOST:PORT; got {jobs!r}.")
    if unknown := sorted(jobs.keys() - {"chief", "worker"}):
        raise UsageError(
            f"TF_CONFIG: the jobs of the cluster are worker and chief; got {', '.join(unknown)}."
        )
    chief, workers = jobs.get("chief", []), [*jobs.get("chief", []), *jobs.get("worker", [])]
    for worker in workers:
        _check_address(worker, "TF_CONFIG")
    task = config.get("task")
    if not isinstance(task, dict) or task.get("type") not in jobs or not str(task.get("index", "")).isdigit():
        raise UsageError(
            f"TF_CONFIG has no task with a type among {', '.join(sorted(jobs))} and an index; got {task!r}. "
            f"An example: {_EXAMPLE}"
        )
    index = int(task["index"])
    if index >= len(jobs[task["type"]]):
        raise UsageError(
            f"TF_CONFIG: the index of the task is {index}, and the cluster has {len(jobs[task['type']])} of type "
            f"{task['type']!r}."
        )
    return Cluster(tuple(workers), index + (len(chief) if task["type"] == "worker" else 0))


def _check_address(address: str, where: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{where}: a worker is HOST:PORT, such as 127.0.0.1:2222; got {address!r}.")


def _multi_worker(cluster: Cluster) -> tf.distribute.Strategy:
    _check_port(cluster.workers[cluster.index])
    os.environ["TF_CONFIG"] = cluster.to_json()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:  # such as those of an earlier start, of which one is still running
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise Interrupted(
            f"worker {cluster.index} of {len(cluster.workers)} could not join the others: {reason}. Start it again "
            "with the same command."
        ) from error


def _check_port(address: str) -> None:
    """TensorFlow would end the process.

    Raises:
        UsageError: another process listens on the port.
    """
    port = int(address.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UsageError(f"cannot listen on the port of {address}: {error.strerror}.") from error
            raise UsageError(
                f"the port of this worker, {address}, is in use. Stop the process that listens there, or give all "
                "workers another port for it."
            ) from error


def _tpu(name: str) -> tf.distribute.Strategy:
    """Written to the API; there was no TPU to try it on."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(f"--tpu={name}: no TPU was found: {reason}") from error
    return tf.distribute.TPUStrategy(resolver)
