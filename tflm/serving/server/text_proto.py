"""Text files of messages that the published stubs of TensorFlow Serving lack, declared where they are read."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from tflm.errors import UserError

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _Field.TYPE_STRING, "int64": _Field.TYPE_INT64, "bool": _Field.TYPE_BOOL}


def read_text_proto(
    path: str, flag: str, messages: Mapping[str, Mapping[str, str]], name: str, example: str
) -> Any:
    """The message in a text file, read strictly.

    >>> messages = {"PrometheusConfig": {"enable": "bool"}}
    >>> read_text_proto("a.config", "a_file", messages, "PrometheusConfig", "enable: true").enable
    True

    Args:
        flag: the flag that named the file, for messages.
        messages: message name to field name to type; "[]" is repeated.
        name: which of the messages the file holds.
        example: what such a file may look like.
    Raises:
        UserError: no such file, or one that is not understood, with its line.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--{flag}={path}: cannot be read: {error}.") from error
    try:
        return text_format.Parse(text, _message(messages, name))
    except text_format.ParseError as error:
        fields = ", ".join(messages[name])
        raise UserError(
            f"--{flag}={path}: line {error} Expected TensorFlow Serving's {name}, such as: {example} It may have: "
            f"{fields}."
        ) from error


def _message(messages: Mapping[str, Mapping[str, str]], name: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="tflm_text.proto", package="tflm_text", syntax="proto3")
    for each, fields in messages.items():
        message = file.message_type.add(name=each)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            base = kind.removesuffix("[]")
            label = _Field.LABEL_OPTIONAL if base == kind else _Field.LABEL_REPEATED
            entry = message.field.add(name=field, number=number, label=label)
            if base in _SCALARS:
                entry.type = _SCALARS[base]
            else:
                entry.type, entry.type_name = _Field.TYPE_MESSAGE, f".tflm_text.{base}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tflm_text.{name}"))()
