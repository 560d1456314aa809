"""Conversations as JSON lines: lists of messages with roles, the format of chat APIs and of chat fine-tuning."""

import json
from collections.abc import Iterator
from typing import Any

from tflm.data.sources.rows import Row
from tflm.data.sources.tables import read_records

_ROLES = ("system", "user", "assistant")


def read_messages(files: list[str], column: str, encoding: str = "utf-8") -> Iterator[Row]:
    """Streams conversations, one JSON object per line.

        {"messages": [{"role": "user", "content": "你是谁"}, {"role": "assistant", "content": "我是一个程序。"}]}

    Examples are {"messages": JSON list of messages, with `role` and `content` only}. The key of the hash split is the
    first user message.
    """
    for file, number, record in read_records(files, (column,), encoding):
        if isinstance(record, Row):
            yield record
            continue
        messages: Any = record.get(column)
        if problem := _problem(messages):
            yield Row(file, number, {}, problem)
            continue
        kept = [{"role": each["role"], "content": each["content"].strip()} for each in messages]
        key = next(each["content"] for each in kept if each["role"] == "user")
        yield Row(file, number, {"messages": json.dumps(kept, ensure_ascii=False)}, key=key)


def _problem(messages: Any) -> str:
    """The problem of a conversation; "" if it is valid."""
    if not isinstance(messages, list) or not messages:
        return "not a list of messages"
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return 'a message that is not {"role": ..., "content": text}'
        if message.get("role") not in _ROLES:
            return f"a role that is not one of {', '.join(_ROLES)}"
        if not message["content"].strip():
            return "an empty message"
    if messages[-1]["role"] != "assistant":
        return "a conversation that does not end with the assistant"
    return "" if any(message["role"] == "user" for message in messages) else "a conversation without the user"
