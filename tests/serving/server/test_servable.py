"""A loaded version: compiled signatures are warm before the first request."""

import numpy as np
import tensorflow as tf

from tflm.export.warmup import write_warmup
from tflm.serving.server.servable import Servable


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
