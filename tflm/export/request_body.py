"""A request as the JSON that TensorFlow Serving takes over REST."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def request_body(signature: str, request: Mapping[str, np.ndarray]) -> str:
    """The first row of a request, whole, as the body of a POST to `/v1/models/NAME:predict`.

    >>> request_body("generate", {"text": np.array([b"Hi"], object), "top_p": np.array([0.9], np.float32)})
    '{"signature_name": "generate", "instances": [{"text": "Hi", "top_p": 0.9}]}'

    Args:
        signature: its name.
        request: input name to array, batch first.
    """
    return json.dumps({"signature_name": signature, "instances": [first_row(request)]}, ensure_ascii=False)


def first_row(request: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Input name to the first row's value, as JSON values: what is no text is `{"b64": ...}`."""
    return {name: _plain(array[0]) for name, array in request.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    if np.issubdtype(value.dtype, np.floating):
        return float(str(value))  # 0.9, not the digits that float32 0.9 has in float64
    return value.item()
