"""The model that the conformance cases ask. Writes it for another server too:

python tests/serving/conformance/served_model.py /tmp/models      # writes /tmp/models/probe/1 and /2
tensorflow_model_server --model_config_file=/tmp/models/models.config --rest_api_port=8501 --port=8500
pytest tests/serving/conformance --server=http://localhost:8501 --grpc_server=localhost:8500
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

CONFIG = """model_config_list {{
  config {{
    name: "probe"
    base_path: "{path}"
    model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 1 }}
  }}
}}
"""
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")


def spec(name, dtype=tf.string, shape=(None,)):
    return tf.TensorSpec(shape, dtype, name)


class Probe(tf.Module):
    """Every dtype, shapes from a scalar up, and bytes as they are."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = tf.Variable(version, name="version")

    @tf.function(input_signature=[spec("text")])
    def serving_default(self, text):
        return {"text": tf.strings.lower(text, "utf-8")}

    @tf.function(input_signature=[spec("code", tf.int32)])
    def raw(self, code):
        """Byte `code`, as a string and as bytes."""
        byte = tf.gather(tf.constant(np.array([bytes([value]) for value in range(256)], object)), code)
        return {"text": byte, "text_bytes": byte}

    @tf.function(input_signature=[spec("x", tf.float32, (None, 3)), spec("n", tf.int32)])
    def linear(self, x, n):
        return {"sums": tf.reduce_sum(x, 1) * tf.cast(n, tf.float32), "double": 2.0 * x}

    @tf.function(input_signature=[spec("x", tf.float32, (None, None))])
    def product(self, x):
        return {"y": x @ tf.ones([2, 1])}

    @tf.function(input_signature=[spec(dtype, tf.as_dtype(dtype)) for dtype in DTYPES])
    def types(self, float32, float64, int32, int64, uint8, bool):
        values = (float32, float64, int32, int64, uint8, bool)
        return {f"{name}_out": tf.identity(value) for name, value in zip(DTYPES, values, strict=True)}

    @tf.function(input_signature=[spec("x", tf.float32)])
    def floats(self, x):
        return {"y": tf.identity(x)}

    @tf.function(input_signature=[spec("x", tf.float32)])
    def total(self, x):
        return {"y": tf.reduce_sum(x)}

    @tf.function(input_signature=[spec("words", tf.string, (None, None))])
    def joined(self, words):
        return {"text": tf.strings.reduce_join(words, 1, separator="|")}

    @tf.function(input_signature=[spec("text")])
    def which(self, text):
        return {"version": tf.fill(tf.shape(text), self.version)}

    @tf.function(input_signature=[spec("seconds", tf.float64)])
    def wait(self, seconds):
        """Answers after a while, during which it can be stopped."""
        end = tf.timestamp() + seconds[0]
        rounds = tf.while_loop(
            lambda _: tf.timestamp() < end, lambda i: (i + 1,), (tf.constant(0, tf.int64),)
        )
        return {"seconds": seconds + 0.0 * tf.cast(rounds[0], tf.float64)}

    @tf.function(input_signature=[spec("inputs")])
    def classify(self, inputs):
        age = self._age(inputs)
        return {
            "classes": tf.tile([["young", "老"]], [tf.size(age), 1]),
            "scores": tf.stack([1.0 - age, age], 1),
        }

    @tf.function(input_signature=[spec("inputs")])
    def regress(self, inputs):
        return {"outputs": self._age(inputs)}

    def _age(self, inputs):
        feature = tf.io.FixedLenFeature([], tf.float32, 0.5)
        return tf.io.parse_example(inputs, {"age": feature})["age"]


def write(folder: pathlib.Path, versions=(1, 2)) -> pathlib.Path:
    """Writes `probe/VERSION` and a `models.config`; its path."""
    for version in versions:
        module = Probe(version)
        names = "serving_default raw linear product types floats total joined which wait classify regress"
        signatures = {name: getattr(module, name) for name in names.split()}
        tf.saved_model.save(module, str(folder / "probe" / str(version)), signatures=signatures)
    path = folder / "models.config"
    path.write_text(CONFIG.format(path=folder / "probe"), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write(pathlib.Path(sys.argv[1])))
