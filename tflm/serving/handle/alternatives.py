"""What a model might have generated in place of each token: requests to the signature `alternatives`."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tflm.serving.handle.inputs import truncated_column
from tflm.serving.handle.results import Alternatives, TokenAlternatives
from tflm.serving.handle.settings import GenerationSettings
from tflm.serving.model import Model


def find_alternatives(
    model: Model, texts: list[str], settings: GenerationSettings, count: int
) -> list[Alternatives]:
    """The texts that `generate` gives, token by token, with the likeliest tokens in the place of each.

    Args:
        model: with the signatures `generate` and `alternatives`.
        texts: the prompts.
        settings: of generation.
        count: how many alternatives a token has.
    """
    inputs = settings.inputs(model, "generate", len(texts))
    token_ids = model.predict("generate", {"text": texts, **inputs})["token_ids"]
    token_ids = np.pad(token_ids, [(0, 0), (0, int(token_ids.shape[1] == 0))], constant_values=-1)
    request = {
        "text": texts,
        "token_ids": token_ids,
        "max_new_tokens": [settings.decoding.max_new_tokens] * len(texts),
        "num_alternatives": [count] * len(texts),
    }
    outputs = model.predict("alternatives", request)
    return [
        Alternatives(tuple(_tokens(outputs, row)), truncated)
        for row, truncated in enumerate(truncated_column(outputs))
    ]


def _tokens(outputs: Mapping[str, Any], row: int) -> Iterator[TokenAlternatives]:
    for place in range(int(outputs["num_tokens"][row])):
        texts = outputs["alternatives"][row][place]
        values = outputs["alternative_log_probabilities"][row][place].tolist()
        yield TokenAlternatives(
            outputs["tokens"][row][place].decode("utf-8", "replace"),
            _probability(outputs["log_probabilities"][row][place].item()),
            tuple(
                (text.decode("utf-8", "replace"), _probability(value))
                for text, value in zip(texts, values, strict=True)
            ),
        )


def _probability(logarithm: float) -> float:
    return min(math.exp(logarithm), 1.0)
