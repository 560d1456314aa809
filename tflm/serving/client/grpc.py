"""A model behind a gRPC server, TensorFlow Serving or `tflm serve`, used as if it were a folder. No TensorFlow here."""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from tflm.errors import UsageError
from tflm.serving.client.credentials import Credentials, client_certificate_hint
from tflm.serving.client.remote import (
    Deadline,
    Overloaded,
    ServerError,
    TryAgain,
    Unavailable,
    Untrusted,
    one_line,
    refused,
    try_again,
)
from tflm.serving.client.remote_model import RemoteModel, split_url
from tflm.serving.protos import prediction_pb2
from tflm.serving.signature import Shape, Signature, numpy_dtype

DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool",
    14: "bfloat16", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
"""Number in `DataType` (tensorflow/core/framework/types.proto) to dtype name."""
_SERVICE = "/tensorflow.serving.PredictionService"
_FORM = "grpc://host:port/NAME, with /versions/N or /labels/L behind it if need be"
_PATH = re.compile(r"/(?P<name>[^/:]+)(/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?/?")
_NUMBERS = {name: number for number, name in DTYPES.items()}
_VALUES = {
    "float32": "float_val", "float64": "double_val", "string": "string_val", "int64": "int64_val", "bool": "bool_val",
    "uint32": "uint32_val", "uint64": "uint64_val", "float16": "half_val", "bfloat16": "half_val",
}  # fmt: skip
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # we try again ourselves,
    ("grpc.initial_reconnect_backoff_ms", 100),  # and soon
    ("grpc.max_reconnect_backoff_ms", 2000),
]
# What gRPC says of a call that was not sent, of a connection that broke, and where TLS did not come about.
_NOT_SENT = (
    "failed to connect",
    "connections to all backends failing",
    "dns resolution failed",
    "name resolution",
)
_BROKEN = ("closed", "reset", "goaway")
_TLS = ("handshake failed", "verification check", "certificate", "ssl_error")


class GrpcModel(RemoteModel):
    """A served model; as `tflm.serving.client.rest.RestModel`, but any tensor travels as it is.

    model = GrpcModel("grpc://localhost:8500/chat")
    """

    def __init__(
        self, url: str, timeout: float = 120.0, retries: int = 4, credentials: Credentials | None = None
    ) -> None:
        """Asks the server for the model's signatures.

        Args:
            url: `grpc://host:port/NAME`, `grpcs://` for TLS, or with `/versions/N` or `/labels/L` behind it.
            timeout: deadline of a request in seconds, over all attempts.
            retries: how often a request that was not carried out is retried.
            credentials: those of the environment if not given.
        Raises:
            UsageError: a URL of another form, or with a password in it.
            UserError: credentials that cannot be used; `RequestError`: the server has no such model, or wants a token.
            ServerError: no server that answers.
        """
        parts = split_url(url, _FORM)
        match = _PATH.fullmatch(parts.path)
        if parts.scheme not in ("grpc", "grpcs") or not parts.netloc or not match:
            raise UsageError(f"{url!r} names no served model. Expected {_FORM}.")
        self.path, self._timeout, self._retries = url.rstrip("/"), timeout, retries
        self._spec = prediction_pb2.ModelSpec(name=urllib.parse.unquote(match["name"]))
        if match["version"]:
            self._spec.version.value = int(match["version"])
        elif match["label"]:
            self._spec.version_label = urllib.parse.unquote(match["label"])
        credentials = credentials or Credentials.find()
        self._metadata = tuple(credentials.headers().items())
        is_secure = parts.scheme == "grpcs"
        self._hint = client_certificate_hint(credentials) if is_secure else ""
        if is_secure:
            tls = grpc.ssl_channel_credentials(*credentials.pem())
            self._channel = grpc.secure_channel(parts.netloc, tls, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(parts.netloc, options=_OPTIONS)
        self.signatures = self._read_signatures()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _ask(
        self, name: str, signature: Signature, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        request = prediction_pb2.PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = name
        for key, array in arrays.items():
            request.inputs[key].CopyFrom(tensor_of(array, signature.inputs[key]))
        response = self._call("Predict", request, prediction_pb2.PredictResponse)
        try:
            return {key: array_of(tensor) for key, tensor in response.outputs.items()}
        except (KeyError, ValueError) as error:
            raise ServerError(f"{self.path}: invalid tensor in the response: {error!r}") from error

    def _read_signatures(self) -> dict[str, Signature]:
        request = prediction_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        response = self._call("GetModelMetadata", request, prediction_pb2.GetModelMetadataResponse)
        try:
            definitions = prediction_pb2.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        except DecodeError as error:
            raise ServerError(f"{self.path}: not the metadata of a model server ({error}).") from error
        signatures = {}
        for name, definition in sorted(definitions.signature_def.items()):
            if name.startswith("__saved_model_"):
                continue
            sides = (definition.inputs, definition.outputs)
            dtypes = [{key: _dtype(side[key].dtype) for key in sorted(side)} for side in sides]
            shapes = [{key: _shape(side[key].tensor_shape) for key in sorted(side)} for side in sides]
            signatures[name] = Signature(dtypes[0], dtypes[1], shapes[0], shapes[1])
        return signatures

    def _call(self, method: str, request: Any, response: Any) -> Any:
        call = self._channel.unary_unary(
            f"{_SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        deadline = Deadline(self._timeout)

        def attempt() -> Any:
            try:
                return call(request, timeout=deadline.left(), metadata=self._metadata)
            except grpc.RpcError as error:
                raise self._named(error, deadline) from error

        return try_again(attempt, deadline, self._retries)

    def _named(self, error: Any, deadline: Deadline) -> Exception:
        """What a failed call means for the caller."""
        code, words = error.code(), one_line(error.details() or "")
        said = words.lower()
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return deadline.exceeded(self.path)
        if code != grpc.StatusCode.UNAVAILABLE:
            return refused(code.name, self.path, f"{words} ({code.name})")
        if any(part in said for part in _TLS):
            return Untrusted(
                f"{self.path}: TLS handshake failed: {words}. If the server's certificate is not trusted, give "
                "the certificate authority that signed it by TFLM_CA_FILE or --ca_file."
            )
        if any(part in said for part in _NOT_SENT):
            return TryAgain(Unavailable(f"{self.path}: cannot connect to the server.{self._hint}"))
        if any(part in said for part in _BROKEN):
            return Unavailable(f"{self.path}: connection lost before the response was complete ({words}).")
        return TryAgain(Overloaded(f"{self.path}: {words} ({code.name})"))


def tensor_of(array: np.ndarray, dtype: str) -> Any:
    """An array as a `TensorProto` message."""
    tensor = prediction_pb2.TensorProto(dtype=_NUMBERS[dtype])
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
    if len(values) < size:  # no values at all: zeros
        values += [values[-1] if values else (b"" if name == "string" else 0)] * (size - len(values))
    if name in ("float16", "bfloat16"):
        return np.array(values, np.uint16).view(dtype).reshape(shape)
    flat = np.empty(len(values), dtype)
    flat[:] = values
    return flat.reshape(shape)


def _dtype(number: int) -> str:
    """The name of a dtype; of one that has no array, such as complex64, its number."""
    return DTYPES.get(number, f"DataType {number}")


def _shape(shape: Any) -> Shape:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
