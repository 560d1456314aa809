"""Frozen config dataclasses: JSON serialization and `a.b=value` overrides.

Each dataclass is defined next to the code that it configures.

    config = override(config, ["model.num_layers=4", "training.num_steps=50"])
    save_json(config, "runs/a/config.json")
    config == load_json(ExperimentConfig, "runs/a/config.json")

A field of a `KindConfig` (`model: ModelConfig`) holds a config of any registered kind; its `kind` goes into the JSON
and says which.
"""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from tflm.errors import UserError
from tflm.files.writing import whole_file
from tflm.registry import PLUGINS, Registry, UnknownNameError

Config = TypeVar("Config")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class KindConfig:
    """The base of configs of several kinds, such as those of the tasks: a direct subclass names their `registry`, and
    theirs set `kind`."""

    kind: str = ""
    """The name under which the class that this configures is registered."""
    registry: ClassVar[Registry[Any]]
    """Name to a class with the attribute `config_class`."""


class KindRegistry(Registry[type[T]], Generic[T]):
    """A registry of classes with a `config_class`, the `KindConfig` whose `kind` is their name."""

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """A decorator that registers a class under the `kind` of its config.

        Raises:
            ValueError: its `config_class` has another kind.
        """

        def add(cls: Any) -> Any:
            kind = cls.config_class.kind
            if kind != name:
                raise ValueError(
                    f"{cls.__name__} is registered as {name!r}, and the kind of {cls.config_class.__name__} is "
                    f"{kind!r}. Give both one name."
                )
            return self.add(name, cls)

        return add


def option(default: Any) -> Any:
    """A field of a config that most do without: while it has its default, it is not written into the JSON.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Sizes:
    ...     width: int = 8
    ...     soft_cap: float = option(0.0)
    >>> to_dict(Sizes()), to_dict(Sizes(soft_cap=30.0))
    ({'width': 8}, {'width': 8, 'soft_cap': 30.0})
    """
    return dataclasses.field(default=default, metadata={"option": True})


def since(default: Any, before: Any) -> Any:
    """A field that a later version added: `default` for what is new, and `before` where a JSON was written without the
    field and shall keep its meaning."""
    return dataclasses.field(default=default, metadata={"before": before})


def to_dict(config: Any) -> dict[str, Any]:
    """The fields of a config as JSON-compatible values, without each `option` that has its default; tuples become
    lists."""
    return json.loads(json.dumps(_plain(config)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            field.name: _plain(own)
            for field, own in fields
            if not (field.metadata.get("option") and own == field.default)
        }
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def from_dict(cls: type[Config], mapping: Mapping[str, Any], path: str = "") -> Config:
    """Builds a config of type `cls` from JSON-compatible values.

    Args:
        cls: a frozen dataclass.
        mapping: field name to value. Missing fields have their defaults, or what they meant `before`; see `since`.
        path: prefix of the field names in error messages, such as `"model."`.
    Raises:
        UserError: an unknown field, a value of the wrong type, or a value that the dataclass rejects.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values = _before(cls)
    for name, value in mapping.items():
        if name not in names:
            raise UserError(_unknown_field(cls, name, names, path))
        values[name] = _coerce(hints[name], value, f"{path}{name}")
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path.rstrip('.') or cls.__name__}: {error}") from error


def _before(cls: Any) -> dict[str, Any]:
    """What a JSON means by fields that it lacks, where that is not their default."""
    fields = dataclasses.fields(cls)
    return {field.name: field.metadata["before"] for field in fields if "before" in field.metadata}


def as_begun(config: Config, old: Mapping[str, Any]) -> Config:
    """The config with the fields that the JSON `old` of the same run was written without: they mean what they did."""
    changes: dict[str, Any] = {name: value for name, value in _before(config).items() if name not in old}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        part, before = getattr(config, field.name), old.get(field.name)
        if dataclasses.is_dataclass(part) and isinstance(before, Mapping):
            changes[field.name] = as_begun(part, before)
    return dataclasses.replace(config, **changes) if changes else config  # type: ignore[type-var]


def save_json(config: Any, path: str) -> None:
    """Writes the config to `path` as JSON, atomically."""
    with whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
        json.dump(to_dict(config), file, indent=2, ensure_ascii=False)
        file.write("\n")


def load_json(cls: type[Config], path: str) -> Config:
    """Reads a config written by `save_json`.

    Raises:
        UserError: the file is missing, is not JSON, or is not a config of this type.
    """
    try:
        with open(path, "rb") as file:
            mapping = json.loads(file.read())  # UTF-8, UTF-16 or UTF-32, with a byte-order mark or without
    except OSError as error:
        raise UserError(f"cannot read the config {path!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path!r} is not UTF-8: {error.reason} at byte {error.start}; save the file as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path!r} is not JSON: {error}.") from error
    if not isinstance(mapping, dict):
        raise UserError(
            f"{path!r} is not a config: expected a JSON object, found {type(mapping).__name__}. "
            "Give the config.json of a run."
        )
    return from_dict(cls, mapping)


def override(config: Config, assignments: Sequence[str]) -> Config:
    """A copy of the config with `a.b=value` assignments applied from left to right.

    Values that parse as JSON (`4`, `0.1`, `true`, `null`, `[1, 2]`) are read as JSON, all others as strings.

    Args:
        config: a frozen dataclass; it is not changed.
        assignments: such as `["model.num_layers=4", "data.path=corpus.txt"]`.
    Raises:
        UserError: an assignment without `=`, an unknown field (the message suggests the closest name) or an invalid
            value.
    """
    mapping = to_dict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"override {assignment!r} has no '='. Write it as section.field=value.")
        _assign(config, mapping, path.strip(), text)
    return from_dict(type(config), mapping)


def field_type(config: Any, path: str) -> Any:
    """The type of a field, such as `int` of "model.num_layers".

    Raises:
        UserError: there is no such field (the message suggests the closest name).
    """
    *sections, last = path.split(".")
    node, walked = config, ""
    for section in sections:
        node, walked = _section(node, section, walked, path), f"{walked}{section}."
    return _hint(node, last, walked)


def _section(node: Any, name: str, walked: str, path: str) -> Any:
    """The section `name` of a config at `walked`, on the way to `path`."""
    _check_field(node, name, walked)
    section = getattr(node, name)
    if not dataclasses.is_dataclass(section):
        raise UserError(f"override {path!r}: {walked + name!r} has no fields of its own.")
    return section


def _hint(node: Any, name: str, walked: str) -> Any:
    _check_field(node, name, walked)
    return typing.get_type_hints(type(node))[name]


def _assign(config: Any, mapping: dict[str, Any], path: str, text: str) -> None:
    *sections, last = path.split(".")
    node, target, walked = config, mapping, ""
    for section in sections:
        node = _section(node, section, walked, path)
        target = target.setdefault(section, to_dict(node))  # an `option` with its default is not there
        node, walked = _of_its_kind(node, target), f"{walked}{section}."
    hint = _hint(node, last, walked)
    target[last] = text if hint is str or (hint == str | None and text != "null") else _parse(text)
    if last == "kind" and isinstance(node, KindConfig) and target[last] != node.kind:
        _keep_fields_of(type(node), target)


def _of_its_kind(node: Any, target: Mapping[str, Any]) -> Any:
    """The section, or the one with defaults of the kind that an earlier assignment gave it."""
    if not isinstance(node, KindConfig) or target["kind"] == node.kind or target["kind"] not in node.registry:
        return node
    return node.registry.get(target["kind"]).config_class()


def _keep_fields_of(cls: type[KindConfig], target: dict[str, Any]) -> None:
    """Removes what the new kind of a section has no field for, such as the layers of a model without layers."""
    if target["kind"] in cls.registry:
        names = [field.name for field in dataclasses.fields(cls.registry.get(target["kind"]).config_class)]
        for name in set(target) - set(names):
            del target[name]


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
    """Converts a JSON value to the type of the field."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _coerce_union(typing.get_args(hint), value, path)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UserError(f"{path} is a section with fields; got {value!r}.")
        return from_dict(_class_of_kind(hint, value, path), value, f"{path}.")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f'{path} is a list, written as ["a", "b"]; got {value!r}.')
        return tuple(_coerce(typing.get_args(hint)[0], item, path) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise UserError(f"{path} takes {hint.__name__}; got {value!r}.")
    return value


def _class_of_kind(cls: Any, mapping: Mapping[str, Any], path: str) -> Any:
    """The dataclass for `mapping`: of a field with several kinds the one that `kind` names."""
    if "registry" not in vars(cls):
        return cls
    kind = mapping.get("kind")
    try:
        return cls.registry.get(kind).config_class
    except UnknownNameError as error:
        raise UserError(
            f"{path}.kind is one of {', '.join(cls.registry.names())}; got {kind!r}. One of a plugin needs "
            f"{PLUGINS}=MODULE_OR_FILE."
        ) from error


def _coerce_union(choices: Sequence[Any], value: Any, path: str) -> Any:
    """Of `X | None`."""
    if value is None and type(None) in choices:
        return None
    return _coerce(next(choice for choice in choices if choice is not type(None)), value, path)
