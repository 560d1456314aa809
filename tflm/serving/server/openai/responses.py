"""The objects that OpenAI's completions and chat completions answer with, whole and in chunks.

After https://platform.openai.com/docs/api-reference. One field is ours: `truncated` of a choice, whether something of
the prompt did not fit into the model's context and was left out, which OpenAI's models refuse.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from tflm.serving.server.rest.requests import failure

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}

Record = dict[str, Any]


class Form(Protocol):
    """How completions differ from chat completions; `COMPLETION` and `CHAT`."""

    signature: str
    api: str
    whole_object: str
    chunk_object: str
    id_prefix: str

    def choice(self, text: str, logprobs: Record | None) -> Record:
        """The text fields of a choice in a whole response."""

    def first(self, echo: str) -> Record:
        """The fields of a choice's first chunk; `echo` is the prompt, if it is repeated. Empty for no such chunk."""

    def piece(self, text: str) -> Record:
        """The fields of a chunk with a piece of text; "" in the last one."""


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


class ResponseBody:
    """One answer: what its chunks have in common.

    Args:
        form: `COMPLETION` or `CHAT`.
        model: the name and version that answers, as a request may name it.
        include_usage: `stream_options.include_usage`: each chunk but the last has `"usage": null`.
    """

    def __init__(self, form: Form, model: str, include_usage: bool = False) -> None:
        self.form = form
        self._no_usage: Record = {"usage": None} if include_usage else {}
        self._common = {
            "id": form.id_prefix + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": model,
        }

    def whole(self, choices: list[Record], usage: Record | None) -> Record:
        """All at once."""
        return {**self._common, "object": self.form.whole_object, "choices": choices, "usage": usage}

    def chunk(self, index: int, fields: Mapping[str, Any], end: Mapping[str, Any] | None = None) -> Record:
        """One chunk of choice `index`; the last one has an `end`, see `ending`."""
        choice = {"index": index, **fields, **(end or {"finish_reason": None})}
        return {**self._common, "object": self.form.chunk_object, "choices": [choice], **self._no_usage}

    def usage_chunk(self, usage: Record | None) -> Record:
        """The chunk behind all others, for `stream_options.include_usage`."""
        return {**self._common, "object": self.form.chunk_object, "choices": [], "usage": usage}


def ending(finish_reason: str, truncated: bool) -> Record:
    """The fields of a finished choice."""
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


class OpenAIError(Exception):
    """A request that is refused.

    Attributes:
        message: what the client reads.
        param: the field of the request that is wrong; None where it is not one alone.
        status: the HTTP status.
        code: a short name for programs, such as "model_not_found".
    """

    def __init__(
        self, message: str, param: str | None = None, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code


def error_record(error: Exception) -> tuple[int, dict[str, Any]]:
    """The HTTP status, and the body of the answer.

    >>> error_record(OpenAIError("n is 0, expected 1 to 128.", "n"))
    (400, {'error': {'message': 'n is 0, expected 1 to 128.', 'type': 'invalid_request_error', 'param': 'n',
                     'code': None}})
    """
    if not isinstance(error, OpenAIError):
        status, message = failure(error)
        error = OpenAIError(message, status=status)
    kind = _TYPES.get(error.status, "server_error")
    fields = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return error.status, {"error": fields}
