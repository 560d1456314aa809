"""A run of a second, from small_run.py, which also runs as a program of its own."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import tflm
import tflm.training.trainer as trainer_module
from apps.launch import free_ports
from tflm.export.verify import as_written
from tflm.training import Cluster

SCRIPT = pathlib.Path(__file__).parent / "small_run.py"


@pytest.fixture(scope="session")
def small_run():
    """The module small_run."""
    spec = importlib.util.spec_from_file_location("small_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["small_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True, scope="module")
def no_measuring():
    """The peak of this machine takes a second to measure and decides nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "peak_flops", lambda dtype: 1e12)
        yield


@pytest.fixture(scope="session")
def start():
    """start("train", ...) -> the small run as a process."""
    root = pathlib.Path(tflm.__file__).parents[1]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])

    def run(*arguments):
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": paths}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8")

    return run


@pytest.fixture(scope="session")
def start_workers():
    """start_workers(2, FOLDER) -> the small run as two workers, each a process."""
    root = pathlib.Path(tflm.__file__).parents[1]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])

    def run(count, folder):
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        for index in range(count):
            config = Cluster(tuple(addresses), index).to_json()
            environment = {**os.environ, "PYTHONPATH": paths, "TF_CONFIG": config}
            command = [sys.executable, str(SCRIPT), "worker", str(folder)]
            yield subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, encoding="utf-8")

    return lambda count, folder: [*run(count, folder)]


@pytest.fixture(autouse=True, scope="module")
def without_graph_optimizer():
    """These graphs run a few times each: to optimise them takes longer than to run them."""
    with as_written():
        yield
