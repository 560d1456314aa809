"""A loaded version: compiled signatures are warm before the first request."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.export.warmup import WARMUP_FILE, write_warmup
from tflm.serving.server.servable import Servable
from tflm.serving.server.status import ServingError


def test_compiled_twins_are_warmed_with_the_requests_of_the_plain_ones(tmp_path):
    module = tf.Module()
    module.calls = tf.Variable(0)
    double = tf.function(lambda x: x + x, jit_compile=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def plain(x):
        return {"y": x + x, "calls": x * 0 + module.calls}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def compiled(x):
        module.calls.assign_add(1)
        return {"y": double(x)}

    path = str(tmp_path / "1")
    tf.saved_model.save(module, path, signatures={"double": plain, "double_xla": compiled})
    values = np.array([3, 4], np.int32)
    write_warmup(path, "m", {"double": [{"x": values}, {"x": values[:1]}], "double_xla": [{"x": values}]})
    servable = Servable(path, "m", 1)
    assert servable.run("double", {"x": values})["calls"].tolist() == [2, 2], (
        "one for each record of `double`"
    )
    assert servable.run("double_xla", {"x": values})["y"].tolist() == [6, 8]


def test_damaged_warm_up_requests_are_a_reason_not_to_load(tmp_path):
    """A `ServingError`, which the manager remembers; anything else it would try again every second."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def same(x):
        return {"y": x}

    path = str(tmp_path / "1")
    tf.saved_model.save(tf.Module(), path, signatures={"same": same})
    write_warmup(path, "m", {"same": [{"x": np.array([1], np.int32)}]})
    file = tmp_path / "1" / WARMUP_FILE
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ServingError, match=r"warm-up requests .*truncated record") as caught:
        Servable(path, "m", 1)
    assert caught.value.code == "DATA_LOSS"
