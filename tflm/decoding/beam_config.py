"""The settings of beam search: their defaults and their checks. Free of TensorFlow, for clients of a server."""

import dataclasses
from typing import Any

from tflm.decoding.config import DecodingConfig, settings_lists
from tflm.errors import UserError

MOST_BEAMS = 64
"""The largest beam_size. Every beam has a model's state of its own, so a request could otherwise take all memory."""

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


@dataclasses.dataclass(frozen=True)
class BeamConfig:
    """How beams are searched. The defaults are those of the transformers library, with four beams.

    Raises:
        UserError: a value lies outside its range.
    """

    beam_size: int = 4
    """How many texts are kept at every step, and how many are given at the end. 1 is greedy."""
    num_groups: int = 1
    """The beams are parted into so many groups of beam_size // num_groups that avoid each other's tokens; beams that
    are left over are not used. 1 is off."""
    diversity_penalty: float = 0.0
    """Taken off a token's score for each time that an earlier group chose it at the same step."""
    length_penalty: float = 1.0
    """Above 0 favours long texts, below 0 short ones: the power of the length that a text's log-probability is divided
    by. 0 compares plain log-probabilities."""
    length_offset: float = 0.0
    """Added to the length before. 0 is as in transformers, 5 as in Wu et al. 2016."""

    def __post_init__(self) -> None:
        self._check("beam_size", 1 <= self.beam_size <= MOST_BEAMS, f"a whole number from 1 to {MOST_BEAMS}")
        self._check(
            "num_groups",
            1 <= self.num_groups <= self.beam_size,
            f"a whole number from 1 to beam_size, which is {self.beam_size}",
        )
        self._check("diversity_penalty", 0 <= self.diversity_penalty <= 1000, "a number from 0 (off) to 1000")
        self._check("length_penalty", abs(self.length_penalty) <= 100, "a number from -100 to 100, 0 is off")
        self._check("length_offset", 0 <= self.length_offset <= 1e6, "a number from 0 to 1000000")

    def _check(self, name: str, is_valid: bool, expected: str) -> None:
        value = getattr(self, name)
        is_whole = name not in ("beam_size", "num_groups") or int(value) == value
        if not (is_valid and is_whole):
            raise UserError(f"{name} is {value!r}, expected {expected}. Set another {name}.")


def beam_settings_lists(config: BeamConfig, decoding: DecodingConfig, num_rows: int) -> dict[str, list[Any]]:
    """Both configs as the inputs of a request, the same in every row.

    >>> beam_settings_lists(BeamConfig(beam_size=2), DecodingConfig(max_new_tokens=9), 2)
    {"beam_size": [2, 2], ..., "max_new_tokens": [9, 9], "banned_ids": [[-1], [-1]], ...}
    """
    shared = settings_lists(decoding, num_rows)
    own = {name: [value] * num_rows for name, value in dataclasses.asdict(config).items()}
    return {**own, **{name: shared[name] for name in SHARED_SETTINGS}}
