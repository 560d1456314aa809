"""The probabilities of the tokens of a text, by the signatures `alternatives` and `chat_alternatives`, as OpenAI's API
tells them.

They are the model's own, before temperature and the other settings.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.core.text_requests import TextRow
from tflm.serving.server.openai.responses import OpenAIError

Record = dict[str, Any]


class Token(NamedTuple):
    """A token of a text."""

    text: bytes
    """By itself; a part of a character is U+FFFD."""
    log_probability: float
    likeliest: list[tuple[bytes, float]]
    """Text and log-probability of the likeliest tokens at its place, the likeliest first."""


def tokens_of(
    model: ServedModel,
    rows: Sequence[TextRow],
    request: Mapping[str, Any],
    outputs: Mapping[str, np.ndarray],
    num_alternatives: int,
) -> list[list[Token]]:
    """The tokens of each text, without the end token.

    Args:
        rows: what was asked.
        request, outputs: of `generate` or `chat`.
        num_alternatives: how many of the likeliest tokens to tell at each place.
    Raises:
        OpenAIError: 400, the model cannot tell them, or not of this request.
    """
    signature, prompts = _prompts(model, rows, request)
    if signature not in model.signatures or "token_ids" not in outputs:
        raise OpenAIError(
            f"logprobs: model {model.path} has no signature 'alternatives', which they need.", "logprobs"
        )
    if not outputs["token_ids"].shape[1]:
        return [[] for _ in rows]
    asked = {
        **prompts,
        "token_ids": outputs["token_ids"],
        "max_new_tokens": request["max_new_tokens"],
        "num_alternatives": [max(1, num_alternatives)] * len(rows),
    }
    fields = model.predict(signature, asked)
    return [
        [_token(fields, row, place, num_alternatives) for place in range(outputs["num_tokens"][row])]
        for row in range(len(rows))
    ]


def for_completion(tokens: Sequence[Token], num_alternatives: int) -> Record:
    """`logprobs` of a choice of a completion."""
    texts = [token.text.decode("utf-8", "replace") for token in tokens]
    offsets = np.cumsum([0, *map(len, texts)])[:-1]
    likeliest = [
        {text.decode("utf-8", "replace"): value for text, value in reversed(token.likeliest)}
        for token in tokens
    ]
    return {
        "tokens": texts,
        "token_logprobs": [token.log_probability for token in tokens],
        "top_logprobs": likeliest if num_alternatives else None,
        "text_offset": offsets.tolist(),
    }


def for_chat(tokens: Sequence[Token]) -> Record:
    """`logprobs` of a choice of a chat completion."""
    content = [
        {
            **_entry(token.text, token.log_probability),
            "top_logprobs": [_entry(*each) for each in token.likeliest],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _prompts(
    model: ServedModel, rows: Sequence[TextRow], request: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The signature to call, and the inputs of it that hold the prompts."""
    if "roles" in request and "chat_alternatives" in model.signatures:
        return "chat_alternatives", {name: request[name] for name in ("roles", "messages")}
    if any(len(row.messages) > 1 or (row.messages and row.messages[0][0] != b"user") for row in rows):
        raise OpenAIError(
            f"logprobs: model {model.path} has no signature 'chat_alternatives', which logprobs of a conversation of "
            "several messages needs; older exports lack it. Export the model again, or leave out logprobs.",
            "logprobs",
        )
    return "alternatives", {"text": [row.messages[0][1] if row.messages else row.text for row in rows]}


def _token(fields: Mapping[str, np.ndarray], row: int, place: int, num_alternatives: int) -> Token:
    likeliest = zip(
        fields["alternatives"][row, place].tolist(),
        fields["alternative_log_probabilities"][row, place].tolist(),
        strict=True,
    )
    return Token(
        fields["tokens"][row, place],
        float(fields["log_probabilities"][row, place]),
        list(likeliest)[:num_alternatives],
    )


def _entry(text: bytes, log_probability: float) -> Record:
    return {"token": text.decode("utf-8", "replace"), "logprob": log_probability, "bytes": list(text)}
