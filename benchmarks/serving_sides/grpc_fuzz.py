"""gRPC messages that a server must bear: valid ones for the model of the conformance cases, mutated.

By field: any field of any message inside, taken away, repeated or given another value, and tensors whose dtype, shape
and content do not agree. By byte: what was serialised. A case is a function of the seed and its number alone.
"""

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from grpc_health.v1 import health_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from benchmarks.serving_sides.rest_fuzz import mutate_bytes

_PREDICTION, _MODELS = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
_DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")
_INPUTS: dict[str, dict[str, Any]] = {
    "": {"text": ["ÄB", "你好"]},
    "raw": {"code": np.int32([0, 255])},
    "linear": {"x": np.ones([2, 3], np.float32), "n": np.int32([1, 2])},
    "product": {"x": np.ones([2, 2], np.float32)},
    "types": {name: np.array([1, 0]).astype(name) for name in _DTYPES},
    "floats": {"x": np.float32([0.5])},
    "total": {"x": np.float32([0.5, 1])},
    "joined": {"words": [["a", "b"]]},
    "which": {"text": [""]},
}  # fmt: skip
_SIZES = [-(2**63), -5, -1, 0, 1, 2, 3, 255, 10**6, 10**9, 2**31, 2**40, 2**62, 2**63 - 1]
_WORDS = [
    "",
    "x",
    "probe",
    "你",
    "classify",
    "serving_default",
    "a" * 2000,
    "\0",
    "tensorflow/serving/regress",
]
_NUMBERS = [0, 1, -1, 2, 7, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1]
_FLOATS = [0.0, -0.0, 0.5, 1e30, float("inf"), float("-inf"), float("nan")]


@dataclasses.dataclass(frozen=True)
class GrpcCase:
    """One call."""

    kind: str
    method: str
    payload: bytes
    is_message: bool
    """The payload can be read; else gRPC itself refuses it, with INTERNAL."""
    may_wait: bool = False


def grpc_case(seed: int, index: int) -> GrpcCase:
    """Case number `index`; the same for ever."""
    draw = random.Random(f"grpc {seed} {index}")
    method, message = draw.choices([make for make, _ in _MAKERS], [weight for _, weight in _MAKERS])[0](draw)
    kind = draw.choices(["plain", "field", "tensor", "bytes"], [5, 35, 35, 25])[0]
    if method.endswith("HandleReloadConfigRequest"):
        kind = "plain"  # a mutated one might be right, and take the models away
    if kind in ("field", "bytes"):
        for _ in range(draw.randint(1, 3)):
            _mutate_field(draw, message)
    tensors = [each for each in _messages(message) if isinstance(each, _TensorProto)]
    if kind == "tensor":
        for tensor in tensors or [message]:
            (_mutate_tensor if tensors else _mutate_field)(draw, tensor)
    payload = message.SerializeToString(deterministic=True)
    if kind == "bytes":
        payload = _other_byte(draw, payload) if draw.random() < 0.7 else mutate_bytes(draw, payload)
    return GrpcCase(kind, method, payload, _can_be_read(type(message), payload), b"wait" in payload)


def _can_be_read(message_type: Any, payload: bytes) -> bool:
    try:
        message_type.FromString(payload)
    except Exception:  # DecodeError, whose place differs among the implementations of protobuf
        return False
    return True


def _other_byte(draw: random.Random, payload: bytes) -> bytes:
    """Often still a message."""
    place = draw.randrange(len(payload) or 1)
    return payload[:place] + bytes([draw.randrange(256)]) + payload[place + 1 :]


def _spec(draw: random.Random, message: Any, signature: str = "") -> Any:
    message.model_spec.name, message.model_spec.signature_name = "probe", signature
    choice = draw.randrange(6)
    if choice == 0:
        message.model_spec.version.value = draw.choice([1, 2, 3, -1])
    elif choice == 1:
        message.model_spec.version_label = draw.choice(["stable", "x", ""])
    return message


def _predict(draw: random.Random) -> tuple[str, Any]:
    signature = draw.choice(list(_INPUTS))
    inputs = _INPUTS[signature]
    if draw.random() < 0.003:
        signature, inputs = "wait", {"seconds": np.float64([0.0])}
    message = _spec(draw, predict_pb2.PredictRequest(), signature)
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    if draw.random() < 0.1:
        message.output_filter.append(draw.choice(["text", "y", "sums", "z"]))
    return f"{_PREDICTION}Predict", message


def _fill(draw: random.Random, message: Any) -> None:
    data = message.input
    if draw.random() < 0.5:
        data.example_list_with_context.context.features.feature["age"].float_list.value.append(0.5)
        added = data.example_list_with_context.examples.add()
    else:
        added = data.example_list.examples.add()
    added.features.feature[draw.choice(["age", "x"])].float_list.value.append(0.25)
    added.features.feature["name"].bytes_list.value.append("你".encode())


def _classify(draw: random.Random) -> tuple[str, Any]:
    message = _spec(draw, classification_pb2.ClassificationRequest(), "classify")
    _fill(draw, message)
    return f"{_PREDICTION}Classify", message


def _regress(draw: random.Random) -> tuple[str, Any]:
    message = _spec(draw, regression_pb2.RegressionRequest(), "regress")
    _fill(draw, message)
    return f"{_PREDICTION}Regress", message


def _multi(draw: random.Random) -> tuple[str, Any]:
    message = inference_pb2.MultiInferenceRequest()
    for name in draw.sample(["classify", "regress"], draw.randint(1, 2)):
        _spec(draw, message.tasks.add(method_name=f"tensorflow/serving/{name}"), name)
    _fill(draw, message)
    return f"{_PREDICTION}MultiInference", message


def _metadata(draw: random.Random) -> tuple[str, Any]:
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    return f"{_PREDICTION}GetModelMetadata", _spec(draw, message)


def _status(draw: random.Random) -> tuple[str, Any]:
    return f"{_MODELS}GetModelStatus", _spec(draw, get_model_status_pb2.GetModelStatusRequest())


def _reload(draw: random.Random) -> tuple[str, Any]:
    """Only what must be refused."""
    message = model_management_pb2.ReloadConfigRequest()
    kind = draw.randrange(4)
    if kind == 1:
        message.config.custom_model_config.SetInParent()
    for _ in range(kind):
        config = message.config.model_config_list.config.add(name="probe", model_platform="tensorflow")
        config.base_path = draw.choice(["/nowhere", "../../etc", "", "\0", "a" * 5000])
    return f"{_MODELS}HandleReloadConfigRequest", message


def _other(draw: random.Random) -> tuple[str, Any]:
    names = [f"{_PREDICTION}Else", "/grpc.health.v1.Health/Check", "/x/y", f"{_PREDICTION}predict"]
    return draw.choice(names), health_pb2.HealthCheckRequest(service=draw.choice(_WORDS[:4]))


_MAKERS: list[tuple[Callable[[random.Random], tuple[str, Any]], int]] = [
    (_predict, 60), (_classify, 12), (_regress, 8), (_multi, 8), (_metadata, 4), (_status, 4), (_reload, 2),
    (_other, 2),
]  # fmt: skip
_TensorProto = type(tf.make_tensor_proto(0.0))


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type:
                for key in sorted(value):
                    yield from _messages(value[key])
        elif isinstance(value, type(message)) or hasattr(value, "ListFields"):
            yield from _messages(value)
        else:
            for each in value:
                yield from _messages(each)


def _mutate_field(draw: random.Random, message: Any) -> None:
    """One field, of this message or of one inside: taken away, or given another value."""
    place = draw.choice(list(_messages(message)))
    field = draw.choice(place.DESCRIPTOR.fields)
    if draw.random() < 0.3:
        place.ClearField(field.name)
        return
    value = getattr(place, field.name)
    if field.message_type and field.message_type.GetOptions().map_entry:
        held = value[draw.choice([*_WORDS, *sorted(value)])]
        if field.message_type.fields_by_name["value"].message_type:
            _mutate_field(draw, held)
    elif field.message_type:
        _mutate_field(draw, value.add() if hasattr(value, "add") else value)
    elif hasattr(value, "append"):
        value.append(_scalar(draw, field))
    else:
        setattr(place, field.name, _scalar(draw, field))


def _scalar(draw: random.Random, field: Any) -> Any:
    """A value that the field can hold."""
    if field.cpp_type == field.CPPTYPE_STRING:
        word = draw.choice(_WORDS)
        return word if field.type == field.TYPE_STRING else word.encode() + draw.choice([b"", b"\xff"])
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return draw.choice(_FLOATS)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return draw.random() < 0.5
    if field.cpp_type == field.CPPTYPE_ENUM:
        return draw.randrange(30)
    bits, signed = {
        field.CPPTYPE_INT32: (31, True), field.CPPTYPE_INT64: (63, True),
        field.CPPTYPE_UINT32: (32, False), field.CPPTYPE_UINT64: (64, False),
    }[field.cpp_type]  # fmt: skip
    return max(-(2**bits) if signed else 0, min(2**bits - 1, draw.choice(_NUMBERS)))


def _mutate_tensor(draw: random.Random, tensor: Any) -> None:
    """A dtype, a shape or values that do not go together."""
    for _ in range(draw.randint(1, 2)):
        change = draw.randrange(8)
        if change == 0:
            tensor.dtype = draw.choice([*range(26), 101, 107, 120])
        elif change == 1:
            tensor.tensor_shape.ClearField("dim")
            sizes = draw.choice([_SIZES, [1]])
            for _ in range(draw.choice([0, 1, 2, 3, 9, 31, 32, 33, 64, 65, 254, 300])):
                tensor.tensor_shape.dim.add(size=draw.choice(sizes))
        elif change == 2 and tensor.tensor_shape.dim:
            draw.choice(tensor.tensor_shape.dim).size = draw.choice(_SIZES)
        elif change == 3:
            tensor.tensor_content = draw.choice([b"", tensor.tensor_content[:-1], draw.randbytes(16)])
        elif change == 4:
            tensor.tensor_shape.unknown_rank = True
        elif change == 5:  # one value that stands for many
            tensor.ClearField("tensor_content")
            tensor.float_val[:], tensor.string_val[:] = [0.5], [b"a"]
            tensor.tensor_shape.ClearField("dim")
            tensor.tensor_shape.dim.add(size=draw.choice(_SIZES))
        elif change == 6:
            tensor.string_val.extend([b"\xff\0"] * draw.choice([1, 3, 1000]))
        else:
            _mutate_field(draw, tensor)
