"""Classify and regress requests in JSON: `tf.train.Example` messages from objects, results as lists.

After TensorFlow Serving's `util/json_tensor.cc`, whose messages are kept.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import tensorflow as tf

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core import json_text
from tflm.serving.server.core.examples import run_classify, run_regress
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.servable import DEFAULT_SIGNATURE, Servable
from tflm.serving.server.core.status import invalid

_LARGEST_INT64 = 2**63 - 1


def classify(manager: ModelManager, which: dict[str, Any], body: bytes, cancellation: Cancellation) -> bytes:
    """`{"examples": [{...}, ...]}` to `{"results": [[["label", 0.9], ...], ...]}`."""
    rows = _run(manager, which, body, cancellation, run_classify)
    results = []
    for labels, scores in rows:
        pairs = zip(labels, json_text.numbers(scores), strict=True)
        results.append([[json_text.to_text(label), score] for label, score in pairs])
    return json_text.write({"results": results})


def regress(manager: ModelManager, which: dict[str, Any], body: bytes, cancellation: Cancellation) -> bytes:
    """`{"examples": [{...}, ...]}` to `{"results": [0.5, ...]}`."""
    values = _run(manager, which, body, cancellation, run_regress)
    return json_text.write({"results": json_text.numbers(values)})


def _run(
    manager: ModelManager,
    which: dict[str, Any],
    body: bytes,
    cancellation: Cancellation,
    run: Callable[[Servable, str, Sequence[bytes], Cancellation], Any],
) -> Any:
    request = json_text.parse(body)
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {json_text.shown(request)} not formatted correctly. 'signature_name' key must be a string "
            "value."
        )
    examples = _examples(request)
    with manager.use(**which) as servable:
        return run(servable, name or DEFAULT_SIGNATURE, examples, cancellation)


def _examples(request: dict[str, Any]) -> list[bytes]:
    context = tf.train.Example()
    if "context" in request:
        _fill(context, request["context"])
    shown = json_text.shown(request)
    if "examples" not in request:
        raise invalid(
            f"JSON Value: {shown} When method is classify, key 'examples' is expected and was not found"
        )
    if not isinstance(request["examples"], list):
        raise invalid(f"JSON Value: {shown} Expecting 'examples' value to be an list/array")
    if not request["examples"]:
        raise invalid(f"JSON Value: {shown} 'examples' value is an empty array")
    merged = []
    for record in request["examples"]:
        example = tf.train.Example()
        example.CopyFrom(context)
        _fill(example, record)
        merged.append(example.SerializeToString())
    return merged


def _fill(example: tf.train.Example, record: Any) -> None:
    """{"age": 3, "name": "你"} into the features of a message."""
    if not isinstance(record, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_text.type_name(record)}")
    for name, content in record.items():
        feature = tf.train.Feature()
        for value in content if isinstance(content, list) else [content]:
            _add(feature, name, value)
        try:
            example.features.feature[name].CopyFrom(feature)
        except UnicodeEncodeError as error:
            raise invalid("Feature: a name is not UTF-8") from error


def _add(feature: tf.train.Feature, name: str, value: Any) -> None:
    kind, converted = "", cast(Any, value)
    if isinstance(value, bool | int):
        kind, converted = "int64_list", int(value)
        if converted > _LARGEST_INT64:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    elif isinstance(value, float):
        kind, converted = "float_list", value
    elif isinstance(value, str):
        kind, converted = "bytes_list", json_text.to_bytes(value)
    elif json_text.is_base64(value):
        kind, converted = "bytes_list", json_text.decode_base64(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_text.type_name(value)}")
    if feature.WhichOneof("kind") not in (None, kind):
        found = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}[
            feature.WhichOneof("kind")
        ]
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {found}")
    try:
        getattr(feature, kind).value.append(converted)
    except (ValueError, OverflowError) as error:
        raise invalid(f"Feature: {name} has a number out of range: {value}") from error
