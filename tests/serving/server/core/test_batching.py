"""Requests of several threads become one batch, and each gets what it would get alone."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.serving.conformance import served_model
from tflm.serving.runtime.graph_session import GraphSession
from tflm.serving.server.core.batching import Batcher
from tflm.serving.server.core.batching_config import BatchingConfig
from tflm.serving.server.core.limits import ServingOptions
from tflm.serving.server.core.servable import Servable
from tflm.serving.server.core.status import ServingError

A_SECOND = 1_000_000


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    served_model.write(folder, versions=[1])
    return str(folder / "probe/1")


@pytest.fixture
def session(path):
    """A session has one set of parameters for its batches."""
    session = GraphSession(path)
    yield session
    session.close()


def together(calls):
    """What the calls return or raise, each in a thread of its own."""
    found = [None] * len(calls)

    def work(index):
        try:
            found[index] = calls[index]()
        except Exception as error:  # the test looks at it
            found[index] = error

    threads = [threading.Thread(target=work, args=[index]) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def linear(first, num_rows):
    x = np.arange(first, first + 3 * num_rows, dtype=np.float32).reshape(num_rows, 3)
    return {"x": x, "n": np.arange(num_rows, dtype=np.int32) + 1}


def test_each_gets_its_own_rows_and_one_hears_of_the_batch(session):
    batcher = Batcher(
        session, BatchingConfig(max_batch_size=6, batch_timeout_micros=20 * A_SECOND, num_batch_threads=1)
    )
    requests = [linear(0, 1), linear(50, 3), linear(7, 2)]
    assert all(batcher.takes("linear", request) for request in requests)
    found = together([lambda request=request: batcher.run("linear", request) for request in requests])
    assert sorted(size for _, size in found) == [0, 0, 6]  # full, so it did not wait
    for request, (outputs, _) in zip(requests, found, strict=True):
        alone = session.run("linear", request)
        assert set(outputs) == {"double", "sums"}
        assert all(np.array_equal(outputs[name], alone[name]) for name in alone)


def test_strings_chinese_too(session):
    batcher = Batcher(session, BatchingConfig(max_batch_size=2, batch_timeout_micros=20 * A_SECOND))
    texts = ["ÄB", "你好"]
    calls = [
        lambda text=text: batcher.run("serving_default", {"text": np.array([text.encode()], object)})
        for text in texts
    ]
    assert [outputs["text"].tolist() for outputs, _ in together(calls)] == [
        ["äb".encode()],
        ["你好".encode()],
    ]


def test_lists_of_other_lengths_go_into_other_batches(session):
    batcher = Batcher(session, BatchingConfig(max_batch_size=2, batch_timeout_micros=20 * A_SECOND))
    words = [[[b"a"]], [[b"b", b"c"]], [[b"d"]], [[b"e", b"f"]]]
    calls = [lambda each=each: batcher.run("joined", {"words": np.array(each, object)}) for each in words]
    found = together(calls)
    assert [outputs["text"].tolist() for outputs, _ in found] == [[b"a"], [b"b|c"], [b"d"], [b"e|f"]]
    assert sorted(size for _, size in found) == [0, 0, 2, 2]


def test_a_batch_is_filled_up_to_an_allowed_size(session):
    batcher = Batcher(
        session, BatchingConfig(max_batch_size=8, batch_timeout_micros=0, allowed_batch_sizes=(4, 8))
    )
    outputs, size = batcher.run("linear", linear(0, 3))
    assert (len(outputs["sums"]), size) == (3, 4)


def test_where_large_requests_would_be_divided_batches_stay_small(session):
    config = BatchingConfig(
        max_batch_size=8,
        allowed_batch_sizes=(1, 8),
        enable_large_batch_splitting=True,
        max_execution_batch_size=3,
    )
    batcher = Batcher(session, config)
    assert not batcher.takes("linear", linear(0, 4)), "it goes alone"
    assert batcher.takes("linear", linear(0, 3))
    outputs, size = batcher.run("linear", linear(0, 2))
    assert (len(outputs["sums"]), size) == (2, 3)


def test_what_cannot_be_batched(session):
    batcher = Batcher(session, BatchingConfig(max_batch_size=4))
    assert not batcher.takes("total", {"x": np.ones(2, np.float32)})  # its output is one number
    assert not batcher.takes("linear", linear(0, 5))  # more rows than a batch has
    assert not batcher.takes("linear", {"x": linear(0, 2)["x"]})  # one input is left out
    assert not batcher.takes("linear", {**linear(0, 2), "n": np.ones(3, np.int32)})
    assert not batcher.takes("linear", linear(0, 0))
    assert not batcher.takes("serving_default", {"text": np.array(b"a", object)})


def test_the_state_of_a_text_is_not_batched(tmp_path):
    """Rows of one answer have their place in the cache in common; those of two would not."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "state_cache_index")])
    def decode(state_cache_index):
        return {"y": state_cache_index}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"decode": decode})
    session = GraphSession(str(tmp_path))
    batcher = Batcher(session, BatchingConfig())
    assert not batcher.takes("decode", {"state_cache_index": np.array([1], np.int32)})
    session.close()


def test_a_graph_without_a_function_is_not_batched(tmp_path):
    """As TensorFlow 1 wrote them: each output has an op of its own."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as writing:
        x = tf.compat.v1.placeholder(tf.int32, [None])
        outputs = {"double": x + x, "square": x * x}
        tf.compat.v1.saved_model.simple_save(writing, str(tmp_path / "1"), {"x": x}, outputs)
    session = GraphSession(str(tmp_path / "1"))
    [signature], inputs = session.signature_defs, {"x": np.array([3], np.int32)}
    assert session.run(signature, inputs)["square"].tolist() == [9]
    assert not Batcher(session, BatchingConfig()).takes(signature, inputs)
    session.close()


def test_a_failure_is_that_of_all_in_the_batch(session):
    batcher = Batcher(session, BatchingConfig(max_batch_size=2, batch_timeout_micros=20 * A_SECOND))
    calls = [lambda: batcher.run("product", {"x": np.ones([1, 3], np.float32)})] * 2
    for error in together(calls):
        assert isinstance(error, tf.errors.InvalidArgumentError)
        assert "Matrix size-incompatible" in str(error)


def test_a_full_queue_refuses_at_once(path):
    batching = BatchingConfig(
        max_batch_size=1, max_enqueued_batches=1, num_batch_threads=1, batch_timeout_micros=0
    )
    servable = Servable(path, "probe", 1, ServingOptions(batching=batching))
    seconds = {"seconds": np.array([2.0])}  # all six are there before the first has its answer
    servable.run("wait", {"seconds": np.array([0.0])})
    found = together([lambda: servable.run("wait", seconds)] * 6)
    refused = [each for each in found if isinstance(each, ServingError)]
    assert 1 <= len(refused) <= 5  # the first may be answered before the last is asked, on a busy machine
    for error in refused:
        assert error.code == "UNAVAILABLE"
        assert error.message.startswith("The batch scheduling queue to which this task was submitted is full")
    answered = [each["seconds"].tolist() for each in found if isinstance(each, dict)]
    assert answered == [[2.0]] * (6 - len(refused))
    servable.close()
