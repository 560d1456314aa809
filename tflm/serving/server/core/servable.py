"""One version of a model, loaded: the graph alone, without the code that made it."""

import functools
import math
import os
import time
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tflm.export.signatures import compiled_twin
from tflm.export.warmup import WARMUP_FILE
from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.runtime.graph_session import GraphSession
from tflm.serving.runtime.local import signature_of
from tflm.serving.server.core.admission import Admission
from tflm.serving.server.core.batching import Batcher
from tflm.serving.server.core.limits import ServingOptions, check_rows, check_tokens
from tflm.serving.server.core.status import ServingError, from_tensorflow, invalid
from tflm.serving.server.core.telemetry import Observer, facts
from tflm.serving.signature import Signature

_MAX_WARMUP_RECORDS = 1000
_POINTER_BYTES = 8
_MAX_RANK = 24
_LONGEST_SHOWN = 100
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
        config: a cache for `ServedModel.config`; None before its first use.
    """

    def __init__(
        self,
        path: str,
        name: str,
        version: int,
        options: ServingOptions | None = None,
        admission: Admission | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Loads and warms up.

        Args:
            options: the defaults if None.
            admission: shared by all models of a server; one of its own if None.
            observer: gets a call for each run, batch and warm-up.
        Raises:
            ServingError: not a whole SavedModel, or a warm-up request that fails.
        """
        self.name, self.version = name, version
        self._options = options or ServingOptions()
        self.max_rows = self._options.max_rows
        self._admission = admission or Admission(self._options.max_runs, self._options.max_waiting)
        self._observer = observer or Observer()
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
            if self._options.warm_up:
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
            output_names: the outputs to return; all if empty.
            cancellation: ends the run when it is cancelled; a batch runs on for the others.
            api: what was called, for the metrics.
        Raises:
            ServingError: with TensorFlow's code and words; UNAVAILABLE, the limit of waiting requests is reached.
        """
        check_tokens(inputs, self._options.max_generated_tokens)
        check_rows(inputs, self._options.max_rows)
        _check_shapes(signature, self.signatures[signature], inputs)
        started = time.perf_counter()
        outputs = self._run(signature, inputs, cancellation or Cancellation())
        self._tell(signature, inputs, outputs, api, time.perf_counter() - started)
        return {name: outputs[name] for name in output_names or sorted(outputs)}

    @functools.cached_property
    def signatures(self) -> dict[str, Signature]:
        """See the class."""
        return {name: signature_of(each) for name, each in sorted(self.signature_defs.items())}

    def close(self) -> None:
        """Frees the memory. No run may be in progress."""
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
        if batch_size:
            self._observer.batch_done(self.name, signature, batch_size)
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
        self._observer.run_done(self.name, api, signature, seconds, num_rows)

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
            self._observer.warmed(path, status, time.perf_counter() - started)

    def _warm_up_with(self, request: Any) -> None:
        arrays = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        for each in (name, compiled_twin(name)):
            if each in self.signature_defs:
                self._run(each, arrays, Cancellation())


def _check_shapes(name: str, signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    """Refuses an input of another shape than the signature declares, before TensorFlow runs: a session does not compare
    them, and a kernel's message names no input.

    TensorFlow also ends the process over strings of more than 32 axes, and a graph may add some.

    Raises:
        ServingError: INVALID_ARGUMENT; names the input, the declared shape, and what was sent.
    """
    for key, array in inputs.items():
        if array.ndim > _MAX_RANK:
            raise invalid(f"Input {key} has {array.ndim} axes; at most {_MAX_RANK} are taken.")
        shape = signature.input_shapes.get(key)
        if shape is None or (
            len(shape) == array.ndim
            and all(size in (None, actual) for size, actual in zip(shape, array.shape, strict=True))
        ):
            continue
        sizes = ["any" if size is None else str(size) for size in shape]
        sizes[:1] = ["B"] if shape[:1] == (None,) else sizes[:1]
        takes = f"Input {key!r} of signature {name!r} takes {signature.inputs[key]} [{', '.join(sizes)}]"
        if array.ndim:
            raise invalid(f"{takes}; got the shape {list(array.shape)}.")
        raise invalid(
            f"{takes}; got a single value, {_shown(array.item())}. Send a list with one value for each of B rows."
        )


def _shown(value: Any) -> str:
    text = repr(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def array_of(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    """A tensor message as an array.

    A message of a few bytes may expand to gigabytes, since one value fills any shape; it is refused if the tensor would
    be larger than the limit of a REST request.

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
