"""Texts continued by more than one request: each begins where the one before ended."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from tflm.errors import UsageError
from tflm.serving.handle.results import Generated


class GenerateFn(Protocol):
    """Prompts, a seed for each, and settings of the request, to a text for each; as `TextGenerator`."""

    def __call__(
        self, texts: Sequence[str], seeds: Sequence[int] | None = None, **changes: Any
    ) -> Sequence[Generated]: ...


def continue_texts(
    generate_fn: GenerateFn,
    prompts: Sequence[str],
    seeds: Sequence[int],
    num_tokens: int,
    *,
    max_new_tokens: int,
    min_new_tokens: int = 0,
    max_length: int | None = None,
) -> list[Generated]:
    """Continues texts by `num_tokens` tokens, or to where the model ends them.

        num_tokens 200, max_new_tokens 80: requests of 80, 80 and 40 tokens. The prompt of the second is the text with
        its first 80 new tokens; of it the model reads as much of the end as it has room for.

    The first request has a row's own seed, each later one a seed made of that and of its number. A character of which a
    request has only the first bytes is left to the next request.

    Args:
        generate_fn: the model.
        prompts: N of them.
        seeds: N of them.
        num_tokens: of each continuation.
        max_new_tokens: of one request, which has no more than half of the model's length, so that the other half sees
            what came before.
        min_new_tokens: of the whole.
        max_length: the model's length; None where it does not report it.
    Returns:
        For each its continuation with `num_tokens` and `log_probability` of all requests together; and `truncated` of
        the first, whether something of the prompt was left out.
    Raises:
        UsageError: `max_new_tokens` is 0.
    """
    size = min(max_new_tokens, max_length // 2) if max_length else max_new_tokens
    if size < 1:
        raise UsageError("a long text goes in requests of max_new_tokens: give 1 or more of those.")
    found = [Generated("", 0, 0.0) for _ in prompts]
    open_rows, done = list(range(len(prompts))), 0
    while open_rows and done < num_tokens:
        count = min(size, num_tokens - done)
        answers = generate_fn(
            [prompts[row] + found[row].text for row in open_rows],
            [_seed(seeds[row], done) for row in open_rows],
            max_new_tokens=count,
            min_new_tokens=max(0, min(min_new_tokens - done, count)),
        )
        is_first, done = done == 0, done + count
        for row, answer in zip(list(open_rows), answers, strict=True):
            text = answer.text if done >= num_tokens else answer.text.rstrip("\ufffd")
            found[row] = _joined(found[row], replace(answer, text=text), is_first)
            if answer.num_tokens < count or not text:  # the model has ended it, or gets nowhere
                open_rows.remove(row)
    return found


def _joined(before: Generated, answer: Generated, is_first: bool) -> Generated:
    return Generated(
        before.text + answer.text,
        before.num_tokens + answer.num_tokens,
        (before.log_probability or 0.0) + (answer.log_probability or 0.0),
        answer.finish_reason,
        answer.truncated if is_first else before.truncated,
    )


def _seed(seed: int, done: int) -> int:
    """The seed of the request that follows `done` tokens; the same seed twice would repeat the draws."""
    if not done:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed} {done}".encode(), digest_size=7).digest(), "big")
