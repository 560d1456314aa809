"""Versions come, take over and go; what is broken is refused; nothing is lost on the way."""

import contextlib
import logging
import os
import shutil
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.waiting import until
from tflm.export.warmup import write_warmup
from tflm.serving.server import ModelConfig, ModelManager, ServingError, ServingOptions


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`saved(number)` is the folder of a SavedModel that answers with the number."""
    folder = tmp_path_factory.mktemp("saved")

    def path(number):
        found = folder / str(number)
        if not found.exists():
            module = tf.Module()
            module.number = tf.Variable(number)

            @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
            def answer(x):
                tf.debugging.assert_less(x, 1000, message="too large")
                return {"y": x * 0 + module.number}

            tf.saved_model.save(module, str(found), signatures={"serving_default": answer})
        return found

    return path


@pytest.fixture
def add(saved, tmp_path):
    """`add(number)` publishes a version of the model in `tmp_path`."""
    return lambda number: shutil.copytree(saved(number), tmp_path / str(number))


@pytest.fixture
def managed(tmp_path):
    """`managed(**config)` is a manager of `tmp_path` that polls on request."""
    managers = []

    def start(options=None, **config):
        model = ModelConfig("m", str(tmp_path), **config)
        managers.append(ModelManager([model], poll_seconds=1000, options=options))
        managers[-1].start()
        return managers[-1]

    yield start
    for manager in managers:
        manager.stop()


def ask(manager, **which):
    with manager.use("m", **which) as servable:
        assert servable.name == "m"
        return servable.run("serving_default", {"x": np.array([1], np.int32)})["y"].tolist()[0]


def states(manager):
    return {version.number: version.state for version in manager.status("m")}


def test_a_new_version_takes_over_and_no_request_is_lost(add, managed):
    add(1)
    manager = managed()
    answers, done = [], threading.Event()

    def client():
        while not done.is_set():
            answers.append(ask(manager))
            time.sleep(0.001)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in (2, 3):
            until(lambda number=number: answers and answers[-1] == number - 1)
            add(number)
            manager.refresh()
        until(lambda: answers[-1] == 3)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(answers) == {1, 2, 3}
    until(lambda: states(manager) == {1: "END", 2: "END", 3: "AVAILABLE"})


def test_it_looks_by_itself(add, tmp_path):
    add(1)
    manager = ModelManager([ModelConfig("m", str(tmp_path))], poll_seconds=0.02)
    manager.start()
    add(2)
    until(lambda: ask(manager) == 2)
    manager.stop()


def test_a_half_written_version_is_refused_until_it_is_whole(add, managed, saved, tmp_path):
    add(1)
    manager = managed()
    (tmp_path / "2").mkdir()
    shutil.copy(saved(2) / "saved_model.pb", tmp_path / "2")
    manager.refresh()
    assert states(manager) == {1: "AVAILABLE", 2: "END"}
    broken = manager.status("m", 2)[0]
    assert broken.error.message
    assert ask(manager) == 1
    manager.refresh()
    assert manager.status("m", 2)[0].error is broken.error, "tried again though nothing has changed"
    shutil.copytree(saved(2) / "variables", tmp_path / "2" / "variables")
    manager.refresh()
    assert ask(manager) == 2


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_what_is_no_model_is_refused(add, managed, tmp_path, content):
    add(1)
    (tmp_path / "7").mkdir()
    if content is not None:
        (tmp_path / "7" / "saved_model.pb").write_bytes(content)
    (tmp_path / "8.tmp").mkdir()
    (tmp_path / "9").write_text("a file", encoding="utf-8")
    manager = managed(num_latest=0)
    assert states(manager) == {1: "AVAILABLE", 7: "END"}
    with pytest.raises(ServingError, match=r"Servable not found for request: Specific\(m, 7\)"):
        ask(manager, version=7)


def test_a_version_whose_warm_up_fails_is_refused(add, managed, tmp_path):
    add(1)
    manager = managed()
    write_warmup(str(add(2)), "m", {"serving_default": [{"x": tf.constant([5000]).numpy()}]})
    manager.refresh()
    assert (ask(manager), states(manager)[2]) == (1, "END")
    assert "too large" in manager.status("m", 2)[0].error.message
    write_warmup(str(add(3)), "m", {"serving_default": [{"x": tf.constant([5]).numpy()}]})
    manager.refresh()
    assert ask(manager) == 3


def test_without_warm_up_its_requests_are_not_answered(add, managed):
    write_warmup(str(add(2)), "m", {"serving_default": [{"x": tf.constant([5000]).numpy()}]})
    manager = managed(ServingOptions(warm_up=False))
    assert ask(manager) == 2


def test_unloading_waits_for_the_requests_that_it_has(add, managed):
    add(1)
    manager = managed()
    with manager.use("m") as servable:
        add(2)
        manager.refresh()
        assert states(manager) == {1: "UNLOADING", 2: "AVAILABLE"}
        assert ask(manager) == 2
        with pytest.raises(ServingError, match="Servable not found"):
            ask(manager, version=1)
        assert servable.run("serving_default", {"x": np.array([1], np.int32)})["y"].tolist() == [1]
    until(lambda: states(manager)[1] == "END")


def test_policies(add, managed):
    for number in (1, 2, 10):
        add(number)
    assert states(managed()) == {10: "AVAILABLE"}
    assert states(managed(num_latest=2)) == {2: "AVAILABLE", 10: "AVAILABLE"}
    assert states(managed(num_latest=0)) == {1: "AVAILABLE", 2: "AVAILABLE", 10: "AVAILABLE"}
    manager = managed(versions=(1,))
    assert states(manager) == {1: "AVAILABLE"}
    for version in (2, 1):  # forward, and back again
        manager.reconfigure([ModelConfig("m", manager.configs()[0].base_path, versions=(version,))])
        assert ask(manager) == version
        until(lambda: list(states(manager).values()).count("AVAILABLE") == 1)


def test_labels(add, managed):
    add(1)
    add(2)
    manager = managed(num_latest=0, labels={"stable": 1, "金丝雀": 2})
    assert ask(manager, label="stable") == 1
    assert ask(manager, label="金丝雀") == 2
    with pytest.raises(ServingError, match="Unrecognized servable version label: x"):
        ask(manager, label="x")
    path = manager.configs()[0].base_path
    with pytest.raises(
        ServingError, match="Request to assign label to version 3 of model m, which is not currently"
    ):
        manager.reconfigure([ModelConfig("m", path, num_latest=0, labels={"stable": 3})])
    assert ask(manager, label="stable") == 1


def test_a_model_that_is_taken_from_the_list_goes(add, managed):
    add(1)
    manager = managed()
    manager.reconfigure([])
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
        ask(manager)

    def unknown():
        with contextlib.suppress(ServingError):
            return not manager.status("m")
        return True

    until(unknown)


def test_another_folder_for_the_same_version(add, managed, saved, tmp_path):
    add(1)
    manager = managed()
    other = tmp_path / "other"
    shutil.copytree(saved(5), other / "1")
    manager.reconfigure([ModelConfig("m", str(other))])
    assert ask(manager) == 5


def test_another_folder_that_is_broken_is_tried_once(add, managed, tmp_path, caplog):
    add(1)
    manager = managed()
    (tmp_path / "other" / "1").mkdir(parents=True)
    manager.reconfigure([ModelConfig("m", str(tmp_path / "other"))])
    manager.refresh()
    assert ask(manager) == 1, "the old one goes on"
    severe = [record for record in caplog.records if record.levelno > logging.INFO]
    assert [record.levelname for record in severe] == ["ERROR"]


def test_an_emptied_folder_unloads_all(add, managed, tmp_path):
    add(1)
    manager = managed()
    os.rename(tmp_path / "1", tmp_path / "gone")
    manager.refresh()
    with pytest.raises(ServingError, match="Servable not found"):
        ask(manager)


def test_nothing_that_can_be_loaded(managed, tmp_path):
    (tmp_path / "1").mkdir()
    manager = managed()
    with pytest.raises(ServingError, match=r"not a SavedModel: cannot read saved_model.pb"):
        manager.check_available("m")
    with pytest.raises(ServingError, match="Could not find any versions of model n"):
        manager.check_available("n")
