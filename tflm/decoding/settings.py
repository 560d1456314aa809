"""The settings of generation inside a graph: a tensor each, with a value for every row."""

from collections.abc import Mapping

import tensorflow as tf

from tflm.decoding.config import DecodingConfig, settings_lists
from tflm.errors import UserError

_DTYPES = {
    "seed": tf.int64,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "min_p": tf.float32,
    "typical_p": tf.float32,
    "repetition_penalty": tf.float32,
    "frequency_penalty": tf.float32,
    "presence_penalty": tf.float32,
    "no_repeat_ngram_size": tf.int32,
    "min_new_tokens": tf.int32,
    "max_new_tokens": tf.int32,
    "slide": tf.bool,
    "banned_ids": tf.int32,
    "forced_ids": tf.int32,
    "stop": tf.string,
    "choices": tf.string,
}
_LISTS = ("banned_ids", "forced_ids", "stop", "choices")


def settings_tensors(config: DecodingConfig, batch_size: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """The config as tensors, the same in every row.

    >>> settings_tensors(DecodingConfig(top_k=40), batch_size=2)["top_k"]
    [40, 40]

    Args:
        config: a DecodingConfig.
        batch_size: int or int32 scalar.
    Returns:
        A dict of tensors as `settings_specs` says.
    """
    rows = settings_lists(config, 1)
    return {
        name: tf.repeat(tf.constant(rows[name], dtype), batch_size, axis=0) for name, dtype in _DTYPES.items()
    }


def settings_specs() -> dict[str, tf.TensorSpec]:
    """The inputs of a signature that takes every setting, one value for each row.

    Returns:
        A dict from name to `tf.TensorSpec([None], dtype, name)`, of lists `[None, None]`, in the order of
        docs/architecture.md. A list is filled up with -1 or "".
    """
    return {
        name: tf.TensorSpec([None, None] if name in _LISTS else [None], dtype, name)
        for name, dtype in _DTYPES.items()
    }


def check_settings(settings: Mapping[str, tf.Tensor]) -> None:
    """Raises UserError unless `settings` has every setting, of the right dtype and rank, and no other."""
    missing, unknown = sorted(_DTYPES.keys() - settings.keys()), sorted(settings.keys() - _DTYPES.keys())
    if missing or unknown:
        raise UserError(
            f"Generation settings lack {missing} and have unknown {unknown}. "
            f"Give exactly {list(_DTYPES)}, for instance from settings_tensors(DecodingConfig(), batch_size)."
        )
    for name, expected in settings_specs().items():
        found, shape = settings[name].dtype, "[B, N]" if name in _LISTS else "[B]"
        if found != expected.dtype or settings[name].shape.rank not in (None, expected.shape.rank):
            raise UserError(
                f"Generation setting {name} is {found.name} of shape {settings[name].shape}, expected "
                f"{expected.dtype.name} {shape}. Cast or reshape it."
            )
