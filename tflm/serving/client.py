"""A model behind a REST server, TensorFlow Serving or `apps.serve`, used as if it were a folder. No TensorFlow here.

Strings come back byte for byte: a server writes them into its JSON as they are, without asking whether they are UTF-8,
so the answer is decoded with Python's "surrogateescape", which every byte survives. What is sent goes as JSON strings,
and in base64 where it is not UTF-8.
"""

import base64
import functools
import http.client
import json
import re
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np

from tflm.errors import UsageError, UserError
from tflm.serving.about import read_config
from tflm.serving.remote import Deadline, ServerError, TryAgain, one_line, try_again
from tflm.serving.signature import Shape, Signature, find_signature, numpy_dtype

_PATH = re.compile(r"(?P<prefix>.*)/v1/models/(?P<name>[^/:]+)(/versions/\d+|/labels/[^/:]+)?/?")
_UNAVAILABLE = 503
_BASE64 = "b64"


class RestModel:
    """A served model.

        model = RestModel("http://localhost:8501/v1/models/chat")
        model.predict("serving_default", {"text": ["Hello", "你好"]})
        # {'text': array([b'Hi there.', b'你好！'], dtype=object)}

    Attributes:
        path: the URL.
        signatures: name to `Signature`: dtypes and shapes of its inputs and outputs.
        card: empty; a server does not tell it.
    """

    def __init__(self, url: str, timeout: float = 120.0, retries: int = 4) -> None:
        """Asks the server for the model's signatures.

        Args:
            url: `http[s]://host:port/v1/models/NAME`, or with `/versions/N` or `/labels/L` behind it.
            timeout: seconds that a request may take in all.
            retries: how often a request that was not carried out is sent again.
        Raises:
            UsageError: a URL of another form.
            UserError: the server has no such model.
            ServerError: no server that answers.
        """
        parts = _split(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _PATH.fullmatch(parts.path):
            raise UsageError(
                f"{url!r} names no served model. Expected http://host:port/v1/models/NAME, with /versions/N or "
                "/labels/L behind it if need be."
            )
        self.path, self._timeout, self._retries = url.rstrip("/"), timeout, retries
        self._parts, self._resource = parts, parts.path.rstrip("/")
        self.card = ""
        metadata = self._request("GET", f"{self._resource}/metadata", None)
        self.signatures: dict[str, Signature] = signatures_from(metadata, self.path)

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
        arrays = declared.arrays(signature, inputs)
        values = {name: _plain(array) for name, array in arrays.items()}
        body = json.dumps({"signature_name": signature, "inputs": values}).encode("ascii")
        answer = self._request("POST", f"{self._resource}:predict", body)
        outputs: Any = answer.get("outputs")
        if len(declared.outputs) == 1:
            outputs = {name: outputs for name in declared.outputs}
        try:
            return {
                name: _array(outputs[name], dtype, declared.output_shapes[name])
                for name, dtype in declared.outputs.items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(f"{self.path}: the answer does not fit the signature: {error!r}") from error

    def _request(self, method: str, resource: str, body: bytes | None) -> dict[str, Any]:
        deadline = Deadline(self._timeout)

        def attempt() -> dict[str, Any]:
            status, answer = self._send(method, resource, body, deadline)
            return self._checked(status, answer)

        return try_again(attempt, self.path, deadline, self._retries)

    def _send(self, method: str, resource: str, body: bytes | None, deadline: Deadline) -> tuple[int, bytes]:
        """One request on a connection of its own; a kept one may have been closed behind our back."""
        address, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                address, port, timeout=deadline.left(), context=context
            )
        else:
            connection = http.client.HTTPConnection(address, port, timeout=deadline.left())
        try:
            try:
                connection.connect()
            except ssl.SSLCertVerificationError as error:
                raise ServerError(f"{self.path}: the server's certificate is not trusted: {error}") from error
            except OSError as error:
                raise TryAgain(f"no server answers there ({error.strerror or error}).") from error
            connection.sock.settimeout(deadline.left())
            connection.request(method, resource, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise ServerError(
                f"{self.path}: no answer within {self._timeout:g} seconds; the request was given up."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = one_line(str(error)) or type(error).__name__
            raise ServerError(
                f"{self.path}: the server went away before it had answered ({reason})."
            ) from error
        finally:
            connection.close()

    def _checked(self, status: int, answer: bytes) -> dict[str, Any]:
        """The object in a good answer; the exception for any other."""
        try:
            record = json.loads(answer.decode("utf-8", "surrogateescape"), strict=False)
        except (ValueError, RecursionError):
            record = None
        if status == http.HTTPStatus.OK and isinstance(record, dict):
            return record
        reason = record.get("error") if isinstance(record, dict) else None
        reason = reason or f"not a model server's answer: {answer[:80].decode('utf-8', 'replace')!r}"
        reason = one_line(str(reason).encode("utf-8", "replace").decode("utf-8"))
        if status == _UNAVAILABLE:
            raise TryAgain(f"{reason} (HTTP {status})")
        if 400 <= status < 500:
            raise UserError(f"{self.path}: {reason} (HTTP {status})")
        raise ServerError(f"{self.path}: {reason} (HTTP {status})")


def _split(url: str) -> urllib.parse.SplitResult:
    """The parts of a URL; none if its host or its port cannot be one."""
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:
        return urllib.parse.urlsplit("")
    return urllib.parse.urlsplit("") if set(parts.netloc) & set(" \t") else parts


def signatures_from(metadata: Mapping[str, Any], url: str) -> dict[str, Signature]:
    """The signatures in the answer to `GET .../metadata`.

    Raises:
        ServerError: an answer of another form.
    """
    try:
        definitions = metadata["metadata"]["signature_def"]["signature_def"]
        return {
            name: _signature(definition)
            for name, definition in sorted(definitions.items())
            if not name.startswith("__saved_model_")
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(f"{url}: not a model server's metadata ({error!r}).") from error


def _signature(definition: Mapping[str, Any]) -> Signature:
    sides = [dict(sorted(definition.get(side, {}).items())) for side in ("inputs", "outputs")]
    dtypes = [{name: _dtype(tensor) for name, tensor in side.items()} for side in sides]
    shapes = [{name: _shape(tensor) for name, tensor in side.items()} for side in sides]
    return Signature(dtypes[0], dtypes[1], shapes[0], shapes[1])


def _dtype(tensor: Mapping[str, Any]) -> str:
    """ "DT_FLOAT" as "float32"."""
    name = str(tensor["dtype"]).removeprefix("DT_").lower()
    return {"float": "float32", "double": "float64", "half": "float16"}.get(name, name)


def _shape(tensor: Mapping[str, Any]) -> Shape:
    shape = tensor["tensor_shape"]
    if shape.get("unknown_rank"):
        return None
    sizes = [int(axis["size"]) for axis in shape.get("dim", [])]
    return tuple(None if size < 0 else size for size in sizes)


def _plain(array: np.ndarray) -> Any:
    """An array as nested lists for JSON.

    >>> _plain(np.array(["你".encode(), b"\\xff"], object))
    ['你', {'b64': '/w=='}]
    """
    if array.dtype != object:
        return array.tolist()
    return np.frompyfunc(_text, 1, 1)(array).tolist() if array.size else np.empty(array.shape).tolist()


def _text(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {_BASE64: base64.b64encode(value).decode("ascii")}


def _array(values: Any, dtype: str, shape: Shape) -> np.ndarray:
    """Nested lists from JSON as an array; empty ones get the declared number of axes."""
    if dtype != "string":
        array = np.asarray(values, numpy_dtype(dtype))
    else:
        sizes, level = [], [values]
        while level and isinstance(level[0], list):
            sizes.append(len(level[0]))
            level = [value for item in level for value in item]
        array = np.empty(len(level), object)
        array[:] = [_bytes(value) for value in level]
        array = array.reshape(sizes)
    if shape is not None and array.ndim < len(shape) and not array.size:
        array = array.reshape([*array.shape, *(size or 0 for size in shape[array.ndim :])])
    return array


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        return base64.b64decode(value[_BASE64])
    return str(value).encode("utf-8", "surrogateescape")
