"""Texts continued by more than one request: each begins where the one before ended."""

import hashlib
from collections.abc import Sequence
from typing import Any

from apps.text_generation import Generator
from tflm.errors import UsageError


def continue_texts(
    generator: Generator, prompts: Sequence[str], seeds: Sequence[int], length: int
) -> list[dict[str, Any]]:
    """Continues texts by `length` tokens, or to where the model ends them.

        length 200, max_new_tokens 80: requests of 80, 80 and 40 tokens. The prompt of the second is the text with its
        first 80 new tokens; of it the model reads as much of the end as it has room for.

    One request has `max_new_tokens` at most, and no more than half of the model's length, so that the other half sees
    what came before; where a model does not tell that length, so many as are asked for. The first request has a row's
    own seed, each later one a seed made of that and of its number. A character of which a request has only the first
    bytes is left to the next request.

    Args:
        generator: the model; its settings hold, `min_new_tokens` for the whole.
        prompts: N of them.
        seeds: N of them.
        length: in tokens.
    Returns:
        For each a record with `text`, `num_tokens` and `log_probability`, of all requests together.
    Raises:
        UsageError: `max_new_tokens` is 0.
    """
    size = generator.settings["max_new_tokens"]
    if max_length := generator.model.config.get("model", {}).get("max_length"):
        size = min(size, max_length // 2)
    if size < 1:
        raise UsageError("--length goes in requests of --max_new_tokens: give 1 or more of those.")
    records: list[dict[str, Any]] = [{"text": "", "num_tokens": 0, "log_probability": 0.0} for _ in prompts]
    open_rows, done = list(range(len(prompts))), 0
    while open_rows and done < length:
        count = min(size, length - done)
        answers = generator(
            [prompts[row] + records[row]["text"] for row in open_rows],
            [_seed(seeds[row], done) for row in open_rows],
            max_new_tokens=count,
            min_new_tokens=max(0, min(generator.settings["min_new_tokens"] - done, count)),
        )
        done += count
        for row, answer in zip(list(open_rows), answers, strict=True):
            text = answer["text"] if done >= length else answer["text"].rstrip("\ufffd")
            records[row] = {
                "text": records[row]["text"] + text,
                "num_tokens": records[row]["num_tokens"] + answer["num_tokens"],
                "log_probability": records[row]["log_probability"] + answer["log_probability"],
            }
            if answer["num_tokens"] < count or not text:  # the model has ended it, or gets nowhere
                open_rows.remove(row)
    return records


def _seed(seed: int, done: int) -> int:
    """The seed of the request after so many tokens; with the same seed twice the draws would be the same, too."""
    if not done:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed} {done}".encode(), digest_size=7).digest(), "big")
