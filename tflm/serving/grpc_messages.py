"""The messages that a gRPC client of a model server needs, declared here: the published ones import TensorFlow.

Names, numbers and types are those of tensorflow/core/framework/{tensor,tensor_shape}.proto,
tensorflow/core/protobuf/meta_graph.proto and tensorflow_serving/apis/{model,predict,get_model_metadata}.proto. Fields
that the client neither sends nor reads are left out; protobuf passes over those it does not know. They live in a pool
of their own, so that the published messages can be in the same process.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL,
}
# Message to fields: (number, name, type), where "[]" is repeated and "{}" a map from strings.
_MESSAGES = {
    "Dim": [(1, "size", "int64")],
    "TensorShapeProto": [(2, "dim", "Dim[]"), (3, "unknown_rank", "bool")],
    "TensorProto": [
        (1, "dtype", "int32"),
        (2, "tensor_shape", "TensorShapeProto"),
        (4, "tensor_content", "bytes"),
        (5, "float_val", "float[]"),
        (6, "double_val", "double[]"),
        (7, "int_val", "int32[]"),
        (8, "string_val", "bytes[]"),
        (10, "int64_val", "int64[]"),
        (11, "bool_val", "bool[]"),
        (13, "half_val", "int32[]"),
        (16, "uint32_val", "uint32[]"),
        (17, "uint64_val", "uint64[]"),
    ],
    "Int64Value": [(1, "value", "int64")],
    "ModelSpec": [
        (1, "name", "string"),
        (2, "version", "Int64Value"),
        (3, "signature_name", "string"),
        (4, "version_label", "string"),
    ],
    "PredictRequest": [(1, "model_spec", "ModelSpec"), (2, "inputs", "TensorProto{}")],
    "PredictResponse": [(1, "outputs", "TensorProto{}")],
    "GetModelMetadataRequest": [(1, "model_spec", "ModelSpec"), (2, "metadata_field", "string[]")],
    "Any": [(1, "type_url", "string"), (2, "value", "bytes")],
    "GetModelMetadataResponse": [(2, "metadata", "Any{}")],
    "TensorInfo": [(2, "dtype", "int32"), (3, "tensor_shape", "TensorShapeProto")],
    "SignatureDef": [(1, "inputs", "TensorInfo{}"), (2, "outputs", "TensorInfo{}")],
    "SignatureDefMap": [(1, "signature_def", "SignatureDef{}")],
}
DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool",
    14: "bfloat16", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
"""Number in `DataType` (tensorflow/core/framework/types.proto) to dtype name."""


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tflm_serving.proto", package="tflm", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind in fields:
            _add_field(message, number, field, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tflm.{name}"))
        for name in _MESSAGES
    }


def _add_field(message: Any, number: int, name: str, kind: str) -> None:
    base = kind.rstrip("[]{}")
    label = _Field.LABEL_OPTIONAL if base == kind else _Field.LABEL_REPEATED
    if kind.endswith("{}"):  # a map is a repeated message of its own, with a key and a value
        entry_name = name.title().replace("_", "") + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _add_field(entry, 1, "key", "string")
        _add_field(entry, 2, "value", base)
        base = f"{message.name}.{entry_name}"
    field = message.field.add(name=name, number=number, label=label)
    if base in _SCALARS:
        field.type = _SCALARS[base]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".tflm.{base}"


MESSAGES = _classes()
"""Message name to class."""
