"""What a study searches: the fields of a config, and their values.

training.peak_learning_rate=1e-4..1e-2:log     a number, uniform on a logarithmic scale
model.dropout=0..0.3                            a number, uniform
model.hidden_dim=64..256:step=64                64, 128, 192 or 256
training.optimizer=adamw,muon                   one of these
data.languages=[["chinese"], ["english"]]       one of these, as JSON
"""

import dataclasses
import functools
import json
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from tflm.config import field_type, override
from tflm.errors import UsageError, UserError
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.run_folder import differences
from tflm.tasks import task_class
from tflm.training.best_measure import measure_name

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "hyperband", "none")
_FORM = "FIELD=LOW..HIGH, FIELD=LOW..HIGH:log, FIELD=LOW..HIGH:step=STEP or FIELD=A,B,C"
_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::(?:(log)|step=({_NUMBER})))?")
_DIGITS = 3
"""Significant digits of sampled numbers: a learning rate of 0.00232 can be read and typed."""


@dataclasses.dataclass(frozen=True)
class SearchRange:
    """The values of one field: those from `low` to `high`, or the `choices`."""

    field: str
    """Such as "training.peak_learning_rate"."""
    text: str = dataclasses.field(compare=False)
    """As it was written, without the field."""
    low: float = 0.0
    """Lowest value."""
    high: float = 0.0
    """Highest value."""
    step: float = 0.0
    """Distance between two values; 0 for a float without steps."""
    log: bool = False
    """Whether a value is uniform on a logarithmic scale."""
    is_int: bool = False
    """Whether the values are whole numbers."""
    choices: tuple[Any, ...] = ()
    """The values of a field without an order; () for a range."""

    def __str__(self) -> str:
        return f"{self.field}={self.text}"

    @property
    def name(self) -> str:
        """The field without its section."""
        return self.field.rpartition(".")[2]

    def has(self, value: Any) -> bool:
        """Whether a value is one of the range."""
        if self.choices:
            return value in self.choices
        steps = (value - self.low) / (self.step or 1.0)
        return self.low <= value <= self.high and (not self.step or abs(steps - round(steps)) < 1e-9)

    def rounded(self, value: Any) -> Any:
        """A sampled value with few digits, still in the range.

        >>> SearchRange("model.dropout", "0..0.3", 0.0, 0.3).rounded(0.123456)
        0.123
        """
        if self.choices or self.is_int or self.step:
            return value
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def key_of(self, value: Any) -> str:
        """A choice as text, by which a sampler knows it."""
        return json.dumps(value, ensure_ascii=False)

    def value_of(self, key: str) -> Any:
        """The choice that `key_of` wrote."""
        return next(choice for choice in self.choices if self.key_of(choice) == key)


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Everything that decides what a study tries."""

    config: ExperimentConfig
    """The recipe, whose own setting is the first trial."""
    search: tuple[str, ...] = ()
    """The ranges, such as "training.peak_learning_rate=1e-4..1e-2:log"; see `tflm.experiments.search_space`."""
    measure: str = "loss"
    """Held-out measure by which trials are compared and pruned."""
    sampler: str = "tpe"
    """tpe (Bergstra et al., 2011) or random."""
    pruner: str = "median"
    """median: a trial ends at an evaluation where its best value is worse than the median of the completed trials at
    that step; hyperband (Li et al., 2018); or none."""
    seed: int = 0
    """Seed of the sampler."""
    flags: tuple[str, ...] = ()
    """Flags of `tflm train` that choose the recipe."""

    def __post_init__(self) -> None:
        for field, allowed in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} is one of {', '.join(allowed)}; got {getattr(self, field)!r}.")


def setting(field: str, value: Any) -> str:
    """An assignment for `tflm.config.override` and `--set`.

    >>> setting("training.optimizer", "muon"), setting("data.languages", ["chinese"])
    ('training.optimizer=muon', 'data.languages=["chinese"]')
    """
    return f"{field}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def value_in(config: ExperimentConfig, field: str) -> Any:
    """The value of a field such as "model.num_layers", as JSON has it: tuples are lists."""
    value = functools.reduce(getattr, field.split("."), config)
    return list(value) if isinstance(value, tuple) else value


def parse_search(config: ExperimentConfig, texts: Sequence[str]) -> tuple[SearchRange, ...]:
    """The ranges of a search.

    Args:
        config: that the trials begin with.
        texts: such as "training.peak_learning_rate=1e-4..1e-2:log"; see the top of the file.
    Raises:
        UserError: there is no such field, or it does not take the values.
        UsageError: a text has another form, a range has one value at most, or a field is given twice or cannot be
            searched.
    """
    ranges = tuple(_parse(config, text) for text in texts)
    fields = [each.field for each in ranges]
    if twice := next((field for field in fields if fields.count(field) > 1), None):
        raise UsageError(f"--search has {twice} twice. Give one range for each field.")
    return ranges


def default_search(config: ExperimentConfig) -> list[str]:
    """The ranges of a study that names none, around the values of the recipe: the peak learning rate up to a factor of
    5, weight decay up to a factor of 10, warm-up, and dropout where the model has it."""
    training = config.training
    rate, decay = training.peak_learning_rate or 1e-3, training.weight_decay
    longest = max(training.warmup_steps, training.num_steps // 4, 2)
    found = [
        f"training.peak_learning_rate={rate / 5:.3g}..{rate * 5:.3g}:log",
        f"training.warmup_steps=1..{longest}",
        f"training.weight_decay={f'{decay / 10:.3g}..{decay * 10:.3g}:log' if decay else '0..0.1'}",
    ]
    if (dropout := getattr(config.model, "dropout", None)) is not None:
        steps = [step for step in (0.1, 0.05) if math.isclose(round(dropout / step) * step, dropout)]
        ending = f":step={steps[0]}" if steps else ""  # so that no dropout is one of a few values
        found.append(f"model.dropout=0..{max(0.3, dropout):.3g}{ending}")
    return found


def new_study(
    config: ExperimentConfig,
    search: Sequence[str],
    flags: Sequence[str],
    options: Mapping[str, Any],
    before: StudyConfig | None = None,
) -> StudyConfig:
    """What a new study tries.

    Args:
        config: the recipe.
        search: the ranges; `default_search` when empty.
        flags: of `tflm train`, for the recipe.
        options: measure, sampler, pruner and seed; the defaults for those that are None or not given.
        before: an earlier try of the same recipe, whose values are the defaults.
    Raises:
        UserError: there is no held-out data, or an option has another value.
    """
    if not config.data.has_eval:
        raise UserError(
            "trials are compared on held-out data, and the recipe has none. Set data.eval_fraction or data.eval_path."
        )
    if before is None:
        measure = measure_name(config.training.keep_best) or "loss"
        before = StudyConfig(config, tuple(default_search(config)), measure)
    given = {name: value for name, value in options.items() if value is not None}
    if "measure" in given:
        given["measure"] = measure_name(given["measure"])
    ranges, named = tuple(search) or before.search, tuple(flags) or before.flags
    try:
        return dataclasses.replace(before, search=ranges, flags=named, **given)
    except ValueError as error:
        raise UserError(str(error)) from error


def check_same_study(
    found: StudyConfig,
    config: ExperimentConfig,
    search: Sequence[str],
    options: Mapping[str, Any],
    workdir: str,
) -> None:
    """Checks what is given for a study that has begun; what is not given is that of the study.

    Raises:
        UserError: it is another study. The message names the differences.
    """
    differing = [text for _, text in differences(found.config, config)]
    own, other = (
        {each.field: each for each in parse_search(found.config, texts)} for texts in (found.search, search)
    )
    for field in dict.fromkeys([*own, *other]) if search else ():
        if own.get(field) != other.get(field):
            before, after = (
                ranges[field].text if field in ranges else "not searched" for ranges in (own, other)
            )
            differing.append(f"{field} was {before}, is {after}")
    for name, value in options.items():
        value = measure_name(value) if name == "measure" and value else value
        if value is not None and value != getattr(found, name):
            differing.append(f"{name} was {getattr(found, name)!r}, is {value!r}")
    if differing:
        raise UserError(
            f"{workdir!r} holds another study: {'; '.join(differing[:3])}. Give another --workdir, or the same values "
            "to continue that one."
        )


def _parse(config: ExperimentConfig, text: str) -> SearchRange:
    field, equals, values = (part.strip() for part in text.partition("="))
    if not equals:
        raise UsageError(f"--search={text!r} has no '='. Write it as {_FORM}.")
    hint = _plain_type(field_type(config, field))
    _check_field(config, field)
    if dataclasses.is_dataclass(hint):
        raise UsageError(f"--search={text!r}: {field} is a section. Name one of its fields.")
    if hint in (int, float) and ".." in values:
        found = _parse_range(field, values, hint is int)
    else:
        found = _parse_choices(field, values, hint)
    _check_values(config, found)
    return found


def _plain_type(hint: Any) -> Any:
    """`X` of `X | None`."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if type(None) in typing.get_args(hint) else hint


def _parse_range(field: str, text: str, is_int: bool) -> SearchRange:
    shown = f"--search={field}={text}"
    matched = _RANGE.fullmatch(text.replace(" ", ""))
    if not matched:
        raise UsageError(f"{shown} is no range. Write it as {_FORM}.")
    numbers = [float(number) for number in (matched[1], matched[2], matched[4] or "0")]
    if is_int and any(number != round(number) for number in numbers):
        raise UsageError(f"{shown}: {field} takes whole numbers.")
    low, high, step = [round(number) for number in numbers] if is_int else numbers
    if not low < high:
        raise UsageError(f"{shown}: the first number is below the second. A single value is given by --set.")
    if matched[3] and low <= 0:
        raise UsageError(f"{shown}: a logarithmic range begins above 0.")
    if matched[4] and not 0 < step <= high - low:
        raise UsageError(f"{shown}: the step is above 0 and at most {high - low:g}.")
    if not step and is_int:
        step = 1
    if step:  # the last value that the steps reach
        high = low + math.floor((high - low) / step + 1e-9) * step
    return SearchRange(field, text, low, high, step, bool(matched[3]), is_int)


def _parse_choices(field: str, text: str, hint: Any) -> SearchRange:
    shown = f"--search={field}={text}"
    if text.startswith("["):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{shown} is not JSON: {error}.") from error
    else:
        parts = [part.strip() for part in text.split(",")]
        values = parts if hint is str else [_parse_json(part) for part in parts]
    if len({json.dumps(value) for value in values}) < max(2, len(values)):
        raise UsageError(f"{shown}: expected two values or more, all different. Write it as {_FORM}.")
    return SearchRange(field, text, choices=tuple(values))


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_field(config: ExperimentConfig, field: str) -> None:
    """Raises UsageError where trials could not be compared."""
    section = field.partition(".")[0]
    if section == "data" and field != "data.train_fraction":
        raise UsageError(
            f"--search: {field} changes the held-out data, and trials are compared on the same data. Of this section, "
            "train_fraction can be searched."
        )
    if section in ("tokenizer", "init_from") and task_class(config.task).loss_covers_text:
        raise UsageError(
            f"--search: {field} changes the vocabulary, and losses of other tokens cannot be compared. Make a run for "
            "each, and use tflm compare, which has bits per byte."
        )
    if field in ("name", "training.eval_every") or section == "decoding":
        raise UsageError(f"--search: {field} does not change what is learned. Give it by --set.")


def _check_values(config: ExperimentConfig, found: SearchRange) -> None:
    """Raises UserError unless the field takes the ends of a range and every choice. Of whole numbers, such as widths,
    some may only fit together with other fields: one is enough."""
    values = found.choices or tuple((int if found.is_int else float)(end) for end in (found.low, found.high))
    is_partial = all(type(value) is int for value in values)
    errors = []
    for value in values:
        try:
            override(config, [setting(found.field, value)])
        except UserError as error:
            errors.append(error)
    if errors and not (is_partial and len(errors) < len(values)):
        raise UserError(f"--search={found}: {errors[0]}")
