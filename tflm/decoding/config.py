"""The settings of generation: their defaults, their checks, and their form inside a graph."""

import dataclasses

import tensorflow as tf

from tflm.errors import UserError

_DTYPES = {
    "seed": tf.int64,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "min_p": tf.float32,
    "repetition_penalty": tf.float32,
    "min_new_tokens": tf.int32,
    "max_new_tokens": tf.int32,
}


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
    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and of the text so far become less likely. 1 is off."""
    min_new_tokens: int = 0
    """The text cannot end before it has this many tokens."""
    max_new_tokens: int = 64
    """The text ends here at the latest. The end token does not count."""

    def __post_init__(self) -> None:
        limit = 2**31
        self._check("seed", -(2**63) <= self.seed < 2**63, "a whole number of 64 bits")
        self._check("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or a positive number")
        self._check("top_k", 0 <= self.top_k < limit, "0 (off) or a positive whole number")
        self._check("top_p", 0 <= self.top_p <= 1, "a number from 0 to 1 (off)")
        self._check("min_p", 0 <= self.min_p <= 1, "a number from 0 (off) to 1")
        self._check(
            "repetition_penalty", 0 < self.repetition_penalty < float("inf"), "a positive number, 1 is off"
        )
        self._check("max_new_tokens", 0 <= self.max_new_tokens < limit, "0 or a positive whole number")
        self._check(
            "min_new_tokens",
            0 <= self.min_new_tokens <= self.max_new_tokens,
            f"a whole number from 0 to max_new_tokens, which is {self.max_new_tokens}",
        )

    def _check(self, name: str, is_valid: bool, expected: str) -> None:
        value = getattr(self, name)
        if not is_valid:
            raise UserError(f"{name} is {value!r}, expected {expected}. Set another {name}.")
        if _DTYPES[name].is_integer and int(value) != value:
            raise UserError(f"{name} is {value!r}, expected a whole number. Set another {name}.")


def settings_tensors(config: DecodingConfig, batch_size: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """The config as tensors, the same in every row.

    >>> settings_tensors(DecodingConfig(top_k=40), batch_size=2)["top_k"]
    [40, 40]

    Args:
        config: a DecodingConfig.
        batch_size: int or int32 scalar.
    Returns:
        A dict of [B] tensors named after the fields: `seed` int64; `top_k`, `min_new_tokens` and
        `max_new_tokens` int32; `temperature`, `top_p`, `min_p` and `repetition_penalty` float32.
    """
    return {
        name: tf.fill([batch_size], tf.constant(getattr(config, name), dtype))
        for name, dtype in _DTYPES.items()
    }


def settings_specs() -> dict[str, tf.TensorSpec]:
    """The inputs of a signature that takes every setting, one value for each row.

    Returns:
        A dict from name to `tf.TensorSpec([None], dtype, name)`, in the order of docs/architecture.md.
    """
    return {name: tf.TensorSpec([None], dtype, name) for name, dtype in _DTYPES.items()}


def check_settings(settings: dict[str, tf.Tensor]) -> None:
    """Raises UserError unless `settings` has every setting, of the right dtype, and no other."""
    missing, unknown = sorted(_DTYPES.keys() - settings.keys()), sorted(settings.keys() - _DTYPES.keys())
    if missing or unknown:
        raise UserError(
            f"Generation settings lack {missing} and have unknown {unknown}. "
            f"Give exactly {list(_DTYPES)}, for instance from settings_tensors(DecodingConfig(), batch_size)."
        )
    for name, expected in _DTYPES.items():
        found = settings[name].dtype
        if found != expected:
            raise UserError(
                f"Generation setting {name} is {found.name}, expected {expected.name} [B]. Cast it."
            )
