"""The settings of generation as keywords: completed by the model's own, checked, and made inputs of a request."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflm.config import from_dict
from tflm.errors import UsageError, UserError
from tflm.generation import BeamConfig, DecodingConfig, beam_settings_lists, settings_lists
from tflm.serving.about import config_section
from tflm.serving.model import Model

_DECODING = tuple(field.name for field in dataclasses.fields(DecodingConfig))
_BEAMS = tuple(field.name for field in dataclasses.fields(BeamConfig))
_TEXTS = ("stop", "choices")
_OTHER_NAMES = {  # of other libraries
    "num_beams": "beam_size",
    "beams": "beam_size",
    "max_tokens": "max_new_tokens",
    "max_length": "max_new_tokens",
    "min_length": "min_new_tokens",
    "do_sample": "temperature",
    "stop_strings": "stop",
    "stop_sequences": "stop",
    "random_seed": "seed",
}


@dataclasses.dataclass(frozen=True)
class GenerationSettings:
    """How a model generates: `model.settings(temperature=0.7)`."""

    decoding: DecodingConfig
    beams: BeamConfig | None = None
    """Of beam search; None to sample, or to decode greedily at temperature 0."""

    def inputs(
        self, model: Model, signature: str, num_rows: int, seeds: Sequence[int] | None = None, **changes: Any
    ) -> dict[str, list[Any]]:
        """Inputs of a request, those that the signature takes: an older export takes fewer.

        Args:
            seeds: one a row; that of the settings when None.
            changes: settings of this request alone, such as `max_new_tokens=10`.
        """
        decoding = dataclasses.replace(self.decoding, **changes)
        lists = settings_lists(decoding, num_rows)
        if self.beams is not None and signature == "beam":
            lists |= beam_settings_lists(self.beams, decoding, num_rows)
        if seeds is not None:
            lists["seed"] = list(seeds)
        takes = model.signatures[signature].inputs
        return {name: value for name, value in lists.items() if name in takes}


def find_settings(
    model: Model, method: str, given: Mapping[str, Any], allow_beams: bool = False, others: Sequence[str] = ()
) -> GenerationSettings:
    """The settings of a model, with those given in place of its own.

    Args:
        method: for messages; "" for none in particular.
        given: name to value, as fields of `DecodingConfig` and `BeamConfig`. A str is a list of one for `stop` and
            `choices`. `beam_size` turns beam search on.
        others: further keywords of the method, for the suggestion of a name.
    Raises:
        UsageError: an unknown setting, one that is out of range, that the export does not have, or that has no part in
            what was asked for.
        UserError: the model's own settings are damaged.
    """
    given = {name: _plain(name, value) for name, value in given.items() if value is not None}
    _check_names(method, given, allow_beams, others)
    own = config_section(model, "decoding")
    try:
        _config(DecodingConfig, own)
    except UsageError as error:
        raise UserError(f"{model.path!r} is damaged: of its own settings {error}") from error
    decoding = _config(
        DecodingConfig, {**own, **{name: value for name, value in given.items() if name in _DECODING}}
    )
    beams = _beams(model, method, given)
    takes = model.signatures["generate"].inputs if "generate" in model.signatures else given
    for name in given:
        if name in _DECODING and name not in takes:
            raise UsageError(
                f"{model.path!r} was exported before there was {name}: it has no such setting. Export it again."
            )
    return GenerationSettings(decoding, beams)


def _beams(model: Model, method: str, given: Mapping[str, Any]) -> BeamConfig | None:
    own = {name: value for name, value in given.items() if name in _BEAMS}
    if not own.get("beam_size"):
        if rest := [name for name in own if name != "beam_size"]:
            raise UsageError(f"{_of(method)}{rest[0]} is a setting of beam search; give beam_size=4 too.")
        return None
    config: BeamConfig = _config(BeamConfig, own)
    if "beam" not in model.signatures:
        raise UserError(
            f"{model.path!r} has no signature 'beam', which beam_size needs; it has {', '.join(model.signatures)}. "
            "Export its run again."
        )
    for name in given:
        if name in _DECODING and name not in model.signatures["beam"].inputs:
            raise UsageError(f"{_of(method)}beam search does not use {name}; leave out {name} or beam_size.")
    return config


def _check_names(method: str, given: Mapping[str, Any], allow_beams: bool, others: Sequence[str]) -> None:
    names = [*_DECODING, *(_BEAMS if allow_beams else ()), *others]
    where = f"{method} has" if method else "there is"
    for name in given:
        if name in names:
            continue
        if name in _BEAMS:
            raise UsageError(
                f"{where} no setting {name}, which is for beam search: generate, translate and summarize have it."
            )
        close = [_OTHER_NAMES[name]] if _OTHER_NAMES.get(name) in names else []
        close = close or difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"The settings are {', '.join(names)}."
        raise UsageError(f"{where} no setting {name}. {hint}")


def _of(method: str) -> str:
    return f"{method}: " if method else ""


def _config(cls: type, values: Mapping[str, Any]) -> Any:
    try:
        return from_dict(cls, values)
    except UserError as error:
        raise UsageError(str(error).removeprefix(f"{cls.__name__}: ")) from error


def _plain(name: str, value: Any) -> Any:
    """NumPy's numbers as Python's; one text as a list."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return [value] if name in _TEXTS and isinstance(value, str) else value
