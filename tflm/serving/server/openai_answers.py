"""The objects that OpenAI's completions and chat completions answer with, whole and in chunks.

After https://platform.openai.com/docs/api-reference. One field is ours: `truncated` of a choice, whether something of
the prompt did not fit into the model's context and was left out, which OpenAI's models refuse.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

Record = dict[str, Any]


class Form(Protocol):
    """How completions differ from chat completions; `COMPLETION` and `CHAT`."""

    signature: str
    api: str
    whole_object: str
    chunk_object: str
    id_prefix: str

    def choice(self, text: str, logprobs: Record | None) -> Record:
        """What a choice of a whole answer tells of its text."""

    def first(self, echo: str) -> Record:
        """What the first chunk of a choice tells; `echo` is the prompt where it is to be repeated. Empty for none."""

    def piece(self, text: str) -> Record:
        """What a chunk tells of a piece; "" in the last one."""


class _Completion:
    signature, api = "generate", "completions"
    whole_object = chunk_object = "text_completion"
    id_prefix = "cmpl-"

    def choice(self, text: str, logprobs: Record | None) -> Record:
        return {"text": text, "logprobs": logprobs}

    def first(self, echo: str) -> Record:
        return self.piece(echo) if echo else {}

    def piece(self, text: str) -> Record:
        return {"text": text, "logprobs": None}


class _Chat:
    signature, api = "chat", "chat/completions"
    whole_object, chunk_object = "chat.completion", "chat.completion.chunk"
    id_prefix = "chatcmpl-"

    def choice(self, text: str, logprobs: Record | None) -> Record:
        return {"message": {"role": "assistant", "content": text, "refusal": None}, "logprobs": logprobs}

    def first(self, echo: str) -> Record:
        del echo
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def piece(self, text: str) -> Record:
        return {"delta": {"content": text} if text else {}, "logprobs": None}


COMPLETION: Form = _Completion()
CHAT: Form = _Chat()


class Answer:
    """One answer: what its chunks have in common.

    Args:
        form: `COMPLETION` or `CHAT`.
        model: the name and version that answers, as a request may name it.
    """

    def __init__(self, form: Form, model: str) -> None:
        self.form = form
        self._told = {
            "id": form.id_prefix + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": model,
        }

    def whole(self, choices: list[Record], usage: Record | None) -> Record:
        """All at once."""
        return {**self._told, "object": self.form.whole_object, "choices": choices, "usage": usage}

    def chunk(self, index: int, told: Mapping[str, Any], end: Mapping[str, Any] | None = None) -> Record:
        """One chunk of choice `index`; the last one has an `end`, see `ending`."""
        choice = {"index": index, **told, **(end or {"finish_reason": None})}
        return {**self._told, "object": self.form.chunk_object, "choices": [choice]}

    def usage_chunk(self, usage: Record | None) -> Record:
        """The chunk behind all others, for `stream_options.include_usage`."""
        return {**self._told, "object": self.form.chunk_object, "choices": [], "usage": usage}


def ending(finish_reason: str, truncated: bool) -> Record:
    """What is told of a choice once it has ended."""
    return {"finish_reason": finish_reason, "truncated": truncated}


def usage_of(prompt_tokens: int | None, completion_tokens: int) -> Record | None:
    """Numbers of tokens; None where the model does not count those of a prompt."""
    if prompt_tokens is None:
        return None
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def model_record(name: str, created: int) -> Record:
    """A model in the list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "tflm"}
