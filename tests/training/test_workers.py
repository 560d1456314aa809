"""Two worker processes on this machine are one device with the whole batch; what workers agree on."""

import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from apps import launch
from tests.training.conftest import SCRIPT
from tflm.errors import Interrupted, UserError
from tflm.training import workers
from tflm.training.checkpoint_files import stored_weights

FIRST = 25


@pytest.fixture(scope="module")
def one_device(small_run, tmp_path_factory):
    """A folder with the run of one device."""
    folder = tmp_path_factory.mktemp("one")
    small_run.fifty_steps([None], folder)
    return folder


@pytest.fixture(scope="module")
def results(small_run, one_device, start_workers, tmp_path_factory):
    """What two workers found, by their index."""
    folder = tmp_path_factory.mktemp("workers")
    shutil.copytree(one_device, folder / "begun")
    shutil.rmtree(folder / f"begun/checkpoints/step_{2 * FIRST:08d}")
    for process in start_workers(2, folder):
        _, errors = process.communicate(timeout=400)
        assert process.returncode == 0, errors[-3000:]
    return [json.loads((folder / f"{index}.json").read_text(encoding="utf-8")) for index in range(2)]


def test_two_workers_equal_one_device_with_dropout(results, small_run, one_device):
    one, two = np.array(small_run.losses(one_device)), np.array(results[0]["whole"])
    assert len(one) == len(two) == 50
    np.testing.assert_allclose(two[0], one[0], rtol=1e-6)
    np.testing.assert_allclose(two, one, rtol=1e-4)


def test_two_workers_go_on_with_the_run_of_one_device(results, small_run, one_device):
    one, begun = small_run.losses(one_device), results[0]["begun"]
    assert begun[:FIRST] == one[:FIRST] and len(begun) == 50, "the log goes on"
    np.testing.assert_allclose(begun[FIRST:], one[FIRST:], rtol=1e-4)


def test_two_workers_evaluate_as_one_device(results, small_run, one_device):
    trainer = small_run.make_trainer(one_device, **small_run.FIFTY)
    trainer.restore()
    expected = trainer.evaluate(small_run.Numbers(3))
    assert results[0]["evaluated"] == pytest.approx(expected, rel=1e-4)


def test_all_workers_stop_where_one_gets_sigterm(results):
    """It comes in step 3 or 4, and a pause every two steps."""
    assert [result["stopped"] for result in results] == [4, 4]


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(results, monkeypatch, capfd, tmp_path):
    """The other leaves, both are started again and go on: the weights are those of two workers that were not killed."""
    monkeypatch.setattr(launch, "PROGRAM", (sys.executable, str(SCRIPT), "launched"))
    code = launch.run(["launch", "--max_restarts=1", "--", "train", str(tmp_path)])
    errors = capfd.readouterr().err
    assert code == 0, errors[-3000:]
    assert "worker 0 of 2 lost the connection to another worker" in errors
    assert "launch: worker 0: 75, worker 1: -9; starting all again (1 of 1)." in errors
    found = [
        {
            name: np.array(weight)
            for name, weight in stored_weights(f"{folder}/checkpoints/step_00000050").items()
        }
        for folder in (results[0]["folder"], tmp_path / "killed")
    ]
    assert found[0].keys() == found[1].keys() and len(found[0]) > 5
    for name, value in found[0].items():
        np.testing.assert_array_equal(found[1][name], value)


def test_sums_over_workers(results):
    assert [result["sum"] for result in results] == [3.0, 3.0]


def test_one_process_agrees_with_itself():
    strategy = tf.distribute.get_strategy()
    assert workers.is_chief(strategy) and workers.num_workers(strategy) == 1
    assert workers.any_worker(strategy, True) and not workers.any_worker(strategy, False)
    workers.check_same_step(strategy, 7, "run/checkpoints")
    assert workers.chief_first(strategy, lambda: "made") == "made"


@pytest.fixture
def second_of_two(monkeypatch):
    """A strategy that looks like worker 1 of 2; `sums` are what the reductions give."""
    sums = []
    monkeypatch.setattr(workers, "num_workers", lambda strategy: 2)
    monkeypatch.setattr(workers, "worker_index", lambda strategy: 1)
    monkeypatch.setattr(workers, "sum_over_workers", lambda strategy, value: sums.pop(0) + value)
    return sums


def test_different_checkpoints_are_refused(second_of_two):
    second_of_two += [8.0, 0.0]
    with pytest.raises(
        UserError, match=r"worker 1 found the checkpoint of step 4 in 'run', and worker 0 that of step 8"
    ):
        workers.check_same_step(None, 4, "run")
    second_of_two += [8.0, 0.0]
    workers.check_same_step(None, 8, "run")


def test_others_wait_for_the_chief_and_notice_its_failure(second_of_two):
    second_of_two += [0.0]
    assert workers.chief_first(None, lambda: "found") == "found"
    second_of_two += [1.0]
    with pytest.raises(UserError, match="worker 0 could not begin"):
        workers.chief_first(None, lambda: "found")


@pytest.mark.parametrize(
    "error, words",
    [
        (tf.errors.UnavailableError(None, None, "task 1 stopped sending heartbeats\n..."), "stopped sending"),
        (
            tf.errors.InternalError(None, None, "Collective ops is aborted by: a\nSocket closed"),
            "socket closed",
        ),
    ],
)
def test_a_lost_worker_is_an_interruption(second_of_two, error, words):
    del second_of_two
    lost = pytest.raises(Interrupted, match=rf"worker 1 of 2 lost .*{words}.*same command")
    with lost as found, workers.lost_workers_noticed(None):
        raise error
    assert found.value.__cause__ is error


def test_other_errors_of_a_worker_pass(second_of_two):
    del second_of_two
    with pytest.raises(tf.errors.InternalError, match="a kernel"), workers.lost_workers_noticed(None):
        raise tf.errors.InternalError(None, None, "a kernel failed")
