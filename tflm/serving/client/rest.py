"""A model behind a REST server, TensorFlow Serving or `tflm serve`, used as if it were a folder. No TensorFlow here.

Strings come back byte for byte: a server writes them into its JSON as they are, without asking whether they are UTF-8,
so the answer is decoded with Python's "surrogateescape", which every byte survives. What is sent goes as JSON strings,
and in base64 where it is not UTF-8.
"""

import base64
import email.utils
import http
import json
import re
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np
import urllib3

from tflm.errors import UsageError
from tflm.serving.client.credentials import Credentials, client_certificate_hint
from tflm.serving.client.http_connections import ConnectionLost, HttpConnections, NotConnected
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
from tflm.serving.signature import Shape, Signature, numpy_dtype

_FORM = "http://host:port/v1/models/NAME, with /versions/N or /labels/L behind it if need be"
_PATH = re.compile(r"(?P<prefix>.*)/v1/models/(?P<name>[^/:]+)(/versions/\d+|/labels/[^/:]+)?/?")
_AS_TYPED = "/:%!$&'()*+,;=~"  # what a path may have; a name that is not ASCII is percent-encoded
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TRUST = "Give the certificate authority that signed it by TFLM_CA_FILE or --ca_file"
_BASE64 = "b64"


class RestModel(RemoteModel):
    """A served model.

    model = RestModel("http://localhost:8501/v1/models/chat")
    model.predict("serving_default", {"text": ["Hello", "你好"]})
    # {'text': array([b'Hi there.', b'你好！'], dtype=object)}
    """

    def __init__(
        self, url: str, timeout: float = 120.0, retries: int = 4, credentials: Credentials | None = None
    ) -> None:
        """Asks the server for the model's signatures.

        Args:
            url: `http[s]://host:port/v1/models/NAME`, or with `/versions/N` or `/labels/L` behind it.
            timeout: deadline of a request in seconds, over all attempts.
            retries: how often a request that was not carried out is retried.
            credentials: those of the environment if not given.
        Raises:
            UsageError: a URL of another form, or with a password in it.
            UserError: credentials that cannot be used; `RequestError`: the server has no such model, or wants a token.
            ServerError: no server that answers.
        """
        parts = split_url(url, _FORM)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _PATH.fullmatch(parts.path):
            raise UsageError(f"{url!r} names no served model. Expected {_FORM}.")
        self.path, self._timeout, self._retries = url.rstrip("/"), timeout, retries
        self._resource = urllib.parse.quote(parts.path.rstrip("/"), safe=_AS_TYPED)
        credentials = credentials or Credentials.find()
        self._headers = credentials.headers()
        context = credentials.ssl_context() if parts.scheme == "https" else None
        self._hint = client_certificate_hint(credentials) if context else ""
        self._connections = HttpConnections(parts.hostname, parts.port, context)
        self.signatures = signatures_from(self._request("GET", f"{self._resource}/metadata", None), self.path)

    def close(self) -> None:
        """Closes the connections that are kept."""
        self._connections.close()

    def _ask(
        self, name: str, signature: Signature, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        values = {key: _plain(array) for key, array in arrays.items()}
        body = json.dumps({"signature_name": name, "inputs": values}).encode("ascii")
        outputs: Any = self._request("POST", f"{self._resource}:predict", body).get("outputs")
        if len(signature.outputs) == 1:
            outputs = {key: outputs for key in signature.outputs}
        try:
            return {
                key: _array(outputs[key], dtype, signature.output_shapes[key])
                for key, dtype in signature.outputs.items()
            }
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ServerError(f"{self.path}: the response does not match the signature: {error!r}") from error

    def _request(self, method: str, resource: str, body: bytes | None) -> dict[str, Any]:
        deadline = Deadline(self._timeout)
        headers = {**self._headers, **({"Content-Type": "application/json"} if body else {})}

        def attempt() -> dict[str, Any]:
            return self._checked(self._send(method, resource, body, headers, deadline))

        return try_again(attempt, deadline, self._retries)

    def _send(
        self, method: str, resource: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._connections.send(method, resource, body, headers, deadline)
        except NotConnected as error:
            raise TryAgain(Unavailable(f"{self.path}: cannot connect to the server ({error}).")) from error
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or error.reason
            raise Untrusted(
                f"{self.path}: the server's certificate is not trusted: {reason}. {_TRUST}."
            ) from error
        except ssl.SSLError as error:
            raise Untrusted(
                f"{self.path}: TLS handshake failed ({error.reason or error}). The server may speak "
                f"plain http://.{self._hint}"
            ) from error
        except TimeoutError as error:
            raise deadline.exceeded(self.path) from error
        except ConnectionLost as error:
            raise Unavailable(
                f"{self.path}: connection lost before the response was complete ({one_line(str(error))}).{self._hint}"
            ) from error

    def _checked(self, answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        """The object in a good answer; the exception for any other."""
        try:
            record = json.loads(answer.data.decode("utf-8", "surrogateescape"), strict=False)
        except (ValueError, RecursionError):
            record = None
        if answer.status == http.HTTPStatus.OK and isinstance(record, dict):
            return record
        reason = record.get("error") if isinstance(record, dict) else None
        reason = (
            reason or f"not the response of a model server: {answer.data[:80].decode('utf-8', 'replace')!r}"
        )
        reason = one_line(str(reason).encode("utf-8", "replace").decode("utf-8"))
        code = _CODES.get(answer.status, "INVALID_ARGUMENT" if 400 <= answer.status < 500 else "INTERNAL")
        error = refused(code, self.path, f"{reason} (HTTP {answer.status})")
        after = _seconds(answer.headers.get("Retry-After"))
        if isinstance(error, Overloaded) and (code == "UNAVAILABLE" or after is not None):
            raise TryAgain(error, after or 0.0)
        raise error


def _seconds(retry_after: str | None) -> float | None:
    """The header Retry-After (RFC 9110, section 10.2.3), seconds or a date, as seconds from now; None without one.

    >>> _seconds("3"), _seconds("soon")
    (3.0, None)
    """
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


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
        raise ServerError(f"{url}: not the metadata of a model server ({error!r}).") from error


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
