"""A public checkpoint: its config and its weights as ours.

checkpoint = read_checkpoint("Qwen2.5-0.5B-Instruct")
model = build_model(checkpoint.model_config)
checkpoint.load_into(model)
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from tflm.errors import UserError
from tflm.models.checkpoints.family import FAMILIES, Family, FamilyTensors
from tflm.models.checkpoints.gguf_models import open_gguf
from tflm.models.checkpoints.google_bert import BERT_CONFIG, open_google_bert
from tflm.models.checkpoints.sentence import SentenceSettings, read_sentence_settings
from tflm.models.checkpoints.tensor_files import Shape, TensorSource, open_tensors, some
from tflm.models.checkpoints.weight_map import VOCABULARY, Entry
from tflm.models.text_model import ModelConfig
from tflm.registry import UnknownNameError

_POSITIONS = "position_embedding/embeddings"
_BLOCK = 1 << 26
"""Bytes of a tensor that are assigned at once."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What is in a folder or file of a public checkpoint; the weights are read when they are loaded."""

    path: str
    """As it was given."""
    folder: str
    """The folder of config.json and the tokenizer; of a GGUF file, the file."""
    family: str
    """The `model_type`: bert, qwen2, ..."""
    model_config: ModelConfig
    """Our config; its `vocab_size` is the number of rows of the embedding."""
    metadata: Mapping[str, Any]
    """Their config.json, or the metadata of a GGUF file."""
    sentence: SentenceSettings
    """How a sentence-transformers folder makes a vector of a text."""
    left_out: tuple[str, ...]
    """Tensors that our model has no place for: heads of other tasks."""
    entries: tuple[Entry, ...] = dataclasses.field(repr=False)
    tensors: FamilyTensors = dataclasses.field(repr=False)

    @property
    def num_rows(self) -> int:
        """Rows of the token embedding."""
        return self.model_config.vocab_size

    def load_into(self, model: Any) -> None:
        """Gives every variable of a model its weights, one tensor at a time.

        Args:
            model: from `build_model` with `model_config`, or a head model on one. It may have one token more, for
                padding: its weights are 0. It may have fewer positions, where these are learned.
        Raises:
            UserError: a shape does not fit, or a file is damaged. The shapes are compared before any variable is
                changed.
        """
        body = getattr(model, "body", model)
        variables = {variable.path.partition("/")[2]: variable for variable in body.weights}
        absent = sorted({name for entry in self.entries for name in entry.ours} ^ variables.keys())
        if absent:
            raise UserError(
                f"the model does not fit {self.path!r}: it differs in {some(absent)}. Build it with the config of "
                "the checkpoint."
            )
        self._check_shapes(variables)
        for entry in self.entries:
            arrays = list(entry.transform.read(*(self.tensors.read(name) for name in entry.theirs)))
            for name in entry.ours:  # each array is let go before the next one is made: embeddings are large
                _assign(variables[name], _fitted(name, arrays.pop(0), tuple(variables[name].shape)))

    def _check_shapes(self, variables: Mapping[str, Any]) -> None:
        for entry in self.entries:
            shapes = [self.tensors.shapes[name] for name in entry.theirs]
            empty = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
            try:
                found = [array.shape for array in entry.transform.read(*empty)]
            except (ValueError, IndexError) as error:
                raise self._misfit(entry, shapes, f"{error}") from error
            for name, shape in zip(entry.ours, found, strict=True):
                expected = tuple(variables[name].shape)
                if _fitted_shape(name, shape, expected) != expected:
                    raise self._misfit(entry, shapes, f"{name} is {list(expected)}, there {list(shape)}")

    def _misfit(self, entry: Entry, shapes: Sequence[Shape], reason: str) -> UserError:
        theirs = ", ".join(f"{name} {list(shape)}" for name, shape in zip(entry.theirs, shapes, strict=True))
        return UserError(
            f"{theirs} of {self.path!r} does not fit its config: {reason}. Download config.json and the weights again, "
            "from one place."
        )


def read_checkpoint(path: str) -> Checkpoint:
    """The checkpoint in a folder or a GGUF file; no weights are read yet.

    Args:
        path: a folder as transformers writes it, also of sentence-transformers; a folder of Google's BERT with
            `bert_model.ckpt`; a GGUF file, or a folder with one.
    Raises:
        UserError: something is missing, damaged or not supported; the message says what, and what to do.
    """
    sentence = SentenceSettings()
    if gguf := _gguf_path(path):
        folder, (theirs, metadata, source) = gguf, open_gguf(gguf)
    elif os.path.isfile(os.path.join(path, BERT_CONFIG)):
        folder, (theirs, source) = path, open_google_bert(path)
        metadata = theirs
    else:
        sentence = read_sentence_settings(path)
        folder = os.path.join(path, sentence.folder) if sentence.folder else path
        metadata = theirs = read_json(os.path.join(folder, "config.json"))
        source = open_tensors(folder)
    family = _family(theirs, path)
    tensors, left_out = _tensors(family, source)
    config = family.read_config(family.text_config(theirs), tensors)
    entries = tuple(family.weight_map(config))
    _check_names(family, source, tensors, entries)
    return Checkpoint(path, folder, family.model_type, config, metadata, sentence, left_out, entries, tensors)


def read_json(path: str) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint.

    Raises:
        UserError: the file is missing or damaged.
    """
    folder, name = os.path.split(path)
    if not os.path.isfile(path):
        found = some(sorted(os.listdir(folder))) if os.path.isdir(folder) else "no such folder"
        raise UserError(
            f"{folder!r} is no checkpoint: it has no {name} (found: {found or 'nothing'}). Give a folder with "
            "config.json, the weights and the tokenizer, or a .gguf file."
        )
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{path!r} is not JSON: {error}. Download it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path!r} is no JSON object. Download it again.")
    return content


def _gguf_path(path: str) -> str:
    """The GGUF file that a path means; "" for none."""
    if os.path.isfile(path):
        return path
    if not os.path.isdir(path) or os.path.isfile(os.path.join(path, "config.json")):
        return ""
    found = sorted(name for name in os.listdir(path) if name.endswith(".gguf"))
    if len(found) > 1:
        raise UserError(f"{path!r} has several GGUF files: {some(found)}. Give one of them.")
    return os.path.join(path, found[0]) if found else ""


def _family(theirs: Mapping[str, Any], path: str) -> Family:
    name = str(theirs.get("model_type", ""))
    if "quantization_config" in theirs:
        method = (theirs["quantization_config"] or {}).get("quant_method", "unknown")
        raise UserError(
            f"{path!r} is quantized ({method}). Give the checkpoint that it was made from, or a GGUF file."
        )
    try:
        return FAMILIES.get(name)(name)
    except UnknownNameError as error:
        raise UserError(
            f"{path!r} is of the model_type {name!r}; supported: {', '.join(FAMILIES.names())}. Choose a checkpoint "
            "of one of these."
        ) from error


def _tensors(family: Family, source: TensorSource) -> tuple[FamilyTensors, tuple[str, ...]]:
    """Tensors by the names of the family, and those that are left out."""
    places = family.own_names(list(source.shapes))
    left_out = [own for own in places if _matches(own, family.dropped)]
    kept = {
        own: name for own, name in places.items() if own not in left_out and not _matches(own, family.ignored)
    }
    if family.embeddings not in kept:
        raise UserError(
            f"{source.place!r} has no {family.embeddings}, which {family.model_type} needs; found "
            f"{some(sorted(places))}. Check that config.json belongs to these weights."
        )
    shapes = {own: source.shapes[name] for own, name in kept.items()}
    return FamilyTensors(shapes, source, kept), tuple(left_out)


def _check_names(
    family: Family, source: TensorSource, tensors: FamilyTensors, entries: Sequence[Entry]
) -> None:
    needed = {name for entry in entries for name in entry.theirs}
    missing = sorted(needed - tensors.shapes.keys())
    unknown = sorted(tensors.shapes.keys() - needed - tensors.copies)
    if missing or unknown:
        lacking = f" It lacks {some(missing)}." if missing else ""
        surplus = f" It has {some(unknown)}, which tflm does not know." if unknown else ""
        raise UserError(
            f"the tensors of {source.place!r} are not those of a {family.model_type} with its config.{lacking}"
            f"{surplus} Check that config.json belongs to these weights, and that all of them were downloaded."
        )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _assign(variable: Any, array: np.ndarray) -> None:
    """Some rows at a time where it is large: the variable's dtype, contiguous and on the device are a copy each."""
    dtype = _dtype(variable)
    if array.nbytes <= _BLOCK:
        variable.assign(np.ascontiguousarray(array, dtype))
        return
    count = max(1, _BLOCK * len(array) // array.nbytes)
    for first in range(0, len(array), count):
        rows = slice(first, first + count)
        variable.value[rows].assign(np.ascontiguousarray(array[rows], dtype))


def _dtype(variable: Any) -> Any:
    return ml_dtypes.bfloat16 if variable.dtype == "bfloat16" else np.dtype(variable.dtype)


def _fitted_shape(name: str, shape: Shape, expected: Shape) -> Shape:
    """The shape after `_fitted`."""
    if name in VOCABULARY and len(shape) == len(expected):
        axis = VOCABULARY[name]
        if expected[axis] == shape[axis] + 1:
            return (*shape[:axis], expected[axis], *shape[axis + 1 :])
    if name.endswith(_POSITIONS) and len(shape) == 2 and expected[0] < shape[0]:
        return (expected[0], shape[1])
    return shape


def _fitted(name: str, array: np.ndarray, expected: Shape) -> np.ndarray:
    """With a row of zeros for one more token, or without the positions beyond those of the model."""
    if array.shape == expected:
        return array
    if name.endswith(_POSITIONS):
        return array[: expected[0]]
    padding = [(0, size - own) for size, own in zip(expected, array.shape, strict=True)]
    return np.pad(array, padding)
