"""One version of a model, loaded: the graph alone, without the code that made it."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tflm.export import load_text_ops, text_ops_in
from tflm.export.signatures import compiled_twin, read_meta_graph, user_signatures
from tflm.export.warmup import WARMUP_FILE
from tflm.serving.server.cancellation import Cancellation
from tflm.serving.server.status import ServingError, from_tensorflow

_MAX_WARMUP_RECORDS = 1000
DEFAULT_SIGNATURE = "serving_default"


class Servable:
    """A loaded SavedModel.

    Attributes:
        name, version: under which it is served.
        signature_defs: signature name to its `SignatureDef` message.
    """

    def __init__(self, path: str, name: str, version: int) -> None:
        """Loads and warms up.

        Raises:
            ServingError: not a whole SavedModel, or a warm-up request that fails.
        """
        self.name, self.version = name, version
        try:
            meta_graph = read_meta_graph(path)
            if text_ops_in(path):
                load_text_ops()
            self._loaded = tf.saved_model.load(path)
        except Exception as error:  # whatever is wrong with a folder must not end the server
            raise from_tensorflow(error) from error
        self.signature_defs = {key: meta_graph.signature_def[key] for key in user_signatures(meta_graph)}
        self._warm_up(os.path.join(path, WARMUP_FILE))

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_names: Collection[str] = (),
        cancellation: Cancellation | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: a key of `signature_defs`.
            inputs: an array for each input; those with a default may be left out.
            output_names: those that are wanted; all if there are none.
            cancellation: ends the run when it is cancelled.
        Raises:
            ServingError: with TensorFlow's code and words.
        """
        function = self._loaded.signatures[signature]
        definition = self.signature_defs[signature]
        try:
            tensors = {
                name: tf.constant(
                    inputs[name] if name in inputs else tf.make_ndarray(definition.defaults[name])
                )
                for name in definition.inputs
            }
            outputs = (cancellation or Cancellation()).call(function, tensors)
            return {name: outputs[name].numpy() for name in output_names or sorted(outputs)}
        except Exception as error:  # any failure inside a model is an answer, not the end of the server
            raise from_tensorflow(error) from error

    def _warm_up(self, path: str) -> None:
        """Answers the warm-up requests, also by the compiled twins of their signatures: the records leave those out,
        since a server without XLA could not load the model with them."""
        if not os.path.isfile(path):
            return
        for index, record in enumerate(tf.data.TFRecordDataset(path).as_numpy_iterator()):
            if index >= _MAX_WARMUP_RECORDS:
                raise ServingError(
                    "INVALID_ARGUMENT", f"more than {_MAX_WARMUP_RECORDS} warm-up records: {path}"
                )
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") == "predict_log":
                request = log.predict_log.request
                arrays = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                name = request.model_spec.signature_name or DEFAULT_SIGNATURE
                self.run(name, arrays)
                if compiled_twin(name) in self.signature_defs:
                    self.run(compiled_twin(name), arrays)


def array_of(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    """A tensor message as an array.

    Raises:
        ValueError, TypeError: a message that is not one.
    """
    if tensor.tensor_shape.unknown_rank or any(dim.size < 0 for dim in tensor.tensor_shape.dim):
        raise ValueError("a tensor without a shape")
    return tf.make_ndarray(tensor)


def tensor_of(array: np.ndarray) -> Any:
    """An array as a tensor message."""
    return tf.make_tensor_proto(array)
