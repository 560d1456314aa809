"""Text files of protocol buffers."""

from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from tflm.errors import UserError
from tflm.files.encodings import read_text

_Message = TypeVar("_Message", bound=Message)


def read_text_proto(path: str, flag: str, message: _Message, example: str) -> _Message:
    """Parses a text file into `message`, strictly.

    >>> read_text_proto("a.config", "a_file", PrometheusConfig(), "enable: true").enable
    True

    Args:
        flag: the flag that named the file, for messages.
        example: what such a file may look like.
    Raises:
        UserError: no such file, or one that is not understood, with its line.
    """
    try:
        text = read_text(path, f"--{flag}={path}")
    except OSError as error:
        raise UserError(f"--{flag}={path}: cannot be read: {error}.") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        fields = ", ".join(field.name for field in message.DESCRIPTOR.fields)
        raise UserError(
            f"--{flag}={path}: line {error} Expected TensorFlow Serving's {message.DESCRIPTOR.name}, such as: "
            f"{example} It may have: {fields}."
        ) from error
