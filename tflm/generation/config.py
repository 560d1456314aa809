"""The settings of generation: defaults, ranges, and the inputs of a request. Free of TensorFlow, for clients.

A new setting is a field here. `settings.py` derives its tensor, the input of every signature and the check of a
request from the field; a logit filter, penalty or constraint reads it by naming a parameter after it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from tflm.errors import UserError

MAX_BEAM_SIZE = 64
"""The largest beam_size. Every beam has its own copy of the model's state, so this bounds a request's memory."""

_INT_LIMIT = 2**31
_PADDING: dict[Any, Any] = {tuple[int, ...]: -1, tuple[str, ...]: ""}
"""What pads the lists of a request to one length, by type of the field."""


def setting(default: Any, is_valid: Callable[[Any], bool], expected: str, dtype: str = "") -> Any:
    """A field of a settings class.

    Args:
        default: the value when none is given.
        is_valid: from the config to whether this field is in range. int fields are also checked to be whole.
        expected: the range in words, for the error message; `{name}` is replaced by the value of that field.
        dtype: of its tensor, where the field's type does not imply it.
    """
    return dataclasses.field(
        default=default, metadata={"is_valid": is_valid, "expected": expected, "dtype": dtype}
    )


def check_ranges(config: Any) -> None:
    """Raises UserError if a field declared with `setting` is out of range."""
    for field in dataclasses.fields(config):
        if not field.metadata:
            continue
        value = getattr(config, field.name)
        is_valid = field.metadata["is_valid"](config) and (field.type is not int or int(value) == value)
        if not is_valid:
            expected = field.metadata["expected"].format(**vars(config))
            raise UserError(f"{field.name} is {value!r}, expected {expected}. Set another {field.name}.")


def _are_ids(token_ids: tuple[int, ...]) -> bool:
    return all(0 <= each < _INT_LIMIT for each in token_ids)


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """Settings of one generated text. The defaults sample from the model's own distribution.

    Raises:
        UserError: a value is out of range.
    """

    seed: int = setting(0, lambda c: -(2**63) <= c.seed < 2**63, "a whole number of 64 bits", dtype="int64")
    """Random seed, int64. The same seed, prompt and settings give the same text, whatever else is in the batch."""
    temperature: float = setting(
        1.0, lambda c: 0 <= c.temperature < float("inf"), "0 (greedy) or a positive number"
    )
    """Divides the logits before sampling. 0 is greedy decoding: the most likely token."""
    top_k: int = setting(0, lambda c: 0 <= c.top_k < _INT_LIMIT, "0 (off) or a positive whole number")
    """Sample from the k most likely tokens. 0 is off."""
    top_p: float = setting(1.0, lambda c: 0 <= c.top_p <= 1, "a number from 0 to 1 (off)")
    """Nucleus sampling: sample from the smallest set of tokens whose probability mass reaches p. 1 is off."""
    min_p: float = setting(0.0, lambda c: 0 <= c.min_p <= 1, "a number from 0 (off) to 1")
    """Sample from the tokens with at least this fraction of the largest probability. 0 is off."""
    typical_p: float = setting(1.0, lambda c: 0 <= c.typical_p <= 1, "a number from 0 to 1 (off)")
    """Locally typical sampling: sample from the tokens whose surprisal is closest to the entropy, until their
    probability mass reaches p. 1 is off."""
    repetition_penalty: float = setting(
        1.0, lambda c: 0 < c.repetition_penalty < float("inf"), "a positive number, 1 is off"
    )
    """Above 1, tokens of the prompt and of the generated text become less likely. 1 is off."""
    frequency_penalty: float = setting(
        0.0, lambda c: abs(c.frequency_penalty) < float("inf"), "a number, 0 is off"
    )
    """Subtracted from a token's logit once for each occurrence in the generated text, without the prompt. 0 is off."""
    presence_penalty: float = setting(
        0.0, lambda c: abs(c.presence_penalty) < float("inf"), "a number, 0 is off"
    )
    """Subtracted from a token's logit if it occurs in the generated text, without the prompt. 0 is off."""
    no_repeat_ngram_size: int = setting(
        0, lambda c: 0 <= c.no_repeat_ngram_size < _INT_LIMIT, "0 (off) or a positive whole number"
    )
    """No n-gram of this size occurs twice in prompt and generated text together. 0 is off."""
    min_new_tokens: int = setting(
        0,
        lambda c: 0 <= c.min_new_tokens <= max(c.max_new_tokens, 0),
        "a whole number from 0 to max_new_tokens, which is {max_new_tokens}",
    )
    """The end token is masked until this many tokens are generated. A stop string still ends the text."""
    max_new_tokens: int = setting(
        64, lambda c: 0 <= c.max_new_tokens < _INT_LIMIT, "0 or a positive whole number"
    )
    """The largest number of generated tokens, without the end token."""
    slide: bool = False
    """Sliding window: when prompt and generated text fill the context, the model re-reads their last half and
    continues. Without it the text ends there. Models with an encoder never slide."""
    banned_ids: tuple[int, ...] = setting((), lambda c: _are_ids(c.banned_ids), "token ids, 0 and up")
    """Tokens that are never generated."""
    forced_ids: tuple[int, ...] = setting((), lambda c: _are_ids(c.forced_ids), "token ids, 0 and up")
    """The first tokens of the generated text."""
    stop: tuple[str, ...] = setting((), lambda c: all(c.stop), "texts that are not empty")
    """Stop strings: the text ends before the first occurrence of any of them."""
    choices: tuple[str, ...] = setting((), lambda c: all(c.choices), "texts that are not empty")
    """The generated text is exactly one of these. Without choices it is free."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclasses.dataclass(frozen=True)
class BeamConfig:
    """Settings of beam search. The defaults are those of the transformers library, with four beams.

    Raises:
        UserError: a value is out of range.
    """

    beam_size: int = setting(
        4, lambda c: 1 <= c.beam_size <= MAX_BEAM_SIZE, f"a whole number from 1 to {MAX_BEAM_SIZE}"
    )
    """Number of hypotheses kept at each step and returned at the end. 1 is greedy decoding."""
    num_groups: int = setting(
        1,
        lambda c: 1 <= c.num_groups <= c.beam_size,
        "a whole number from 1 to beam_size, which is {beam_size}",
    )
    """Diverse beam search: number of groups, each of beam_size // num_groups beams; the remainder is unused.
    1 is off."""
    diversity_penalty: float = setting(
        0.0, lambda c: 0 <= c.diversity_penalty <= 1000, "a number from 0 (off) to 1000"
    )
    """Subtracted from a token's score for each time that an earlier group chose it at the same step."""
    length_penalty: float = setting(
        1.0, lambda c: abs(c.length_penalty) <= 100, "a number from -100 to 100, 0 is off"
    )
    """Exponent of the length that divides a hypothesis's log-probability. Above 0 favours long texts, below 0 short
    ones; 0 compares log-probabilities."""
    length_offset: float = setting(0.0, lambda c: 0 <= c.length_offset <= 1e6, "a number from 0 to 1000000")
    """Added to the length in the length penalty: 0 as in transformers, 5 as in Wu et al., 2016."""

    def __post_init__(self) -> None:
        check_ranges(self)


SHARED_SETTINGS = (
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "no_repeat_ngram_size",
    "min_new_tokens",
    "max_new_tokens",
    "banned_ids",
    "forced_ids",
)
"""The settings of `DecodingConfig` that beam search has too."""


def settings_lists(config: DecodingConfig | BeamConfig, num_rows: int) -> dict[str, list[Any]]:
    """The config as inputs of a request, the same for every row.

    >>> settings_lists(DecodingConfig(top_k=40, stop=("\\n",)), 2)
    {..., "top_k": [40, 40], ..., "banned_ids": [[-1], [-1]], ..., "stop": [["\\n"], ["\\n"]]}
    """
    return {
        field.name: [_as_input(field, getattr(config, field.name))] * num_rows
        for field in dataclasses.fields(config)
    }


def beam_settings_lists(config: BeamConfig, decoding: DecodingConfig, num_rows: int) -> dict[str, list[Any]]:
    """Both configs as inputs of a `beam` request, the same for every row.

    >>> beam_settings_lists(BeamConfig(beam_size=2), DecodingConfig(max_new_tokens=9), 2)
    {"beam_size": [2, 2], ..., "max_new_tokens": [9, 9], "banned_ids": [[-1], [-1]], ...}
    """
    shared = settings_lists(decoding, num_rows)
    return {**settings_lists(config, num_rows), **{name: shared[name] for name in SHARED_SETTINGS}}


def _as_input(field: dataclasses.Field[Any], value: Any) -> Any:
    """A list of a request has at least one element: an empty list has no dtype as JSON."""
    return (list(value) or [_PADDING[field.type]]) if field.type in _PADDING else value
