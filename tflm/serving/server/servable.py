"""One version of a model, loaded: the graph alone, without the code that made it."""

import functools
import math
import os
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tflm.export.signatures import compiled_twin
from tflm.export.warmup import WARMUP_FILE
from tflm.serving.cancellation import Cancellation
from tflm.serving.graph_session import GraphSession
from tflm.serving.local import signature_of
from tflm.serving.server.admission import Admission
from tflm.serving.server.batching import Batcher
from tflm.serving.server.options import ServingOptions
from tflm.serving.server.request_facts import facts
from tflm.serving.server.status import ServingError, from_tensorflow, invalid
from tflm.serving.server.token_limit import check_rows, check_tokens
from tflm.serving.signature import Signature

if TYPE_CHECKING:
    from tflm.serving.server.metrics import Metrics

_MAX_WARMUP_RECORDS = 1000
_POINTER_BYTES = 8
_MAX_RANK = 24
MAX_BODY_BYTES = 64 * 2**20
"""The largest request over REST; over gRPC, the largest tensor of repeated values."""
DEFAULT_SIGNATURE = "serving_default"


class Servable:
    """A loaded SavedModel.

    Attributes:
        name, version: under which it is served.
        max_rows: the most rows in a request; None for no limit.
        signature_defs: signature name to its `SignatureDef` message.
        signatures: signature name to dtypes and shapes of its inputs and outputs.
        config: kept here by whoever has asked the model for it; None before.
    """

    def __init__(
        self,
        path: str,
        name: str,
        version: int,
        options: ServingOptions | None = None,
        admission: Admission | None = None,
        metrics: "Metrics | None" = None,
    ) -> None:
        """Loads and warms up.

        Args:
            options: the defaults if None.
            admission: shared by all models of a server; one of its own if None.
            metrics: what is told of each run.
        Raises:
            ServingError: not a whole SavedModel, or a warm-up request that fails.
        """
        self.name, self.version = name, version
        self._options = options or ServingOptions()
        self.max_rows = self._options.max_rows
        self._admission = admission or Admission(self._options.max_runs, self._options.max_waiting)
        self._metrics = metrics
        batching = self._options.batching
        num_batch_threads = 0 if batching is None else batching.num_batch_threads
        try:
            self._session = GraphSession(path, self._options.max_runs, num_batch_threads)
        except Exception as error:  # whatever is wrong with a folder must not end the server
            raise from_tensorflow(error) from error
        self.signature_defs = self._session.signature_defs
        self.config: dict[str, Any] | None = None
        try:
            self._batcher = None if batching is None else Batcher(self._session, batching)
            self._warm_up(path)
        except BaseException:
            self.close()
            raise

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_names: Collection[str] = (),
        cancellation: Cancellation | None = None,
        api: str = "Predict",
    ) -> dict[str, np.ndarray]:
        """Runs a signature: in a batch with others where it may be, else alone, when its turn has come.

        Args:
            signature: a key of `signature_defs`.
            inputs: an array for each input; those with a default may be left out.
            output_names: those that are wanted; all if there are none.
            cancellation: ends the run when it is cancelled; a batch runs on for the others.
            api: what was called, for the metrics.
        Raises:
            ServingError: with TensorFlow's code and words; UNAVAILABLE, as many requests wait as may.
        """
        check_tokens(inputs, self._options.max_generated_tokens)
        check_rows(inputs, self._options.max_rows)
        _check_rank(inputs)
        started = time.perf_counter()
        outputs = self._run(signature, inputs, cancellation or Cancellation())
        self._tell(signature, inputs, outputs, api, time.perf_counter() - started)
        return {name: outputs[name] for name in output_names or sorted(outputs)}

    @functools.cached_property
    def signatures(self) -> dict[str, Signature]:
        """See the class."""
        return {name: signature_of(each) for name, each in sorted(self.signature_defs.items())}

    def close(self) -> None:
        """Gives the memory back. Nothing may be running."""
        self._batcher = None
        self._session.close()

    def _run(
        self, signature: str, inputs: Mapping[str, np.ndarray], cancellation: Cancellation
    ) -> dict[str, np.ndarray]:
        try:
            if self._batcher is None or not self._batcher.takes(signature, inputs):
                with self._admission.turn(cancellation):
                    return self._session.run(signature, inputs, cancellation)
            outputs, batch_size = self._batcher.run(signature, inputs)
        except ServingError:
            raise
        except Exception as error:  # any failure inside a model is an answer, not the end of the server
            raise from_tensorflow(error) from error
        if batch_size and self._metrics is not None:
            self._metrics.batch_done(self.name, signature, batch_size)
        return outputs

    def _tell(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        api: str,
        seconds: float,
    ) -> None:
        num_rows = next((len(array) for array in inputs.values() if array.ndim), 0)
        # Of a stream, `num_tokens` counts from its beginning.
        noted = facts()
        noted.signature, noted.num_rows = noted.signature or signature, num_rows
        if {"num_tokens", "text"} <= set(outputs) and "max_new_tokens" in inputs:
            noted.add_tokens(int(outputs["num_tokens"].sum()))
        if self._metrics is not None:
            self._metrics.run_done(self.name, api, signature, seconds, num_rows)

    def _warm_up(self, path: str) -> None:
        """Answers the warm-up requests, also by the compiled twins of their signatures: the records leave those out,
        since a server without XLA could not load the model with them."""
        started, status = time.perf_counter(), "UNKNOWN"
        records = os.path.join(path, WARMUP_FILE)
        if not os.path.isfile(records):
            return
        try:
            for index, record in enumerate(tf.data.TFRecordDataset(records).as_numpy_iterator()):
                if index >= _MAX_WARMUP_RECORDS:
                    raise invalid(f"more than {_MAX_WARMUP_RECORDS} warm-up records: {records}")
                log = prediction_log_pb2.PredictionLog.FromString(record)
                if log.WhichOneof("log_type") == "predict_log":
                    self._warm_up_with(log.predict_log.request)
            status = "OK"
        except ServingError as error:
            status = error.code
            raise
        except Exception as error:  # a damaged file
            refused = from_tensorflow(error)
            status = refused.code
            raise ServingError(status, f"warm-up requests {records}: {refused.message}") from error
        finally:
            if self._metrics is not None:
                self._metrics.warmed(path, status, time.perf_counter() - started)

    def _warm_up_with(self, request: Any) -> None:
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        for each in (name, compiled_twin(name)):
            if each in self.signature_defs:
                self._run(each, arrays, Cancellation())


def _check_rank(inputs: Mapping[str, np.ndarray]) -> None:
    """TensorFlow ends the process over strings of more than 32 axes, and a graph may add some."""
    for name, array in inputs.items():
        if array.ndim > _MAX_RANK:
            raise invalid(f"Input {name} has {array.ndim} axes; at most {_MAX_RANK} are taken.")


def array_of(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    """A tensor message as an array.

    A message of a few bytes may stand for gigabytes, since one value fills any shape; such a one is refused where it
    would be larger than a request over REST may be.

    Raises:
        ValueError, TypeError: a message that is not one.
        ServingError: INVALID_ARGUMENT, a tensor that is too large.
    """
    if tensor.tensor_shape.unknown_rank or any(dim.size < 0 for dim in tensor.tensor_shape.dim):
        raise ValueError("a tensor without a shape")
    num_values = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    size = num_values * (tf.as_dtype(tensor.dtype).size or _POINTER_BYTES)
    if size > max(MAX_BODY_BYTES, 2 * tensor.ByteSize()):
        raise invalid(
            f"The tensor has {num_values} values, {size} bytes, and was sent as {tensor.ByteSize()}. Send at most "
            f"{MAX_BODY_BYTES} bytes, or the values themselves."
        )
    return tf.make_ndarray(tensor)


def tensor_of(array: np.ndarray) -> tensor_pb2.TensorProto:
    """An array, of strings one of bytes, as a tensor message; `tf.make_tensor_proto` takes 4 to 7 times as long."""
    tensor = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        tensor.string_val.extend(array.reshape(-1).tolist())
    else:
        tensor.tensor_content = array.tobytes()
    return tensor
