"""classify and regress: signatures that take serialised `tf.train.Example` messages.

After TensorFlow Serving's `util/json_tensor.cc`, `servables/tensorflow/classifier.cc` and `regressor.cc`.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf

from tflm.serving.cancellation import Cancellation
from tflm.serving.server import json_inputs, json_text
from tflm.serving.server.manager import ModelManager
from tflm.serving.server.servable import DEFAULT_SIGNATURE, Servable
from tflm.serving.server.status import ServingError, invalid

_APIS = {"classification": "Classify", "regression": "Regress"}
_LARGEST_INT64 = 2**63 - 1


def classify(manager: ModelManager, which: dict[str, Any], body: bytes, cancellation: Cancellation) -> bytes:
    """`{"examples": [{...}, ...]}` to `{"results": [[["label", 0.9], ...], ...]}`."""
    outputs = _run(manager, which, body, cancellation, run_classify)
    rows = []
    for labels, scores in outputs:
        pairs = zip(labels, json_text.numbers(scores), strict=True)
        classes = [b"[" + json_text.string(label) + b", " + score + b"]" for label, score in pairs]
        rows.append(b"[" + b", ".join(classes) + b"]")
    return json_text.pretty_object({b"results": b"[" + b", ".join(rows) + b"\n    ]"})


def regress(manager: ModelManager, which: dict[str, Any], body: bytes, cancellation: Cancellation) -> bytes:
    """`{"examples": [{...}, ...]}` to `{"results": [0.5, ...]}`."""
    values = _run(manager, which, body, cancellation, run_regress)
    return json_text.pretty_object({b"results": b"[" + b", ".join(json_text.numbers(values)) + b"]"})


def run_classify(
    servable: Servable, signature: str, examples: Sequence[bytes], cancellation: Cancellation
) -> list[tuple[list[bytes], np.ndarray]]:
    """For each example its labels and scores; labels are empty where the signature gives scores alone."""
    outputs = _outputs(servable, signature, examples, ("classes", "scores"), "classification", cancellation)
    labels, scores = outputs.get("classes"), outputs.get("scores")
    for name, array in outputs.items():
        if array.ndim != 2 or len(array) != len(examples):
            raise ServingError(
                "INVALID_ARGUMENT",
                f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)} for {name}",
            )
    shape = next(iter(outputs.values())).shape
    if labels is None:
        labels = np.full(shape, b"", object)
    if scores is None:
        scores = np.zeros(shape, np.float32)
    return [(list(row), values) for row, values in zip(labels, scores, strict=True)]


def run_regress(
    servable: Servable, signature: str, examples: Sequence[bytes], cancellation: Cancellation
) -> np.ndarray:
    """A number for each example, float32 `[B]`."""
    outputs = _outputs(servable, signature, examples, ("outputs",), "regression", cancellation)
    values = outputs["outputs"]
    if values.size != len(examples):
        raise invalid(f"Expected output batch size to be {len(examples)}; got shape {list(values.shape)}")
    return values.reshape(-1)


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


def _outputs(
    servable: Servable,
    signature: str,
    examples: Sequence[bytes],
    names: tuple[str, ...],
    kind: str,
    cancellation: Cancellation,
) -> dict[str, np.ndarray]:
    definition = servable.signature_defs.get(signature)
    if definition is None:
        raise invalid(f"No signature was found with the name: {signature}")
    if list(definition.inputs) != ["inputs"]:
        raise invalid(f"No {kind} inputs found in SignatureDef: {signature}")
    present = [name for name in names if name in definition.outputs]
    if not present:
        raise invalid(f"Expected {kind} signature outputs to contain at least one of {', '.join(names)}")
    if not examples:
        raise invalid("Input is empty.")
    inputs = {"inputs": np.array(list(examples), object)}
    return servable.run(signature, inputs, present, cancellation, _APIS[kind])


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
        raise invalid(f"Example must be JSON object but got JSON {json_inputs.type_name(record)}")
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
    elif json_inputs.is_base64(value):
        kind, converted = "bytes_list", json_inputs.decode_base64(value)
    else:
        raise invalid(
            f"Feature: {name} has element with unexpected JSON type: {json_inputs.type_name(value)}"
        )
    if feature.WhichOneof("kind") not in (None, kind):
        found = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}[
            feature.WhichOneof("kind")
        ]
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {found}")
    try:
        getattr(feature, kind).value.append(converted)
    except (ValueError, OverflowError) as error:
        raise invalid(f"Feature: {name} has a number out of range: {value}") from error
