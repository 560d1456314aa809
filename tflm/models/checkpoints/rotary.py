"""Rotary positions in a config of transformers, in the form of version 4 and in that of version 5."""

import math
from collections.abc import Mapping
from typing import Any

from tflm.errors import UserError


def rotary_fields(theirs: Mapping[str, Any], default_base: float = 10000.0) -> dict[str, Any]:
    """Our fields from `rope_theta` and `rope_scaling`, or from `rope_parameters`, which has both.

    Raises:
        UserError: the kind of scaling is not supported.
    """
    scaling = dict(theirs.get("rope_parameters") or theirs.get("rope_scaling") or {})
    base = scaling.get("rope_theta", theirs.get("rope_theta", default_base))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    fields: dict[str, Any] = {"rotary_base": float(base)}
    if scaling.get("partial_rotary_factor", theirs.get("partial_rotary_factor", 1.0)) != 1.0:
        raise UserError(
            "partial_rotary_factor is not 1: rotary positions of a part of a head are not supported."
        )
    if kind == "default":
        return fields
    if kind not in _READERS or scaling.get("truncate", True) is not True:
        raise UserError(
            f"this model scales its rotary positions by {kind!r}; supported: {', '.join(_READERS)}. Choose another "
            "checkpoint."
        )
    scaling.setdefault("original_max_position_embeddings", theirs.get("max_position_embeddings", 0))
    try:
        return {**fields, "rotary_scaling": kind, **_READERS[kind](scaling)}
    except (KeyError, TypeError) as error:
        raise UserError(f"the rotary scaling of this model is not complete: {scaling}, {error!r}.") from error


def rotary_keys(config: Any) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling` of our config, which both versions read."""
    keys: dict[str, Any] = {"rope_theta": config.rotary_base}
    if config.rotary_scaling:
        scaling = {"rope_type": config.rotary_scaling, "factor": config.rotary_factor}
        if config.rotary_scaling == "llama3":
            scaling |= {
                "low_freq_factor": config.rotary_low_turns,
                "high_freq_factor": config.rotary_high_turns,
            }
        if config.rotary_scaling == "yarn":
            scaling |= {
                "beta_slow": config.rotary_low_turns,
                "beta_fast": config.rotary_high_turns,
                "attention_factor": config.rotary_magnitude,
            }
        if config.rotary_scaling != "linear":
            scaling["original_max_position_embeddings"] = config.rotary_original_length
        keys["rope_scaling"] = scaling
    return keys


def _linear(scaling: Mapping[str, Any]) -> dict[str, Any]:
    return {"rotary_factor": float(scaling["factor"])}


def _llama3(scaling: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rotary_factor": float(scaling["factor"]),
        "rotary_original_length": int(scaling["original_max_position_embeddings"]),
        "rotary_low_turns": float(scaling["low_freq_factor"]),
        "rotary_high_turns": float(scaling["high_freq_factor"]),
    }


def _yarn(scaling: Mapping[str, Any]) -> dict[str, Any]:
    """The magnitude is 0.1 ln(factor) + 1 unless another is given (Peng et al., 2023, equation 22)."""
    factor = float(scaling["factor"])
    magnitude = scaling.get("attention_factor")
    if magnitude is None:
        one, other = scaling.get("mscale"), scaling.get("mscale_all_dim")
        magnitude = (
            _magnitude(factor, one) / _magnitude(factor, other) if one and other else _magnitude(factor, 1.0)
        )
    return {
        "rotary_factor": factor,
        "rotary_original_length": int(scaling["original_max_position_embeddings"]),
        "rotary_low_turns": float(scaling.get("beta_slow") or 1),
        "rotary_high_turns": float(scaling.get("beta_fast") or 32),
        "rotary_magnitude": float(magnitude),
    }


def _magnitude(factor: float, share: float) -> float:
    return 0.1 * share * math.log(factor) + 1.0 if factor > 1 else 1.0


_READERS = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}
