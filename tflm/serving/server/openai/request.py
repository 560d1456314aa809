"""What a request to OpenAI's completions or chat completions wants, in tflm's terms.

A field that cannot be honoured is refused if the answer would differ, and ignored if it would not. So clients see what
is missing, and those that send no more than habits are answered.
"""

import dataclasses
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from tflm.generation import DecodingConfig
from tflm.serving.server.core.json_text import shown, to_bytes
from tflm.serving.server.core.text_requests import TextRow
from tflm.serving.server.openai.responses import OpenAIError

_ROLES = {"system": b"system", "developer": b"system", "user": b"user", "assistant": b"assistant"}
# A conversation here has no names; the others come back with what a client keeps of our own answers.
_NO_MATTER = {"role", "content", "name", "annotations"}

_RENAMED = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
}
# OpenAI's own, and those of ours that a client sends in `extra_body`.
_SETTINGS = {field.name for field in dataclasses.fields(DecodingConfig)} - {
    *_RENAMED.values(),
    "seed",
    "stop",
}
_READ = {"model", "n", "seed", "stop", "logit_bias", "logprobs", "stream", "stream_options"}
_READ_OF_CHAT = {"messages", "top_logprobs"}
_READ_OF_COMPLETION = {"prompt", "echo"}
# They do not change an answer: who asks, how it is billed, stored or kept at hand, what tools may do if there are any.
_IGNORED = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "parallel_tool_calls", "prediction",
}  # fmt: skip
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "best_of": (1,),
    "suffix": ("",),
}
"""Fields whose value changes nothing if it is one of these, and is refused otherwise."""
_MAX_N, _MAX_STOPS, _MAX_LOGPROBS, _MAX_TOP_LOGPROBS = 128, 4, 5, 20
_MAX_TEXTS = 2048
"""Limit of texts in one request: prompts times `n`."""
_BANNED, _NO_BIAS = -100, 0
_TOKEN_ID = re.compile("[0-9]{1,10}")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A request, read."""

    model: str
    """As it came; see `api.which`."""
    prompts: tuple[TextRow, ...]
    """Without settings."""
    settings: Mapping[str, Any]
    """Fields of `DecodingConfig`, those given; the seed aside."""
    seed: int
    """Of the first of the `n` texts of each prompt; one more for each that follows. Drawn where none was given, since
    who asks again without a seed wants another text."""
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    echo: bool = False
    num_alternatives: int | None = None
    """How many alternatives to report for each token; None for no logprobs."""

    def rows(self) -> list[TextRow]:
        """The texts to be written: `n` of the first prompt, `n` of the second, ..."""
        return [
            dataclasses.replace(prompt, settings={**self.settings, "seed": self.seed + place})
            for prompt in self.prompts
            for place in range(self.n)
        ]


def param_of(message: str) -> str | None:
    """The field of the request that a message about a setting is about.

    >>> param_of("min_new_tokens is 5, expected ..."), param_of("Servable not found")
    ('min_tokens', None)
    """
    first = message.split(" ", 1)[0]
    given = {own: name for name, own in reversed(_RENAMED.items())}.get(first, first)
    return given if given in _SETTINGS | {"seed", "stop"} | set(_RENAMED) else None


def read_completion(body: Mapping[str, Any]) -> Wanted:
    """A request to `/v1/completions`.

    Raises:
        OpenAIError: 400.
    """
    given = _given(body, _READ_OF_COMPLETION)
    if given.get("logprobs") is False:  # as chat completions say it
        del given["logprobs"]
    logprobs = _number(given, "logprobs", 0, _MAX_LOGPROBS)
    echo = _flag(given, "echo")
    if echo and logprobs is not None:
        raise OpenAIError("logprobs are for generated tokens, not for the prompt: leave out echo.", "echo")
    prompts = tuple(TextRow(text) for text in _prompts(given.get("prompt")))
    if len(prompts) * (_number(given, "n", 1, _MAX_N) or 1) > _MAX_TEXTS:
        raise OpenAIError(
            f"{len(prompts)} prompts by n are more than {_MAX_TEXTS} texts. Send fewer.", "prompt"
        )
    return _wanted(given, prompts=prompts, echo=echo, num_alternatives=logprobs)


def read_chat(body: Mapping[str, Any]) -> Wanted:
    """A request to `/v1/chat/completions`.

    Raises:
        OpenAIError: 400.
    """
    given = _given(body, _READ_OF_CHAT)
    wants, number = _flag(given, "logprobs"), _number(given, "top_logprobs", 0, _MAX_TOP_LOGPROBS)
    if number and not wants:
        raise OpenAIError("top_logprobs needs logprobs to be true.", "top_logprobs")
    prompts = (TextRow(messages=read_messages(given.get("messages"))),)
    return _wanted(given, prompts=prompts, num_alternatives=(number or 0) if wants else None)


def _wanted(given: Mapping[str, Any], **more: Any) -> Wanted:
    model = given.get("model")
    if not isinstance(model, str) or not model:
        raise OpenAIError("you must provide a model parameter: the name of a served model.", "model")
    stream = _flag(given, "stream")
    seed = _number(given, "seed", -(2**63), 2**63 - 1 - _MAX_N)
    return Wanted(
        model,
        settings=_read_settings(given),
        seed=secrets.randbits(62) if seed is None else seed,
        n=_number(given, "n", 1, _MAX_N) or 1,
        stream=stream,
        include_usage=_include_usage(given, stream),
        **more,
    )


def _given(body: Mapping[str, Any], also_read: set[str]) -> dict[str, Any]:
    """The fields that count. null is the same as left out."""
    given = {name: value for name, value in body.items() if value is not None and name not in _IGNORED}
    for name, value in given.items():
        if name in _HARMLESS:
            if value not in _HARMLESS[name] and not _is_inert(name, value, given):
                raise OpenAIError(f"{name} is not supported: the models here write plain text.", name)
        elif name not in _READ | also_read | _SETTINGS | set(_RENAMED):
            raise OpenAIError(f"Unrecognized request argument supplied: {name}", name)
    return given


def _is_inert(name: str, value: Any, given: Mapping[str, Any]) -> bool:
    """Whether another field makes this one change nothing: tools that may not be called; the best n of n texts."""
    if name == "best_of":
        return type(value) is int and value == given.get("n", 1)
    return (name, "none") in (("tools", given.get("tool_choice")), ("functions", given.get("function_call")))


def _read_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: given[name] for name in _SETTINGS & set(given)}
    for name, own in _RENAMED.items():
        if name in given:  # max_completion_tokens replaces max_tokens
            settings[own] = _number(given, name, 0, 2**31 - 1)
    if "stop" in given:
        settings["stop"] = _read_stop(given["stop"])
    own = settings.get("banned_ids", [])
    banned = _read_bias(given.get("logit_bias", {}))
    if banned and isinstance(own, list):  # what is no list is refused with the other settings
        settings["banned_ids"] = [*own, *banned]
    return settings


def _read_stop(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if (
        not isinstance(texts, list)
        or len(texts) > _MAX_STOPS
        or not all(isinstance(each, str) for each in texts)
    ):
        raise OpenAIError(f"stop is a text or up to {_MAX_STOPS} texts; got {shown(value)}.", "stop")
    return texts


def _read_bias(value: Any) -> list[int]:
    """The ids that are never to be written."""
    if not isinstance(value, Mapping) or not all(map(_TOKEN_ID.fullmatch, value)):
        raise OpenAIError(
            f"logit_bias is an object from token ids to biases; got {shown(value)}.", "logit_bias"
        )
    for token, bias in value.items():
        if isinstance(bias, bool) or bias not in (_BANNED, _NO_BIAS):
            raise OpenAIError(
                f"logit_bias of token {token} is {shown(bias)}: {_BANNED}, which bans a token, and {_NO_BIAS} are the "
                "only ones.",
                "logit_bias",
            )
    return [int(token) for token, bias in value.items() if bias == _BANNED]


def _prompts(value: Any) -> list[bytes]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise OpenAIError("prompt is a text or a list of texts.", "prompt")
    if not all(isinstance(text, str) for text in texts):
        raise OpenAIError("prompt takes texts, not token ids: a model here has its own tokenizer.", "prompt")
    return [to_bytes(text) for text in texts]


def _include_usage(given: Mapping[str, Any], stream: bool) -> bool:
    options = given.get("stream_options", {})
    if not isinstance(options, Mapping) or set(options) - {"include_usage", "include_obfuscation"}:
        raise OpenAIError(
            f"stream_options is {shown(options)}, expected an object with include_usage.", "stream_options"
        )
    wanted = _flag(options, "include_usage")
    if wanted and not stream:
        raise OpenAIError("stream_options needs stream to be true.", "stream_options")
    return wanted


def _flag(given: Mapping[str, Any], name: str) -> bool:
    return _typed(given, name, lambda value: isinstance(value, bool), "true or false") or False


def _number(given: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    is_valid = lambda value: type(value) is int and least <= value <= most  # noqa: E731
    return _typed(given, name, is_valid, f"a whole number from {least} to {most}")


def _typed(given: Mapping[str, Any], name: str, is_valid: Callable[[Any], bool], expected: str) -> Any:
    value = given.get(name)
    if value is not None and not is_valid(value):
        raise OpenAIError(f"{name} is {shown(value)}, expected {expected}.", name)
    return value


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
            f"{path}.role is {shown(role)}, expected system, user or assistant: tools are not supported.",
            f"{path}.role",
        )
    for name, value in message.items():
        if name not in _NO_MATTER and value not in (None, [], {}, ""):
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
                f"{path}[{place}] is {shown(part)}, expected a text part: other parts are not supported.",
                f"{path}[{place}]",
            )
    return "\n".join(part["text"] for part in content)
