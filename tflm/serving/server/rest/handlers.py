"""The REST interface: a request's method, path and body to a status and a body, as TensorFlow Serving answers.

After `model_servers/http_rest_api_util.cc` and `http_rest_api_handler.cc`, whose URLs and messages are kept.
"""

import logging
import re
import urllib.parse
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.runtime.local import signature_of
from tflm.serving.server.core import json_text
from tflm.serving.server.core.manager import ModelManager, Version
from tflm.serving.server.core.servable import DEFAULT_SIGNATURE, Servable
from tflm.serving.server.core.status import HTTP_STATUS, ServingError, invalid
from tflm.serving.server.core.telemetry import facts
from tflm.serving.server.rest import json_examples, json_inputs, json_outputs

_log = logging.getLogger(__name__)
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(rf"{_MODEL}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_NO_MODEL = r"/v1/models(?:/versions/[0-9]+|/labels/[^/:]+)?"
_GET = re.compile(rf"(?:{_MODEL}|{_NO_MODEL})(?P<metadata>/metadata)?", re.IGNORECASE)
_MAX_INT64, _MAX_DIGITS = 2**63 - 1, 4000  # Python reads no longer numbers

Which = dict[str, Any]
"""Arguments of `ModelManager.use` and `.status`: name, version, label."""


def answer(
    manager: ModelManager, method: str, path: str, body: bytes, cancellation: Cancellation
) -> tuple[int, bytes]:
    """Answers one request under `/v1/`.

    >>> answer(manager, "GET", "/v1/models/none", b"", Cancellation())
    (404, b'{"error": "Could not find any versions of model none"}')

    Args:
        path: percent-encoded, as it came.
        cancellation: ends what the request runs.
    Returns:
        The HTTP status and the JSON body.
    """
    try:
        if method == "POST" and (match := _POST.fullmatch(path)):
            handler = {
                "predict": _predict,
                "classify": json_examples.classify,
                "regress": json_examples.regress,
            }
            return 200, handler[match["verb"].lower()](manager, _which(match), body, cancellation)
        if method == "GET" and (match := _GET.fullmatch(path)):
            if match["name"] is None:
                raise invalid("Missing model name in request.")
            return 200, (_metadata if match["metadata"] else _status)(manager, _which(match))
        raise invalid(f"Malformed request: {method} {path}")
    except ServingError as error:
        facts().status = error.code
        return HTTP_STATUS[error.code], json_text.error_body(error.message)
    except RecursionError:
        return 400, json_text.error_body("JSON Parse error: Nested too deep.")
    except Exception:  # a bug of ours is the answer to one request, not the end of the server
        _log.exception("%s %s failed", method, path)
        return 500, json_text.error_body("Internal error; the server's log has more.")


def version_number(version: str) -> int:
    """The number of a version in a URL.

    Raises:
        ServingError: INVALID_ARGUMENT, something else than digits, or more of them than an int64 has.
    """
    is_number = version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS
    if not is_number or int(version) > _MAX_INT64:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return int(version)


def _which(match: re.Match[str]) -> Which:
    version = match["version"]
    return {
        "name": urllib.parse.unquote(match["name"], errors="surrogateescape"),
        "version": None if version is None else version_number(version),
        "label": None
        if match["label"] is None
        else urllib.parse.unquote(match["label"], errors="surrogateescape"),
    }


def _predict(manager: ModelManager, which: Which, body: bytes, cancellation: Cancellation) -> bytes:
    request = json_text.parse(body)
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {json_text.shown(request)} not formatted correctly. 'signature_name' key must be a string "
            "value."
        )
    facts().signature = name or DEFAULT_SIGNATURE
    with manager.use(**which) as servable:
        dtypes = _input_dtypes(servable, name)
        inputs, by_row = json_inputs.read_inputs(request, dtypes)
        outputs = servable.run(name or DEFAULT_SIGNATURE, inputs, cancellation=cancellation)
    return json_outputs.write_outputs(outputs, by_row)


def _input_dtypes(servable: Servable, name: str) -> dict[str, str]:
    definition = servable.signature_defs.get(name or DEFAULT_SIGNATURE)
    if definition is None:
        raise invalid(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
    dtypes = signature_of(definition).inputs
    if not dtypes:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    return dtypes


def status_record(manager: ModelManager, which: Which) -> dict[str, Any]:
    """The states of a model's versions: `{"model_version_status": [{"version": "1", "state": "AVAILABLE", ...}]}`.

    Raises:
        ServingError: NOT_FOUND; INVALID_ARGUMENT, an unknown label.
    """
    return {"model_version_status": [_version_status(version) for version in manager.status(**which)]}


def _status(manager: ModelManager, which: Which) -> bytes:
    return json_text.write(status_record(manager, which))


def _version_status(version: Version) -> dict[str, Any]:
    error = version.error
    return {
        "version": str(version.number),
        "state": version.state,
        "status": {
            "error_code": error.code if error else "OK",
            "error_message": error.message if error else "",
        },
    }


def _metadata(manager: ModelManager, which: Which) -> bytes:
    with manager.use(**which) as servable:
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        version = servable.version
    definitions = json_format.MessageToDict(
        signatures, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    model_spec = {"name": which["name"], "signature_name": "", "version": str(version)}
    return json_text.write({"model_spec": model_spec, "metadata": {"signature_def": definitions}})
