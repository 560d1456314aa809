"""The settings of beam search inside a graph: a tensor each, with a value for every row."""

from collections.abc import Mapping

import tensorflow as tf

from tflm.decoding.beam_config import MOST_BEAMS, SHARED_SETTINGS, BeamConfig
from tflm.decoding.config import DecodingConfig
from tflm.decoding.settings import settings_specs, settings_tensors
from tflm.errors import UserError

_DTYPES = {
    "beam_size": tf.int32,
    "num_groups": tf.int32,
    "diversity_penalty": tf.float32,
    "length_penalty": tf.float32,
    "length_offset": tf.float32,
}


def beam_settings_tensors(
    config: BeamConfig, decoding: DecodingConfig, batch_size: int | tf.Tensor
) -> dict[str, tf.Tensor]:
    """Both configs as tensors, the same in every row.

    >>> beam_settings_tensors(BeamConfig(beam_size=3), DecodingConfig(), batch_size=2)["beam_size"]
    [3, 3]

    Args:
        config: a BeamConfig.
        decoding: its settings that `SHARED_SETTINGS` names are taken.
        batch_size: int or int32 scalar.
    Returns:
        A dict of tensors as `beam_settings_specs` says.
    """
    shared = settings_tensors(decoding, batch_size)
    own = {
        name: tf.repeat(tf.constant([getattr(config, name)], dtype), batch_size)
        for name, dtype in _DTYPES.items()
    }
    return {**own, **{name: shared[name] for name in SHARED_SETTINGS}}


def beam_settings_specs() -> dict[str, tf.TensorSpec]:
    """The inputs of a signature that takes every setting of beam search, one value for each row.

    Returns:
        A dict from name to `tf.TensorSpec([None], dtype, name)`, of lists `[None, None]`.
    """
    shared = settings_specs()
    own = {name: tf.TensorSpec([None], dtype, name) for name, dtype in _DTYPES.items()}
    return {**own, **{name: shared[name] for name in SHARED_SETTINGS}}


def check_beam_settings(settings: Mapping[str, tf.Tensor]) -> None:
    """Raises UserError unless `settings` has every setting, of the right dtype and rank, and no other."""
    specs = beam_settings_specs()
    missing, unknown = sorted(specs.keys() - settings.keys()), sorted(settings.keys() - specs.keys())
    if missing or unknown:
        raise UserError(
            f"Beam search settings lack {missing} and have unknown {unknown}. Give exactly {list(specs)}, "
            "for instance from beam_settings_tensors(BeamConfig(), DecodingConfig(), batch_size)."
        )
    for name, expected in specs.items():
        found = settings[name]
        if found.dtype != expected.dtype or found.shape.rank not in (None, expected.shape.rank):
            raise UserError(
                f"Beam search setting {name} is {found.dtype.name} of shape {found.shape}, expected "
                f"{expected.dtype.name} {'[B]' if expected.shape.rank == 1 else '[B, N]'}. Cast or reshape it."
            )


def in_range(settings: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The settings of `BeamConfig`, each value that is out of its range taken as the nearest one inside, NaN as 0."""
    beam_size = tf.clip_by_value(settings["beam_size"], 1, MOST_BEAMS)
    return {
        "beam_size": beam_size,
        "num_groups": tf.clip_by_value(settings["num_groups"], 1, beam_size),
        "diversity_penalty": _clipped(settings["diversity_penalty"], 0.0, 1000.0),
        "length_penalty": _clipped(settings["length_penalty"], -100.0, 100.0),
        "length_offset": _clipped(settings["length_offset"], 0.0, 1e6),
    }


def _clipped(value: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return tf.where(tf.math.is_nan(value), 0.0, tf.clip_by_value(value, low, high))
