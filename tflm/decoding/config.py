"""The settings of generation: their defaults and their checks. Free of TensorFlow, for clients of a server."""

import dataclasses
from typing import Any

from tflm.errors import UserError


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How text is generated. The defaults sample from the model's own distribution.

    Raises:
        UserError: a value lies outside its range.
    """

    seed: int = 0
    """Same seed, prompt and settings: same text, whatever the other rows of the batch. 64 bits, signed."""
    temperature: float = 1.0
    """Divides the logits before sampling. 0 is greedy: always the likeliest token."""
    top_k: int = 0
    """Sample from the k likeliest tokens. 0 is off."""
    top_p: float = 1.0
    """Sample from the smallest set of likeliest tokens whose probabilities reach p. 1 is off."""
    min_p: float = 0.0
    """Sample from tokens at least this fraction as likely as the likeliest. 0 is off."""
    typical_p: float = 1.0
    """Sample from the tokens whose surprise is nearest to the expected one, until their probabilities reach p. 1 is
    off."""
    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and of the text so far become less likely. 1 is off."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit for each time that the text so far has it; the prompt does not count. 0 is off."""
    presence_penalty: float = 0.0
    """Taken off once from the logit of every token that the text so far has. 0 is off."""
    no_repeat_ngram_size: int = 0
    """No so many tokens in a row come twice in prompt and text. 0 is off."""
    min_new_tokens: int = 0
    """The text cannot end before it has this many tokens. A stop text ends it all the same."""
    max_new_tokens: int = 64
    """The text ends here at the latest. The end token does not count."""
    slide: bool = False
    """Whether a text goes on where prompt and text fill the model's context: the model then reads the last half of them
    anew. Otherwise it ends there. Models with an encoder never slide."""
    banned_ids: tuple[int, ...] = ()
    """Tokens that are never produced."""
    forced_ids: tuple[int, ...] = ()
    """Tokens that the text begins with."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these that it would have."""
    choices: tuple[str, ...] = ()
    """The text is one of these, to its end. None is any text."""

    def __post_init__(self) -> None:
        limit = 2**31
        self._check("seed", -(2**63) <= self.seed < 2**63, "a whole number of 64 bits")
        self._check("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or a positive number")
        self._check("top_k", 0 <= self.top_k < limit, "0 (off) or a positive whole number")
        self._check("top_p", 0 <= self.top_p <= 1, "a number from 0 to 1 (off)")
        self._check("min_p", 0 <= self.min_p <= 1, "a number from 0 (off) to 1")
        self._check("typical_p", 0 <= self.typical_p <= 1, "a number from 0 to 1 (off)")
        self._check(
            "repetition_penalty", 0 < self.repetition_penalty < float("inf"), "a positive number, 1 is off"
        )
        for name in ("frequency_penalty", "presence_penalty"):
            self._check(name, abs(getattr(self, name)) < float("inf"), "a number, 0 is off")
        self._check(
            "no_repeat_ngram_size",
            0 <= self.no_repeat_ngram_size < limit,
            "0 (off) or a positive whole number",
        )
        self._check("max_new_tokens", 0 <= self.max_new_tokens < limit, "0 or a positive whole number")
        self._check(
            "min_new_tokens",
            0 <= self.min_new_tokens <= self.max_new_tokens,
            f"a whole number from 0 to max_new_tokens, which is {self.max_new_tokens}",
        )
        for name in ("banned_ids", "forced_ids"):
            self._check(name, all(0 <= each < limit for each in getattr(self, name)), "token ids, 0 and up")
        for name in ("stop", "choices"):
            self._check(name, all(getattr(self, name)), "texts that are not empty")

    def _check(self, name: str, is_valid: bool, expected: str) -> None:
        value = getattr(self, name)
        if not is_valid:
            raise UserError(f"{name} is {value!r}, expected {expected}. Set another {name}.")
        if name in _WHOLE and int(value) != value:
            raise UserError(f"{name} is {value!r}, expected a whole number. Set another {name}.")


_WHOLE = {field.name for field in dataclasses.fields(DecodingConfig) if field.type in (int, "int")}
_NOTHING = {"banned_ids": -1, "forced_ids": -1, "stop": "", "choices": ""}
"""What fills up the lists of a request, which are all equally long."""


def settings_lists(config: DecodingConfig, num_rows: int) -> dict[str, list[Any]]:
    """The config as the inputs of a request, the same in every row.

    >>> settings_lists(DecodingConfig(top_k=40, stop=("\\n",)), 2)
    {..., "top_k": [40, 40], ..., "banned_ids": [[-1], [-1]], ..., "stop": [["\\n"], ["\\n"]]}
    """
    return {
        field.name: [_plain(field.name, getattr(config, field.name))] * num_rows
        for field in dataclasses.fields(config)
    }


def _plain(name: str, value: Any) -> Any:
    """A list has one place at least: an empty one has no dtype as JSON."""
    return (list(value) or [_NOTHING[name]]) if name in _NOTHING else value
