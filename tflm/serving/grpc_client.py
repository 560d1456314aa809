"""A model behind a gRPC server, TensorFlow Serving or `apps.serve`, used as if it were a folder. No TensorFlow here."""

import functools
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from tflm.errors import UsageError, UserError
from tflm.serving.about import read_config
from tflm.serving.grpc_messages import DTYPES, MESSAGES
from tflm.serving.remote import Deadline, ServerError, TryAgain, one_line, try_again
from tflm.serving.signature import Shape, Signature, find_signature, numpy_dtype

_SERVICE = "/tensorflow.serving.PredictionService"
_PATH = re.compile(r"/(?P<name>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?/?")
_NUMBERS = {name: number for number, name in DTYPES.items()}
_VALUES = {
    "float32": "float_val", "float64": "double_val", "string": "string_val", "int64": "int64_val", "bool": "bool_val",
    "uint32": "uint32_val", "uint64": "uint64_val", "float16": "half_val", "bfloat16": "half_val",
}  # fmt: skip
_CALLERS_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_NOT_SENT = (
    "failed to connect",
    "connections to all backends failing",
    "dns resolution failed",
    "name resolution",
)


class GrpcModel:
    """A served model; as `tflm.serving.client.RestModel`, but any tensor travels as it is.

        model = GrpcModel("grpc://localhost:8500/chat")

    Attributes:
        path: the URL.
        signatures: name to `Signature`: dtypes and shapes of its inputs and outputs.
        card: empty; a server does not tell it.
    """

    def __init__(self, url: str, timeout: float = 120.0, retries: int = 4) -> None:
        """Asks the server for the model's signatures.

        Args:
            url: `grpc://host:port/NAME`, or with `/versions/N` or `/labels/L` behind it.
            timeout: seconds that a request may take in all.
            retries: how often a request that was not carried out is sent again.
        Raises:
            UsageError: a URL of another form.
            UserError: the server has no such model.
            ServerError: no server that answers.
        """
        parts = urllib.parse.urlsplit(url)
        match = _PATH.fullmatch(parts.path)
        if parts.scheme != "grpc" or not parts.netloc or not match:
            raise UsageError(
                f"{url!r} names no served model. Expected grpc://host:port/NAME, with /versions/N or /labels/L "
                "behind it if need be."
            )
        self.path, self._timeout, self._retries = url.rstrip("/"), timeout, retries
        self._spec = MESSAGES["ModelSpec"](name=urllib.parse.unquote(match["name"]))
        if match["version"]:
            self._spec.version.value = int(match["version"])
        elif match["label"]:
            self._spec.version_label = urllib.parse.unquote(match["label"])
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(parts.netloc, options=[*unlimited, ("grpc.enable_retries", 0)])
        self.card = ""
        self.signatures: dict[str, Signature] = self._read_signatures()

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """What the model tells of itself by its signature `about`; empty if it has none."""
        return read_config(self)

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs a signature on a batch, on the server.

        Args:
            signature: its name.
            inputs: input name to values of the declared rank, such as `[B]` or `[B, L, H]`, as lists or an array:
                strings (or UTF-8 bytes), integers, floats or booleans.
        Returns:
            Output name to array, batch first; strings come as bytes in an object array.
        Raises:
            UserError: a request that the model does not take; the server's own words where it was the server
                that found it.
            ServerError: the server is not there, went away, took too long or failed.
        """
        declared = find_signature(self.signatures, signature, self.path)
        request = MESSAGES["PredictRequest"](model_spec=self._spec)
        request.model_spec.signature_name = signature
        for name, array in declared.arrays(signature, inputs).items():
            request.inputs[name].CopyFrom(tensor_of(array, declared.inputs[name]))
        response = self._call("Predict", request, "PredictResponse")
        try:
            return {name: array_of(tensor) for name, tensor in response.outputs.items()}
        except (KeyError, ValueError) as error:
            raise ServerError(f"{self.path}: the answer is no tensor: {error!r}") from error

    def _read_signatures(self) -> dict[str, Signature]:
        request = MESSAGES["GetModelMetadataRequest"](model_spec=self._spec, metadata_field=["signature_def"])
        response = self._call("GetModelMetadata", request, "GetModelMetadataResponse")
        definitions = MESSAGES["SignatureDefMap"].FromString(response.metadata["signature_def"].value)
        signatures = {}
        for name, definition in sorted(definitions.signature_def.items()):
            if name.startswith("__saved_model_"):
                continue
            sides = (definition.inputs, definition.outputs)
            dtypes = [{key: DTYPES[side[key].dtype] for key in sorted(side)} for side in sides]
            shapes = [{key: _shape(side[key].tensor_shape) for key in sorted(side)} for side in sides]
            signatures[name] = Signature(dtypes[0], dtypes[1], shapes[0], shapes[1])
        return signatures

    def _call(self, method: str, request: Any, response: str) -> Any:
        call = self._channel.unary_unary(
            f"{_SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=MESSAGES[response].FromString,
        )
        deadline = Deadline(self._timeout)

        def attempt() -> Any:
            try:
                return call(request, timeout=deadline.left())
            except grpc.RpcError as error:
                raise self._named(error) from error

        return try_again(attempt, self.path, deadline, self._retries)

    def _named(self, error: Any) -> Exception:
        """What a failed call means for the caller."""
        code, words = error.code(), one_line(error.details() or "")
        if code == grpc.StatusCode.UNAVAILABLE:
            if any(start in words.lower() for start in _NOT_SENT):
                return TryAgain("no server answers there.")
            if "closed" in words.lower() or "reset" in words.lower() or "goaway" in words.lower():
                return ServerError(f"{self.path}: the server went away before it had answered ({words}).")
            return TryAgain(f"{words} ({code.name})")
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerError(
                f"{self.path}: no answer within {self._timeout:g} seconds; the request was given up."
            )
        kind = UserError if code in _CALLERS_FAULT else ServerError
        return kind(f"{self.path}: {words} ({code.name})")


def tensor_of(array: np.ndarray, dtype: str) -> Any:
    """An array as a `TensorProto` message."""
    tensor = MESSAGES["TensorProto"](dtype=_NUMBERS[dtype])
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if dtype == "string":
        tensor.string_val.extend(array.reshape(-1).tolist())
    else:
        tensor.tensor_content = array.tobytes()
    return tensor


def array_of(tensor: Any) -> np.ndarray:
    """A `TensorProto` message as an array: from raw bytes, or from a list of values, the last of which is repeated.

    >>> array_of(TensorProto(dtype=1, tensor_shape=[2, 2], float_val=[1.0, 0.5]))
    array([[1. , 0.5], [0.5, 0.5]], dtype=float32)

    Raises:
        KeyError: a dtype that has no array.
        ValueError: too few or too many values.
    """
    name = DTYPES[tensor.dtype]
    dtype = numpy_dtype(name)
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = list(getattr(tensor, _VALUES.get(name, "int_val")))
    size = int(np.prod(shape))
    if len(values) < size:  # no value at all stands for zeros
        values += [values[-1] if values else (b"" if name == "string" else 0)] * (size - len(values))
    if name in ("float16", "bfloat16"):
        return np.array(values, np.uint16).view(dtype).reshape(shape)
    flat = np.empty(len(values), dtype)
    flat[:] = values
    return flat.reshape(shape)


def _shape(shape: Any) -> Shape:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
