"""Tests from templates with slots, in YAML or JSON (CheckList: Ribeiro et al., 2020, section 2).

    slots:
      thing: [food, service]
      praise: [great, very good]
    tests:
      - name: praise
        template: The {thing} was {praise}.
        label: positive
      - name: any thing
        template: The {thing} was {praise}.
        vary: thing
      - name: stronger
        template: The {thing} was good.
        then: The {thing} was really good.
        label: positive
        change: no_fall

A template with a `label` alone is a minimum functionality test: each filling has that label. With `vary` it is an
invariance test: all fillings of that slot have the same label. With `then` it is a directional test: from the template
to `then` the probability of the label may not fall (`no_fall`) or not rise (`no_rise`).
"""

import dataclasses
import itertools
import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tflm.errors import UserError

CHANGES = ("no_fall", "no_rise")
_SLOT = re.compile(r"\{(\w+)\}")
_KEYS = ("name", "template", "label", "vary", "then", "change", "tolerance", "limit")
_LIMIT = 200
Row = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class TemplateTest:
    """One test of a file, its slots filled."""

    name: str
    rows: tuple[Row, ...]
    """The texts; of a directional test those before the change."""
    label: str = ""
    """Expected of every row of a minimum functionality test; in a directional test the label whose probability
    counts."""
    groups: tuple[int, ...] = ()
    """Of an invariance test: rows of one number have one label."""
    then: tuple[Row, ...] = ()
    """Of a directional test: the texts after the change."""
    change: str = ""
    """no_fall or no_rise."""
    tolerance: float = 0.1
    """By how much the probability may still fall or rise."""


def read_templates(path: str, names: Sequence[str], seed: int = 0) -> list[TemplateTest]:
    """The tests of a file.

    Args:
        path: YAML, or JSON where the name ends in .json.
        names: of the texts that the model takes. With several, a template is a mapping from these names.
        seed: of which fillings are taken, where there are more than `limit` (200) of them.
    Raises:
        UserError: the file cannot be read, PyYAML is not installed, or a test is not as described; names the test.
    """
    content = _parsed(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("tests"), list):
        raise UserError(
            f"{path}: expected a mapping with `slots` and a list of `tests`; found {_described(content)}."
        )
    slots = content.get("slots") or {}
    if not isinstance(slots, Mapping):
        raise UserError(f"{path}: `slots` maps names to lists of texts; found {_described(slots)}.")
    choices = {str(name): _texts(values, f"{path}: the slot {name!r}") for name, values in slots.items()}
    found = [
        _test(each, number, path, choices, names, seed) for number, each in enumerate(content["tests"], 1)
    ]
    repeated = [name for name in (test.name for test in found) if [t.name for t in found].count(name) > 1]
    if repeated:
        raise UserError(f"{path}: two tests are named {repeated[0]!r}. Give each a name of its own.")
    return found


def _parsed(path: str) -> Any:
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except OSError as error:
        raise UserError(f"cannot read --templates={path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8."
        ) from error
    if path.endswith(".json"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is not JSON: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise UserError(
            'templates in YAML need PyYAML, which is not installed: pip install "tflm[check]"; or write them as JSON, '
            "in a file that ends in .json."
        ) from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error


def _test(
    entry: Any, number: int, path: str, slots: Mapping[str, list[str]], names: Sequence[str], seed: int
) -> TemplateTest:
    place = f"{path}: test {number}"
    if not isinstance(entry, Mapping):
        raise UserError(f"{place}: expected a mapping with {', '.join(_KEYS)}; found {_described(entry)}.")
    if unknown := [str(key) for key in entry if key not in _KEYS]:
        raise UserError(f"{place} has {unknown[0]!r}; a test has {', '.join(_KEYS)}.")
    name = str(entry.get("name", f"template {number}"))
    place, vary, label = f"{path}: test {name!r}", entry.get("vary"), entry.get("label")
    if "template" not in entry:
        raise UserError(f"{place} has no `template`.")
    templates = _templates(entry["template"], names, place)
    afters = _templates(entry["then"], names, place) if "then" in entry else []
    if len(afters) not in (0, len(templates)):
        raise UserError(f"{place}: `then` has {len(afters)} texts, and `template` {len(templates)}.")
    if vary is not None and afters:
        raise UserError(f"{place} has both `vary` and `then`: give one of them.")
    if label is None and vary is None:
        raise UserError(
            f"{place}: give the expected `label`, or `vary`, the slot that must not change the prediction."
        )
    if isinstance(label, bool):
        raise UserError(f"{place}: `label` is {label}, a truth value in YAML. Quote it.")
    change = entry.get("change", "no_fall" if afters else "")
    if afters and change not in CHANGES:
        raise UserError(f"{place}: `change` is {change!r}, expected {' or '.join(CHANGES)}.")
    tolerance, limit = entry.get("tolerance", 0.1), entry.get("limit", _LIMIT)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance <= 1:
        raise UserError(f"{place}: `tolerance` is {tolerance!r}, expected a number from 0 to 1.")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise UserError(f"{place}: `limit` is {limit!r}, expected a whole number of at least 1.")
    rows, then, groups = _filled(
        templates, afters, slots, vary, place, limit, random.Random(f"{seed} {name}")
    )
    if vary is not None and len(set(groups)) == len(groups):
        raise UserError(
            f"{place}: no template has the slot {vary!r}, or it has a single text: nothing varies."
        )
    kept = "" if label is None else str(label)
    return TemplateTest(name, tuple(rows), kept, tuple(groups), tuple(then), change, float(tolerance))


def _templates(value: Any, names: Sequence[str], place: str) -> list[Row]:
    """The texts of each template, in the order of the model's names."""
    found = []
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, Mapping):
            if set(each) != set(names):
                raise UserError(
                    f"{place}: a template has {', '.join(map(str, each))}; this model takes {', '.join(names)}."
                )
            texts = [each[name] for name in names]
        elif len(names) > 1:
            raise UserError(
                f"{place}: this model takes {' and '.join(names)}: write a template as a mapping with these names."
            )
        else:
            texts = [each]
        if not all(isinstance(text, str) for text in texts):
            raise UserError(f"{place}: a template is a text; found {_described(each)}. Quote it.")
        found.append(tuple(texts))
    return found


def _filled(
    templates: list[Row],
    afters: list[Row],
    slots: Mapping[str, list[str]],
    vary: Any,
    place: str,
    limit: int,
    draw: random.Random,
) -> tuple[list[Row], list[Row], list[int]]:
    """Rows, rows after the change, and the group of each row: fillings that differ in the slot `vary` alone."""
    cases: list[tuple[Row, Row, tuple[Any, ...]]] = []
    for number, template in enumerate(templates):
        after = afters[number] if afters else ()
        used = list(dict.fromkeys(_SLOT.findall(" ".join((*template, *after)))))
        if missing := [slot for slot in used if slot not in slots]:
            raise UserError(
                f"{place}: there is no slot {missing[0]!r}; the slots are {', '.join(slots) or 'none'}."
            )
        for texts in itertools.islice(itertools.product(*(slots[slot] for slot in used)), 100_000):
            values = dict(zip(used, texts, strict=True))
            rest = tuple(text for slot, text in values.items() if slot != vary)
            cases.append((_fill(template, values), _fill(after, values), (number, *rest)))
    keys = list(dict.fromkeys(key for _, _, key in cases))
    if len(cases) > limit:
        if vary is None:
            cases = [cases[place] for place in sorted(draw.sample(range(len(cases)), limit))]
        else:  # whole groups
            number_kept = max(1, limit * len(keys) // len(cases))
            kept = set(draw.sample(keys, number_kept))
            cases = [case for case in cases if case[2] in kept]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for _, _, key in cases))}
    groups = [numbers[key] for _, _, key in cases] if vary is not None else []
    return [row for row, _, _ in cases], [after for _, after, _ in cases if after], groups


def _fill(template: Row, values: Mapping[str, str]) -> Row:
    return tuple(_SLOT.sub(lambda found: values[found[1]], text) for text in template)


def _texts(values: Any, place: str) -> list[str]:
    values = values if isinstance(values, list) else [values]
    found = [value if isinstance(value, str) else None for value in values]
    if not values or None in found:
        raise UserError(
            f"{place}: expected texts; found {_described(values)}. Quote numbers and words such as yes and no."
        )
    return [str(value) for value in values]


def _described(value: Any) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown[:60]}{'...' if len(shown) > 60 else ''}"
