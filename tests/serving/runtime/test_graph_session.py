"""A session answers as the loaded functions do, can end one run among several, and gives its memory back."""

import contextlib
import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.conformance import served_model
from tflm.serving.runtime import graph_session
from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.runtime.graph_session import GraphSession


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    served_model.write(folder, versions=[1])
    return str(folder / "probe/1")


@pytest.fixture(scope="module")
def session(path):
    session = GraphSession(path, max_runs=3)
    yield session
    session.close()


def bytes_of(*texts):
    return np.array([text.encode() for text in texts], object)


def test_it_answers_as_the_loaded_functions_do(path, session):
    loaded = tf.saved_model.load(path).signatures
    requests = {
        "serving_default": {"text": bytes_of("ÄB", "你好", "")},
        "linear": {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array([2, 3], np.int32)},
        "joined": {"words": np.array([[b"a", b"b"], [b"c", b"d"]], object)},
        "total": {"x": np.array([1, 2.5], np.float32)},
    }
    for name, inputs in requests.items():
        expected = loaded[name](**{key: tf.constant(value) for key, value in inputs.items()})
        answered = session.run(name, inputs)
        assert set(answered) == set(expected)
        for key, tensor in expected.items():
            assert answered[key].dtype == np.asarray(tensor).dtype or answered[key].dtype == object
            assert np.array_equal(answered[key], tensor.numpy())


def test_a_string_alone_is_an_array(session):
    answer = session.run("serving_default", {"text": np.array(b"AB", object)})["text"]
    assert (answer.shape, answer.item()) == ((), b"ab")


def test_an_input_that_is_missing_is_named_and_becomes_no_default(session):
    with pytest.raises(ValueError, match=r"signature 'linear' needs \['n'\], which were not given"):
        session.run("linear", {"x": np.ones([1, 3], np.float32)})
    assert not session.signature_defs["linear"].defaults


def test_the_kernels_words(session):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Matrix size-incompatible"):
        session.run("product", {"x": np.ones([1, 3], np.float32)})
    assert session.run("product", {"x": np.ones([1, 2], np.float32)})["y"].tolist() == [[2.0]]


def test_a_failure_that_is_hidden_again_and_again_is_found_by_a_run_without_a_wait(path, monkeypatch):
    """On a busy machine the repeated run may end in the same race."""
    monkeypatch.setattr(graph_session, "_NUM_REPEATS", 0)
    session = GraphSession(path, max_runs=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Matrix size-incompatible"):
        session._repeat(
            "product",
            [session.signature_defs["product"].inputs["x"].name],
            [session.signature_defs["product"].outputs["y"].name],
            [np.ones([1, 3], np.float32)],
        )
    session.close()


def test_a_run_that_fails_is_repeated_without_another_copy_of_the_graph(path, monkeypatch):
    """A second callable would load all functions of the signature again: 21 seconds for a small chat."""
    monkeypatch.setattr(graph_session, "_NUM_REPEATS", 1000)  # however busy the machine is
    session = GraphSession(path, max_runs=2)
    output = session.signature_defs["product"].outputs["y"].name

    def num_copies():
        return sum(output in key for key in session._callables)

    session.run("product", {"x": np.ones([1, 2], np.float32)})
    assert num_copies() == 1
    for _ in range(5):  # more often than there are numbers for runs
        with pytest.raises(tf.errors.InvalidArgumentError, match="Matrix size-incompatible"):
            session.run("product", {"x": np.ones([1, 3], np.float32)})
        assert session.run("product", {"x": np.ones([1, 2], np.float32)})["y"].tolist() == [[2.0]]
    assert num_copies() == 1
    for _ in range(3):  # no word is left that would end the next run, or keep it from being ended
        cancellation = Cancellation()
        cancel_in(0.05, cancellation)
        with pytest.raises(tf.errors.CancelledError, match="The request was cancelled"):
            wait(session, 60.0, cancellation)
        assert wait(session, 0.0) == [0.0]
    session.close()


def wait(session, seconds, cancellation=None):
    return session.run("wait", {"seconds": np.array([seconds])}, cancellation)["seconds"].tolist()


def cancel_in(seconds, cancellation):
    timer = threading.Timer(seconds, cancellation.cancel)
    timer.start()
    return timer


def test_a_run_that_is_cancelled_ends_and_the_next_one_does_not(session):
    for _ in range(4):  # more often than there are numbers for runs
        cancellation = Cancellation()
        cancel_in(0.05, cancellation)
        with pytest.raises(tf.errors.CancelledError, match="The request was cancelled"):
            wait(session, 60.0, cancellation)
        assert wait(session, 0.0) == [0.0]


def test_one_that_is_cancelled_before_it_begins(session):
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(tf.errors.CancelledError):
        wait(session, 60.0, cancellation)
    assert wait(session, 0.0) == [0.0]


def test_what_is_cancelled_as_it_ends_leaves_nothing_behind(session):
    """Whichever came first, the number of the run is as new for the next one."""
    for delay in np.linspace(0.0, 0.004, 60):
        cancellation = Cancellation()
        timer = cancel_in(delay, cancellation)
        with contextlib.suppress(tf.errors.CancelledError):
            assert wait(session, 0.002, cancellation) == [0.002]
        timer.join()
    assert [wait(session, 0.0) for _ in range(6)] == [[0.0]] * 6


def test_more_runs_than_numbers_wait(session):
    found = []
    threads = [threading.Thread(target=lambda: found.append(wait(session, 0.05))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[0.05]] * 8


def test_loading_again_and_again_takes_no_more_memory(path):
    def resident():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    sizes = []
    for _ in range(6):
        session = GraphSession(path)
        session.run("linear", {"x": np.ones([1, 3], np.float32), "n": np.array([1], np.int32)})
        session.close()
        sizes.append(resident())
    assert sizes[-1] - sizes[2] < 4 * 2**20, sizes
