"""What the apps that generate text share: their flags, and how a generated text is printed."""

import contextlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.errors import UsageError, UserError

from .items import Record
from .model_flag import check_signature, define_model, open_model

if TYPE_CHECKING:
    from tflm.serving.handle.results import Generated

_SETTINGS: dict[str, tuple[type, str]] = {
    "seed": (int, "Seed of sampling: the same seed, prompt and settings give the same text."),
    "temperature": (
        float,
        "Sampling temperature: 0 is greedy decoding, 1 the model's own distribution, higher is more varied. Example: "
        "0.7.",
    ),
    "top_k": (int, "Top-k sampling: keep the k most probable tokens. 0 is off. Example: 40."),
    "top_p": (
        float,
        "Top-p (nucleus) sampling: keep the smallest set of tokens whose probability mass reaches p. 1 is off. "
        "Example: 0.9.",
    ),
    "min_p": (
        float,
        "Min-p sampling: drop tokens with less than this fraction of the highest probability. 0 is off. Example: 0.05.",
    ),
    "typical_p": (
        float,
        "Locally typical sampling: keep the tokens whose surprisal is nearest to the entropy, up to a probability "
        "mass of p. 1 is off. Example: 0.95.",
    ),
    "repetition_penalty": (
        float,
        "Above 1, tokens of the prompt and the text so far become less likely. 1 is off. Example: 1.2.",
    ),
    "frequency_penalty": (
        float,
        "Subtracted from the logit of a token for each time it was generated. 0 is off. Example: 0.5.",
    ),
    "presence_penalty": (
        float,
        "Subtracted once from the logit of every token that was generated. 0 is off. Example: 0.5.",
    ),
    "no_repeat_ngram_size": (int, "No n-gram of this many tokens occurs twice. 0 is off. Example: 3."),
    "min_new_tokens": (int, "The minimum number of tokens to generate."),
    "max_new_tokens": (int, "The maximum number of tokens to generate."),
    "slide": (
        bool,
        "Continue when the model's context is full, with the last half of it as the new context.",
    ),
    "stop": (str, "Stop before this string; \\n is a line end."),
    "choices": (str, "Generate one of these strings and nothing else; \\n is a line end."),
    "banned_ids": (list, "Ids of tokens that are never generated. Example: 5,17."),
    "forced_ids": (list, "Ids of the tokens that the text begins with. Example: 5,17."),
}
_AS_EXPORTED = "Default: as exported."
_BEAMS: dict[str, tuple[type, str]] = {
    "beam_size": (int, "Beam search with this many beams, at most 64, instead of sampling. Example: 4."),
    "length_penalty": (
        float,
        "With --beam_size: the power of the length that log-probabilities are divided by. Above 0 favours long texts, "
        "below 0 short ones. 1 if not given.",
    ),
    "length_offset": (
        float,
        "With --beam_size: added to the length before --length_penalty. 0 if not given; 5 is that of Wu et al. (2016).",
    ),
    "num_groups": (
        int,
        "With --beam_size: diverse beam search with this many groups of beams. 1 (off) if not given.",
    ),
    "diversity_penalty": (
        float,
        "With --num_groups: subtracted from the score of a token for each earlier group that chose it at the same "
        "step. 0 if not given.",
    ),
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
        define[kind](name, None, f"{help_text} {_AS_EXPORTED}", flag_values=flag_values)


def define_beams(flag_values: flags.FlagValues) -> None:
    """--beam_size, the other settings of beam search, and --num_best."""
    for name, (kind, help_text) in _BEAMS.items():
        define = flags.DEFINE_integer if kind is int else flags.DEFINE_float
        define(name, None, help_text, flag_values=flag_values)
    flags.DEFINE_integer(
        "num_best",
        1,
        "With --beam_size: how many of the best texts to print, each after its score.",
        lower_bound=1,
        flag_values=flag_values,
    )


class CommandLineGenerator:
    """The model of --model, and the settings of generation of the command line.

    Attributes:
        model: its `ModelHandle`.
        given: the settings that were given, as keywords of its methods.
        settings: all of them, the model's own for those that were not given.
        num_best: how many texts of beam search to print.

    Raises:
        UsageError: no --model, or a setting out of range.
        UserError: no SavedModel there, or one that does not generate, or that has no beams where --beam_size asks.
    """

    def __init__(self, flag_values: flags.FlagValues) -> None:
        beams = _read_beams(flag_values) if "beam_size" in flag_values else {}
        self.has_beams = bool(beams)
        self.num_best = flag_values.num_best if beams else 1
        self.batch_size = flag_values.batch_size
        self.model = open_model(flag_values, "generate")
        if beams:
            check_signature(self.model, "beam", "--beam_size")
        self.given = beams | {
            name: parsed_setting(name, flag_values[name].value)
            for name in _SETTINGS
            if flag_values[name].value is not None
        }
        self.settings = self.model.settings(**self.given)

    def __call__(self, texts: Sequence[str]) -> list["Generated"]:
        """A generated text for each."""
        return self.model.generate(list(texts), return_details=True, batch_size=self.batch_size, **self.given)

    def best(self, generated: "Generated") -> list["Generated"]:
        """The --num_best likeliest texts that beam search found, the best first; without it the one text.

        Where fewer were found there are fewer; where none, one "" without numbers, as nothing is possible.
        """
        return list(generated.beams[: self.num_best]) or [generated]

    def record(self, generated: "Generated") -> Record:
        """A generated text as JSON: what the export reports of it."""
        record = {name: getattr(generated, name) for name in ("text", "num_tokens", "log_probability")}
        if self.has_beams:
            record["score"] = generated.score
        if generated.truncated is not None:
            record["truncated"] = generated.truncated
        if generated.finish_reason:
            record["finish_reason"] = generated.finish_reason
        return record

    def facts(self, generated: "Generated") -> Record:
        """What is printed with a text as JSON: of beam search its numbers, and `truncated`."""
        record = self.record(generated)
        names = ("score", "log_probability", "truncated") if self.has_beams else ("truncated",)
        return {name: record[name] for name in names if name in record}


def with_score(record: Record, text: str, num_best: int) -> str:
    """A text as it is printed: where there are several, after its score and a tab."""
    if num_best == 1:
        return text
    return ("none" if record["score"] is None else f"{record['score']:.4f}") + "\t" + text


def _read_beams(flag_values: flags.FlagValues) -> dict[str, Any]:
    """The settings of beam search that the flags give; empty without --beam_size.

    Raises:
        UsageError: a value out of range, or flags that do not go together.
    """
    from tflm.config import from_dict
    from tflm.generation.config import SHARED_SETTINGS, BeamConfig

    given = {name: flag_values[name].value for name in _BEAMS if flag_values[name].value is not None}
    if not given.get("beam_size"):
        rest = [name for name in given if name != "beam_size"] + ["num_best"] * (flag_values.num_best > 1)
        if rest:
            raise UsageError(f"--{rest[0]} is for beam search: also give --beam_size=4.")
        return {}
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
    return given


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


def read_setting(name: str, text: str) -> Any:
    """The value after `/set NAME=`; an invalid one stays as it is, for the check to refuse."""
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
    """What was typed with \\n for a line end, and \\\\ for a backslash before an n or a backslash.

    >>> with_line_ends("a\\\\nb")
    'a\\nb'
    """
    return re.sub(r"\\([n\\])", lambda found: "\n" if found[1] == "n" else "\\", text)
