"""What a public family is: its config and its weights as ours, in both directions.

A family is one class in a file of this folder. It is registered under each `model_type` that it reads; there is no list
to edit elsewhere:

    @register_family("gpt2")
    class GPT2(Family):
        config_class = TransformerDecoderConfig
        prefix = "transformer."
        fields = {"num_layers": "n_layer", "hidden_dim": "n_embd", ...}
        ...
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from tflm.errors import UserError
from tflm.models.checkpoints.tensor_files import Shape, TensorSource
from tflm.models.checkpoints.weight_map import Entry
from tflm.models.text_model import ModelConfig
from tflm.registry import Registry

FAMILIES: Registry[type["Family"]] = Registry("model_type", "register_family", "tflm.models.checkpoints")
register_family = FAMILIES.register

# Fields that a file of weights does not settle: a model with other values is the same model.
_FREE = {
    "kind",
    "pad_id",
    "initializer_range",
    "zero_residual",
    "token_dropout",
    "dropout",
    "attention_dropout",
    "recompute",
}


class FamilyTensors:
    """The tensors of a source by the names of the family, without prefix; or names alone, of what is to be written.

    Args:
        shapes: name to shape.
        source: where they are read; None for names alone.
        places: name to that in the source.
    """

    def __init__(
        self, shapes: Mapping[str, Shape], source: TensorSource | None = None, places: Mapping[str, str] = {}
    ) -> None:
        self.shapes, self._source, self._places = dict(shapes), source, dict(places)
        self.copies: set[str] = set()
        """Tensors that `is_own` found to be copies of others."""

    def read(self, name: str) -> np.ndarray:
        """A tensor in the dtype of the file."""
        assert self._source is not None
        return self._source.read(self._places[name])

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def is_own(self, name: str, other: str) -> bool:
        """Whether there is a tensor `name` with another content than `other`: an output layer that is not tied to the
        embedding."""
        if name not in self:
            return False
        if self._source is None or other not in self or self.shapes[name] != self.shapes[other]:
            return True
        if np.array_equal(self.read(name), self.read(other)):
            self.copies.add(name)
            return False
        return True


class Family:
    """A public family; a subclass declares its attributes and implements `weight_map`.

    Args:
        model_type: the name under which it is asked for, one of those it is registered under.
    """

    config_class: ClassVar[type[ModelConfig]]
    """The config of ours that it becomes."""
    fields: ClassVar[Mapping[str, str]] = {}
    """A field of ours to a key of their config."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Keys of their config that may be absent, and what that means."""
    constants: ClassVar[Mapping[str, Any]] = {}
    """A field of ours to the value that it has in the whole family."""
    accepted: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """A key of their config to the values that are supported, the one that is written first; an absent key is."""
    may_be_null: ClassVar[tuple[str, ...]] = ()
    """Keys of which null means something other than that the key is absent."""
    activations: ClassVar[Mapping[str, str]] = {}
    """The value of `activation_key` to our `activation`; the first of those that mean the same is written."""
    activation_key: ClassVar[str] = "hidden_act"
    architecture: ClassVar[str] = ""
    """The class of transformers that reads all weights of what is written."""
    prefix: ClassVar[str] = ""
    """What the names of the body begin with; it may be absent."""
    heads: ClassVar[tuple[str, ...]] = ("lm_head.",)
    """Beginnings of the names that have no prefix."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Patterns of the names of buffers, which hold nothing that was learned."""
    dropped: ClassVar[tuple[str, ...]] = ()
    """Patterns of the names of parts that our models do not have, such as the head of another task."""
    renamed: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Patterns in names of other versions, and their replacements, before the prefix is taken off."""
    embeddings: ClassVar[str]
    """The name of the token embedding, whose rows are the vocabulary."""

    def __init__(self, model_type: str) -> None:
        self.model_type = model_type

    def weight_map(self, config: Any) -> Iterator[Entry]:
        """The entries of a model with this config, a `config_class`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement weight_map().")

    def extra_fields(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> dict[str, Any]:
        """Fields of ours that `fields`, `constants` and `activations` do not give."""
        del theirs, tensors
        return {}

    def extra_keys(self, config: Any) -> dict[str, Any]:
        """Keys of theirs that `fields` and `activations` do not give."""
        del config
        return {}

    def read_config(self, theirs: Mapping[str, Any], tensors: FamilyTensors) -> Any:
        """Our config.

        Raises:
            UserError: a key is missing, or has a value that our models do not have.
        """
        theirs = {**self.defaults, **{key: theirs[key] for key in theirs if self._is_said(theirs, key)}}
        for key, values in self.accepted.items():
            if key in theirs and theirs[key] not in values:
                raise self.unsupported(key, theirs[key], values)
        fields: dict[str, Any] = {**self.constants, "vocab_size": tensors.shapes[self.embeddings][0]}
        fields |= {ours: self._value(theirs, key) for ours, key in self.fields.items()}
        if self.activations:
            activation = self._value(theirs, self.activation_key)
            if activation not in self.activations:
                raise self.unsupported(self.activation_key, activation, tuple(self.activations))
            fields["activation"] = self.activations[activation]
        fields |= self.extra_fields(theirs, tensors)
        try:
            return self.config_class(**fields)
        except (ValueError, TypeError) as error:
            raise UserError(f"the config of this {self.model_type} does not fit: {error}") from error

    def write_config(self, config: Any) -> dict[str, Any]:
        """Their config.

        Raises:
            UserError: the family lacks something that the config has; each field is named.
        """
        if not isinstance(config, self.config_class):
            raise UserError(
                f"{self.model_type} is a {self.config_class().kind}; this model is a {config.kind}. Choose another "
                "family."
            )
        config = settled(config)
        theirs: dict[str, Any] = {
            "model_type": self.model_type,
            "architectures": [self.architecture_of(config)],
        }
        theirs |= {key: values[0] for key, values in self.accepted.items()}
        theirs |= {key: getattr(config, ours) for ours, key in self.fields.items()}
        theirs["vocab_size"] = config.vocab_size
        if self.activations:
            names = (name for name, ours in self.activations.items() if ours == config.activation)
            theirs[self.activation_key] = next(names, next(iter(self.activations)))
        theirs |= self.extra_keys(config)
        self._check_written(config, theirs)
        return theirs

    def unsupported(self, key: str, value: Any, supported: tuple[Any, ...]) -> UserError:
        """The error of a key of their config whose value our models do not have."""
        return UserError(
            f"this {self.model_type} has {key}={value!r} in its config; supported: "
            f"{', '.join(map(repr, supported))}. Choose another checkpoint."
        )

    def text_config(self, theirs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of their config.json that describes the text model; all of it by default."""
        return theirs

    def own_names(self, names: Mapping[str, Any] | list[str]) -> dict[str, str]:
        """The family's names, without prefix, to those in a file."""
        found = {}
        for name in names:
            renamed = name
            for pattern, replacement in self.renamed:
                renamed = re.sub(pattern, replacement, renamed)
            found[renamed.removeprefix(self.prefix)] = name
        return found

    def written_name(self, name: str, config: Any) -> str:
        """The name in a file that is written, of a model with this config."""
        is_body = self.architecture_of(config).endswith("Model") and config.kind == "transformer_encoder"
        return name if is_body or name.startswith(self.heads) else f"{self.prefix}{name}"

    def architecture_of(self, config: Any) -> str:
        """The class of transformers that reads a model with this config."""
        del config
        return self.architecture

    def _is_said(self, theirs: Mapping[str, Any], key: str) -> bool:
        return theirs[key] is not None or key in self.may_be_null

    def _value(self, theirs: Mapping[str, Any], key: str) -> Any:
        if key not in theirs:
            raise UserError(
                f"the config of this {self.model_type} lacks {key!r}. Download config.json again."
            )
        return theirs[key]

    def _check_written(self, config: Any, theirs: dict[str, Any]) -> None:
        """Their config, read again, is ours."""
        names = [name for entry in self.weight_map(config) for name in entry.theirs]
        shapes: dict[str, Shape] = {name: () for name in names}
        shapes[self.embeddings] = (
            config.vocab_size,
            getattr(config, "embedding_dim", 0) or config.hidden_dim,
        )
        again = self.read_config(theirs, FamilyTensors(shapes))
        differing = [
            f"model.{field.name}={getattr(config, field.name)!r} (there: {getattr(again, field.name)!r})"
            for field in dataclasses.fields(config)
            if field.name not in _FREE and not _same(getattr(config, field.name), getattr(again, field.name))
        ]
        if differing:
            raise UserError(
                f"{self.model_type} cannot express {', '.join(differing)}. Choose another family."
            )


def settled(config: Any) -> Any:
    """A config with defaults such as 0 resolved one way, and without options that another one switches off."""
    if not hasattr(config, "feed_forward_dim"):
        return config
    changes: dict[str, Any] = {"intermediate_dim": config.feed_forward_dim}
    if config.num_kv_heads == config.num_heads:
        changes["num_kv_heads"] = 0
    if config.head_width * config.num_heads == config.hidden_dim:
        changes["head_width"] = 0
    if abs(config.attention_scale - config.head_dim**-0.5) < 1e-9:
        changes["attention_scale"] = 0.0
    if getattr(config, "embedding_dim", 0) == config.hidden_dim:
        changes["embedding_dim"] = 0
    if getattr(config, "num_segments", 0) == 1:
        changes["num_segments"] = 0
    off = {"qk_norm_epsilon": config.qk_norm, "rotary_": config.positions == "rotary"}
    off |= {"relative_": config.positions == "relative", "full_attention_layers": config.sliding_window}
    off |= {"local_rotary_base": config.sliding_window and config.positions == "rotary"}
    off |= {"rotary_scaling": config.rotary_scaling and config.positions == "rotary"}
    for field in dataclasses.fields(config):
        if any(field.name.startswith(name) and not is_on for name, is_on in off.items()):
            changes[field.name] = field.default
    return dataclasses.replace(config, **changes)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-9 * max(abs(one), abs(other))
    return bool(one == other)
