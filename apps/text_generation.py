"""What the apps that write text share: their flags, and requests to the signatures `generate` and `beam`."""

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from apps.items import Record
from apps.model_flag import check_signature, define_model, open_model
from tflm.errors import UsageError, UserError

if TYPE_CHECKING:
    from tflm.decoding.beam_config import BeamConfig

_SETTINGS: dict[str, tuple[type, str]] = {
    "seed": (int, "Same seed, same text."),
    "temperature": (float, "0 takes the likeliest token; higher is more varied."),
    "top_k": (int, "Sample from the k likeliest tokens; 0 is off."),
    "top_p": (float, "Sample from the likeliest tokens that together reach p; 1 is off."),
    "min_p": (float, "Leave out tokens less than min_p times as likely as the likeliest; 0 is off."),
    "typical_p": (
        float,
        "Sample from the tokens of the most usual surprise that together reach p; 1 is off.",
    ),
    "repetition_penalty": (float, "Above 1: what was said becomes less likely."),
    "frequency_penalty": (float, "Above 0: a token becomes less likely each time that it was written."),
    "presence_penalty": (float, "Above 0: a token that was written becomes less likely."),
    "no_repeat_ngram_size": (int, "No so many tokens in a row come twice; 0 is off."),
    "min_new_tokens": (int, "No end before so many tokens."),
    "max_new_tokens": (int, "The end after so many tokens at the latest."),
    "slide": (bool, "Go on where the model's context is full; it then sees the last half of it."),
    "stop": (str, "The text ends before this; \\n is a line end. Give the flag again for a further one."),
    "choices": (str, "The text is this, or another that the flag is given again for; \\n is a line end."),
    "banned_ids": (list, "Tokens that are not written: ids, as 5,17."),
    "forced_ids": (list, "Tokens that the text begins with: ids, as 5,17."),
}
_BEAMS: dict[str, tuple[type, str]] = {
    "beam_size": (int, "Above 0: beam search for the likeliest text, with so many beams. At most 64."),
    "length_penalty": (float, "Of beams: above 0 favours long texts, below 0 short ones; 1 by default."),
    "length_offset": (float, "Of beams: added to the length; 0 by default, 5 is that of Wu et al., 2016."),
    "num_groups": (int, "Of beams: so many groups of them, that avoid each other's tokens; 1 by default."),
    "diversity_penalty": (float, "Of beams: how much a group avoids the tokens of those before it."),
}


def define_generation(flag_values: flags.FlagValues) -> None:
    """--model, and the settings of generation; what is not given is as the export says."""
    define_model(flag_values)
    define: dict[type, Any] = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_boolean,
        str: flags.DEFINE_multi_string,
        list: flags.DEFINE_list,
    }
    for name, (kind, help_text) in _SETTINGS.items():
        define[kind](name, None, help_text, flag_values=flag_values)


def define_beams(flag_values: flags.FlagValues) -> None:
    """--beam_size, the other settings of beam search, and --num_best."""
    for name, (kind, help_text) in _BEAMS.items():
        define = flags.DEFINE_integer if kind is int else flags.DEFINE_float
        define(name, None, help_text, flag_values=flag_values)
    flags.DEFINE_integer(
        "num_best",
        1,
        "Of beams: how many of the best texts to print, each after its score.",
        lower_bound=1,
        flag_values=flag_values,
    )


class Generator:
    """A SavedModel with a `generate` signature, and the settings of the command line.

    Raises:
        UsageError: no --model, or a setting out of range.
        UserError: no SavedModel there, or one that does not generate, or that has no beams where --beam_size asks.
    """

    def __init__(self, flag_values: flags.FlagValues) -> None:
        self.beams = _read_beams(flag_values) if "beam_size" in flag_values else None
        """How beams are searched; None where they are not."""
        self.num_best = flag_values.num_best if self.beams else 1
        self.model = open_model(flag_values, "generate")
        if self.beams:
            check_signature(self.model, "beam", "--beam_size")
        given = {
            name: parsed_setting(name, flag_values[name].value)
            for name in _SETTINGS
            if flag_values[name].value is not None
        }
        own = self.model.config.get("decoding", {})
        try:
            _checked(own)
        except UsageError as error:
            raise UserError(f"{self.model.path!r} is damaged: of its own settings {error}") from error
        self.settings = _checked({**own, **given})
        for name in given:
            self._check_taken(name)

    def change(self, name: str, text: str) -> None:
        """Sets one setting for the answers to come, as `temperature` and "0.7", or `stop` and "。"; "" empties a list.

        Raises:
            UsageError: there is no such setting, or the value is out of range.
        """
        self.settings = _checked({**self.settings, name: _read_setting(name, text)})
        self._check_taken(name)

    def inputs(self, num_rows: int, signature: str = "generate", **changes: Any) -> dict[str, list[Any]]:
        """The settings as inputs of a request; an older export takes fewer."""
        from tflm.config import from_dict
        from tflm.decoding import DecodingConfig, settings_lists

        lists = settings_lists(from_dict(DecodingConfig, {**self.settings, **changes}), num_rows)
        takes = self.model.signatures[signature].inputs
        return {name: value for name, value in lists.items() if name in takes}

    def _check_taken(self, name: str) -> None:
        if name not in self.model.signatures["generate"].inputs:
            raise UsageError(
                f"{self.model.path!r} was exported before there was {name}: it has no such setting. Export it again."
            )

    def __call__(
        self, texts: Sequence[str], seeds: Sequence[int] | None = None, **changes: Any
    ) -> list[Record]:
        """For each text a record with `text`, `num_tokens` and `log_probability`.

        Args:
            seeds: one for each text; that of the settings when None.
            changes: settings of this call alone, such as `max_new_tokens=10`.
        """
        inputs = self.inputs(len(texts), **changes)
        if seeds is not None:
            inputs["seed"] = list(seeds)
        return _records(self.model.predict("generate", {"text": list(texts), **inputs}))

    def samples(self, texts: Sequence[str], number: int) -> list[list[Record]]:
        """For each text so many records as of a call, and in each its `seed`; they count up from that of the settings.
        All in one request."""
        first = self.settings["seed"]
        seeds = range(first, first + number)
        found = iter(self([text for text in texts for _ in seeds], [*seeds] * len(texts)))
        return [[{"seed": seed, **next(found)} for seed in seeds] for _ in texts]

    def best(self, texts: Sequence[str]) -> list[list[Record]]:
        """For each text the records of the --num_best likeliest texts that beams found, the best first, with `score`
        beside what a call gives. Without --beam_size what a call gives, alone.

        Where fewer were found there are fewer; where none, one "" with None for its numbers, as nothing is possible.
        """
        if self.beams is None:
            return [[record] for record in self(texts)]
        from tflm.config import from_dict
        from tflm.decoding import DecodingConfig
        from tflm.decoding.beam_config import beam_settings_lists

        settings = from_dict(DecodingConfig, self.settings)
        inputs = {**self.inputs(len(texts)), **beam_settings_lists(self.beams, settings, len(texts))}
        takes = self.model.signatures["beam"].inputs
        request = {name: value for name, value in inputs.items() if name in takes}
        outputs = self.model.predict("beam", {"text": list(texts), **request})
        # What is told of a row as a whole is left out.
        columns = {name: value for name, value in outputs.items() if value.ndim == 2}
        rows = [_records({name: value[row] for name, value in columns.items()}) for row in range(len(texts))]
        nothing = {"text": "", "num_tokens": 0, "log_probability": None, "score": None}
        return [
            [each for each in records if math.isfinite(each["score"])][: self.num_best] or [nothing]
            for records in rows
        ]


def scores_of(record: Record) -> Record:
    """What a record of `Generator.best` tells of its text; nothing where no beams were searched."""
    return {name: record[name] for name in ("score", "log_probability")} if "score" in record else {}


def with_score(record: Record, text: str, num_best: int) -> str:
    """A text as it is printed: where there are several, after its score and a tab."""
    if num_best == 1:
        return text
    return ("none" if record["score"] is None else f"{record['score']:.4f}") + "\t" + text


def _records(outputs: Mapping[str, Any]) -> list[Record]:
    """Columns [B] as records."""
    # An older export tells less; what is told of a beam is told of its score.
    names = ["num_tokens", "log_probability", *(name for name in ("score", "truncated") if name in outputs)]
    reasons = outputs.get("finish_reason", [b""] * len(outputs["text"]))
    columns = zip(reasons, *(outputs[name].tolist() for name in ("text", *names)), strict=True)
    return [
        {
            "text": text.decode("utf-8"),
            **dict(zip(names, told, strict=True)),
            **({"finish_reason": reason.decode()} if reason else {}),
        }
        for reason, text, *told in columns
    ]


def _read_beams(flag_values: flags.FlagValues) -> "BeamConfig | None":
    """What the flags say of beam search; None where nothing.

    Raises:
        UsageError: a value out of range, or flags that do not go together.
    """
    from tflm.config import from_dict
    from tflm.decoding.beam_config import SHARED_SETTINGS, BeamConfig

    given = {name: flag_values[name].value for name in _BEAMS if flag_values[name].value is not None}
    if not given.get("beam_size"):
        rest = [name for name in given if name != "beam_size"] + ["num_best"] * (flag_values.num_best > 1)
        if rest:
            raise UsageError(f"--{rest[0]} is for beam search: give --beam_size=4 beside it.")
        return None
    for name in _SETTINGS:
        if flag_values[name].value is not None and name not in (*SHARED_SETTINGS, "stop", "choices"):
            raise UsageError(
                f"--{name} has no part in beam search, which draws nothing and looks for the likeliest text: leave "
                f"out --{name} or --beam_size."
            )
    try:
        config = from_dict(BeamConfig, given)
    except UserError as error:
        raise UsageError(str(error).removeprefix("BeamConfig: ")) from error
    if flag_values.num_best > config.beam_size:
        raise UsageError(
            f"--num_best={flag_values.num_best}: {config.beam_size} beams give {config.beam_size} texts at most. "
            "Raise --beam_size."
        )
    return config


def parsed_setting(name: str, value: Any) -> Any:
    """A flag's value as a setting.

    Raises:
        UsageError: ids that are no numbers.
    """
    if _SETTINGS[name][0] is str:
        return [with_line_ends(each) for each in value]
    if _SETTINGS[name][0] is not list:
        return value
    try:
        return [int(each) for each in value]
    except ValueError as error:
        raise UsageError(f"--{name} takes token ids, as --{name}=5,17; got {','.join(value)!r}.") from error


def _read_setting(name: str, text: str) -> Any:
    """What stands after `/set NAME=`; what no setting can take stays as it is, for `_checked` to refuse."""
    kind = _SETTINGS.get(name, (float, ""))[0]
    if kind is str:
        return [with_line_ends(text)] if text else []
    if kind is list:
        return parsed_setting(name, text.split(",") if text else [])
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def with_line_ends(text: str) -> str:
    """What was typed with \\n for a line end, and \\\\ for a backslash where one stands before an n or a backslash.

    >>> with_line_ends("a\\\\nb")
    'a\\nb'
    """
    return re.sub(r"\\([n\\])", lambda found: "\n" if found[1] == "n" else "\\", text)


def one_line(text: str) -> str:
    """The words of a text with single spaces between.

    >>> one_line(" a\\n b")
    'a b'
    """
    return " ".join(text.split())


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """All settings, with the defaults of those that are not given."""
    from tflm.config import from_dict, to_dict
    from tflm.decoding import DecodingConfig

    try:
        return to_dict(from_dict(DecodingConfig, settings))
    except UserError as error:
        raise UsageError(str(error).removeprefix("DecodingConfig: ")) from error
