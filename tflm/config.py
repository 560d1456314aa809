"""Frozen dataclasses to JSON and back, and `a.b=value` overrides.

The dataclasses themselves stand beside the code that they configure.

    config = override(config, ["model.num_layers=4", "training.num_steps=50"])
    save_json(config, "runs/a/config.json")
    config == load_json(ExperimentConfig, "runs/a/config.json")

A field that may hold one of several dataclasses (`model: LSTMConfig | TransformerDecoderConfig`) tells them
apart by their `kind` field, which goes into the JSON with the rest.
"""

import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tflm.errors import UserError

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """The fields of a config as plain JSON values; tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(cls: type[Config], mapping: Mapping[str, Any], path: str = "") -> Config:
    """A config of type `cls` from plain values.

    Args:
        cls: a frozen dataclass.
        mapping: field name to value. Fields left out keep their defaults.
        path: where the mapping stands in a larger one, for messages.
    Raises:
        UserError: an unknown field, a value of the wrong type, or one that the dataclass refuses.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values = {}
    for name, value in mapping.items():
        if name not in names:
            raise UserError(_unknown_field(cls, name, names, path))
        values[name] = _coerce(hints[name], value, f"{path}{name}")
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path.rstrip('.') or cls.__name__}: {error}") from error


def save_json(config: Any, path: str) -> None:
    """Writes the config to `path`, whole or not at all."""
    aside = f"{path}.tmp"
    with open(aside, "w", encoding="utf-8") as file:
        json.dump(to_dict(config), file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.replace(aside, path)


def load_json(cls: type[Config], path: str) -> Config:
    """Reads what `save_json` wrote.

    Raises:
        UserError: no such file, not JSON, or not a config of this type.
    """
    try:
        with open(path, encoding="utf-8") as file:
            mapping = json.load(file)
    except OSError as error:
        raise UserError(f"cannot read the config {path!r}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path!r} is not JSON: {error}.") from error
    if not isinstance(mapping, dict):
        raise UserError(f"{path!r} is no config: it holds no JSON object.")
    return from_dict(cls, mapping)


def override(config: Config, assignments: Sequence[str]) -> Config:
    """The config with `a.b=value` assignments applied, from left to right.

    Values are read as JSON where they are JSON (`4`, `0.1`, `true`, `null`, `[1, 2]`) and as text otherwise.

    Args:
        config: a frozen dataclass; it is not changed.
        assignments: such as `["model.num_layers=4", "data.path=corpus.txt"]`.
    Raises:
        UserError: no `=`, an unknown field (the message says which was probably meant) or a value that is
            refused.
    """
    mapping = to_dict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"override {assignment!r} has no '='. Write it as section.field=value.")
        _assign(config, mapping, path.strip(), text)
    return from_dict(type(config), mapping)


def _assign(config: Any, mapping: dict[str, Any], path: str, text: str) -> None:
    *sections, last = path.split(".")
    node, target, walked = config, mapping, ""
    for section in sections:
        _check_field(node, section, walked)
        node, target, walked = getattr(node, section), target[section], f"{walked}{section}."
        if not dataclasses.is_dataclass(node):
            raise UserError(f"override {path!r}: {walked.rstrip('.')!r} has no fields of its own.")
    _check_field(node, last, walked)
    hint = typing.get_type_hints(type(node))[last]
    target[last] = text if hint is str or (hint == str | None and text != "null") else _parse(text)


def _check_field(node: Any, name: str, path: str) -> None:
    names = [field.name for field in dataclasses.fields(node)]
    if name not in names:
        raise UserError(_unknown_field(type(node), name, names, path))


def _unknown_field(cls: type, name: str, names: Sequence[str], path: str) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {path}{close[0]}?" if close else f"It has: {', '.join(names)}."
    return f"{cls.__name__} has no field {path}{name}. {hint}"


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _coerce(hint: Any, value: Any, path: str) -> Any:
    """`value`, as read from JSON, as the type that the field asks for."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _coerce_union(typing.get_args(hint), value, path)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{path} is a section with fields; got {value!r}.")
        return from_dict(hint, value, f"{path}.")  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f'{path} is a list, written as ["a", "b"]; got {value!r}.')
        return tuple(_coerce(typing.get_args(hint)[0], item, path) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise UserError(f"{path} takes {hint.__name__}; got {value!r}.")
    return value


def _coerce_union(choices: Sequence[Any], value: Any, path: str) -> Any:
    if value is None and type(None) in choices:
        return None
    configs = [choice for choice in choices if dataclasses.is_dataclass(choice)]
    if not configs or not isinstance(value, Mapping):
        plain = [choice for choice in choices if choice is not type(None)]
        return _coerce(plain[0], value, path)
    if len(configs) == 1:
        return _coerce(configs[0], value, path)
    kinds = {choice.kind: choice for choice in configs}  # type: ignore[union-attr]
    if value.get("kind") not in kinds:
        raise UserError(f"{path}.kind is one of {', '.join(sorted(kinds))}; got {value.get('kind')!r}.")
    return _coerce(kinds[value["kind"]], value, path)
