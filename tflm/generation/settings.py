"""The settings of generation inside the graph: one tensor each, with a value for every row of the batch.

Names, order, dtypes and defaults come from the fields of `DecodingConfig` and `BeamConfig`. Settings travel as one dict
from name to tensor.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tflm.errors import UserError
from tflm.generation.config import (
    MAX_BEAM_SIZE,
    SHARED_SETTINGS,
    BeamConfig,
    DecodingConfig,
    beam_settings_lists,
    settings_lists,
)

Settings = Mapping[str, tf.Tensor]

_DTYPES: dict[Any, tf.DType] = {
    int: tf.int32,
    float: tf.float32,
    bool: tf.bool,
    tuple[int, ...]: tf.int32,
    tuple[str, ...]: tf.string,
}
_LISTS = (tuple[int, ...], tuple[str, ...])


def settings_tensors(config: DecodingConfig, batch_size: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """The config as tensors, the same for every row.

    >>> settings_tensors(DecodingConfig(top_k=40), batch_size=2)["top_k"]
    [40, 40]

    Args:
        config: a DecodingConfig.
        batch_size: int or int32 scalar.
    Returns:
        A dict of tensors as `settings_specs` describes them.
    """
    return _tensors(settings_lists(config, 1), settings_specs(), batch_size)


def settings_specs() -> dict[str, tf.TensorSpec]:
    """The inputs of a signature that takes every setting of `DecodingConfig`, one value for each row.

    Returns:
        A dict from name to `tf.TensorSpec([None], dtype, name)`, `[None, None]` for lists, in the order of the
        fields. Lists are padded with -1 or "".
    """
    return _specs(DecodingConfig)


def check_settings(settings: Settings) -> None:
    """Raises UserError unless `settings` has exactly the settings of `settings_specs`, of their dtypes and ranks."""
    _check(settings, settings_specs(), "Generation", "settings_tensors(DecodingConfig(), batch_size)")


def beam_settings_tensors(
    config: BeamConfig, decoding: DecodingConfig, batch_size: int | tf.Tensor
) -> dict[str, tf.Tensor]:
    """Both configs as tensors, the same for every row.

    >>> beam_settings_tensors(BeamConfig(beam_size=3), DecodingConfig(), batch_size=2)["beam_size"]
    [3, 3]

    Args:
        config: a BeamConfig.
        decoding: provides the settings in `SHARED_SETTINGS`.
        batch_size: int or int32 scalar.
    Returns:
        A dict of tensors as `beam_settings_specs` describes them.
    """
    return _tensors(beam_settings_lists(config, decoding, 1), beam_settings_specs(), batch_size)


def beam_settings_specs() -> dict[str, tf.TensorSpec]:
    """The inputs of a signature that takes every setting of beam search, one value for each row.

    Returns:
        A dict from name to `tf.TensorSpec([None], dtype, name)`, `[None, None]` for lists.
    """
    shared = settings_specs()
    return {**_specs(BeamConfig), **{name: shared[name] for name in SHARED_SETTINGS}}


def check_beam_settings(settings: Settings) -> None:
    """Raises UserError unless `settings` has exactly the settings of `beam_settings_specs`, of their dtypes and
    ranks."""
    example = "beam_settings_tensors(BeamConfig(), DecodingConfig(), batch_size)"
    _check(settings, beam_settings_specs(), "Beam search", example)


def clip_beam_settings(settings: Settings) -> dict[str, tf.Tensor]:
    """The settings of `BeamConfig`, each clipped to its range; NaN becomes 0."""
    beam_size = tf.clip_by_value(settings["beam_size"], 1, MAX_BEAM_SIZE)
    return {
        "beam_size": beam_size,
        "num_groups": tf.clip_by_value(settings["num_groups"], 1, beam_size),
        "diversity_penalty": _clip(settings["diversity_penalty"], 0.0, 1000.0),
        "length_penalty": _clip(settings["length_penalty"], -100.0, 100.0),
        "length_offset": _clip(settings["length_offset"], 0.0, 1e6),
    }


def repeat_rows(values: Any, count: tf.Tensor) -> Any:
    """Each row `count` times, one after the other: tensors [B, ...] become [B * count, ...], and scalars stay.

    >>> repeat_rows([[1, 2], [3, 4]], 2)
    [[1, 2], [1, 2], [3, 4], [3, 4]]

    One index serves all tensors: each `tf.repeat` adds thirty operations to a graph.

    Args:
        values: a tensor or a structure of tensors, all with B rows.
        count: int or int32 scalar.
    """
    leaves = [leaf for leaf in tf.nest.flatten(values) if leaf.shape.rank]
    index = tf.range(tf.shape(leaves[0])[0] * count) // count
    return tf.nest.map_structure(lambda leaf: tf.gather(leaf, index) if leaf.shape.rank else leaf, values)


def _clip(value: tf.Tensor, low: float, high: float) -> tf.Tensor:
    return tf.where(tf.math.is_nan(value), 0.0, tf.clip_by_value(value, low, high))


def _specs(config_class: type) -> dict[str, tf.TensorSpec]:
    specs = {}
    for field in dataclasses.fields(config_class):
        dtype = tf.as_dtype(field.metadata.get("dtype") or _DTYPES[field.type])
        specs[field.name] = tf.TensorSpec([None, None] if field.type in _LISTS else [None], dtype, field.name)
    return specs


def _tensors(
    row: Mapping[str, list[Any]], specs: Mapping[str, tf.TensorSpec], batch_size: int | tf.Tensor
) -> dict[str, tf.Tensor]:
    """One row of inputs, repeated `batch_size` times."""
    index = tf.zeros([batch_size], tf.int32)
    return {name: tf.gather(tf.constant(row[name], spec.dtype), index) for name, spec in specs.items()}


def _check(settings: Settings, specs: Mapping[str, tf.TensorSpec], method: str, example: str) -> None:
    missing, unknown = sorted(specs.keys() - settings.keys()), sorted(settings.keys() - specs.keys())
    if missing or unknown:
        raise UserError(
            f"{method} settings lack {missing} and have unknown {unknown}. "
            f"Give exactly {list(specs)}, for instance from {example}."
        )
    for name, expected in specs.items():
        found = settings[name]
        if found.dtype != expected.dtype or found.shape.rank not in (None, expected.shape.rank):
            raise UserError(
                f"{method} setting {name} is {found.dtype.name} of shape {found.shape}, expected "
                f"{expected.dtype.name} {'[B]' if expected.shape.rank == 1 else '[B, N]'}. Cast or reshape it."
            )
