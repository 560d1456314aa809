"""The messages of OpenAI's chat completions as a conversation of tflm's."""

from collections.abc import Mapping
from typing import Any

from tflm.serving.server.json_text import shown, to_bytes
from tflm.serving.server.openai_errors import OpenAIError

_ROLES = {"system": b"system", "developer": b"system", "user": b"user", "assistant": b"assistant"}
# A conversation here has no names; the others come back with what a client keeps of our own answers.
_NO_MATTER = {"role", "content", "name", "annotations"}


def read_messages(value: Any) -> tuple[tuple[bytes, bytes], ...]:
    """Role and content of each message.

    >>> read_messages([{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "你好"}]}])
    ((b'user', 'Hi\\n你好'.encode()),)

    The role "developer" is "system"; the parts of a content are joined by line ends.

    Raises:
        OpenAIError: 400: no messages, another role, a content that is not text, or something that would be lost, such
            as tool calls.
    """
    if not isinstance(value, list) or not value:
        raise OpenAIError("messages is a list of one message or more.", "messages")
    return tuple(_read_message(message, f"messages[{place}]") for place, message in enumerate(value))


def _read_message(message: Any, path: str) -> tuple[bytes, bytes]:
    if not isinstance(message, Mapping):
        raise OpenAIError(f"{path} is {shown(message)}, expected an object with role and content.", path)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise OpenAIError(
            f"{path}.role is {shown(role)}, expected system, user or assistant: the models here call no tools.",
            f"{path}.role",
        )
    for name, value in message.items():
        if name not in _NO_MATTER and value not in (None, []):
            raise OpenAIError(
                f"{path}.{name} is not supported: a message is a role and a text.", f"{path}.{name}"
            )
    return _ROLES[role], to_bytes(_read_content(message.get("content"), f"{path}.content"))


def _read_content(content: Any, path: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise OpenAIError(f"{path} is {shown(content)}, expected a text or a list of text parts.", path)
    for place, part in enumerate(content):
        is_text = (
            isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
        )
        if not is_text:
            raise OpenAIError(
                f"{path}[{place}] is {shown(part)}, expected a text part: the models here read text alone.",
                f"{path}[{place}]",
            )
    return "\n".join(part["text"] for part in content)
