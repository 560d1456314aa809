"""Weights to begin with: the body of an earlier run, or of an export, under a new task; or word vectors.

source = open_source("saved_models/poems")          # or "runs/poems"
check_fits(source, config.model)
print(load_body(model, source.path, weights))
# initial weights from saved_models/poems: 22 matched, 2 new (classification_head/output), 0 left
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tflm.config import from_dict
from tflm.errors import UserError
from tflm.export import version_numbers
from tflm.models import ModelConfig
from tflm.text import Tokenizer
from tflm.text.initial_embedding import initial_embedding, vocabulary_words
from tflm.text.word_vectors import read_word_vectors
from tflm.training.low_rank import is_adapter

EXPORTED_TOKENIZER = "assets.extra/tokenizer"
ORIGIN_FILE = "source.json"
"""In the run of an imported checkpoint: where it is from, its family and its own config."""
EXPORTED_ORIGIN = f"assets.extra/{ORIGIN_FILE}"

# Fields of `model` in which a body may differ from the one that it begins with. Not its heads': they are new.
_FREE = {"kind", "vocab_size", "max_length", "dropout", "attention_dropout", "token_dropout"}
_FREE |= {"recompute", "pad_id", "initializer_range", "zero_residual", "tied_output", "head_transform"}


@dataclasses.dataclass(frozen=True)
class Source:
    """A run, or a version of an export."""

    path: str
    """As it was given."""
    folder: str
    """The run's folder, or that of the version."""
    is_run: bool
    config: dict[str, Any]
    """Its config."""

    @property
    def model(self) -> dict[str, Any]:
        """The `model` section of its config."""
        return self.config["model"]

    @property
    def tokenizer_folder(self) -> str:
        """What `load_tokenizer` reads."""
        return os.path.join(self.folder, "tokenizer" if self.is_run else EXPORTED_TOKENIZER)


def check_beginning(
    init_from: str, word_vectors: str, model: ModelConfig, workdir: str, is_there: bool
) -> None:
    """Checks what a run is to begin with; with `is_there` it has begun.

    Raises:
        UserError: both are given, one is not there or does not fit the model, or `init_from` is in the run's folder.
    """
    if init_from and word_vectors:
        raise UserError(
            f"init_from={init_from!r} and word_vectors={word_vectors!r} both say what the embedding begins with. Give "
            "one of them."
        )
    if word_vectors and not is_there and not os.path.exists(word_vectors):
        raise UserError(f"word_vectors={word_vectors!r} is no file.")
    if init_from and not is_there:
        origin, own = os.path.realpath(init_from), os.path.realpath(workdir)
        if os.path.commonpath([origin, own]) == own:
            raise UserError(f"init_from={init_from!r} is in the run's own folder. Give another --workdir.")
        check_fits(open_source(init_from), model)


def open_source(path: str, field: str = "init_from") -> Source:
    """The run in `path`; or the export, its newest version where `path` names none.

    Args:
        path: a folder.
        field: of the config that names it, for messages.
    Raises:
        UserError: neither is there, or it lacks something.
    """
    folder, is_run = path, not os.path.exists(os.path.join(path, "saved_model.pb"))
    if is_run and (versions := version_numbers(path)):
        folder, is_run = os.path.join(path, str(versions[-1])), False
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = dict(json.load(file))
            dict(config["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{field}={path!r} holds no weights to begin with: no readable config.json in {folder!r}. Give the "
            "folder of a run (of `tflm train`), or of an export (saved_models/NAME or saved_models/NAME/VERSION)."
        ) from error
    source = Source(path, folder, is_run, config)
    if not os.path.isdir(source.tokenizer_folder):
        remedy = "Train it first." if is_run else "It was exported by an older tflm: export its run again."
        raise UserError(
            f"{field}={path!r} has no vocabulary: no folder {source.tokenizer_folder!r}. {remedy}"
        )
    return source


def origin_of(folder: str) -> dict[str, Any]:
    """What is known of the published checkpoint that a run or an export is of, or began with; {} of another."""
    seen = set()
    while folder and folder not in seen:
        seen.add(folder)
        if not os.path.exists(os.path.join(folder, "config.json")) and (versions := version_numbers(folder)):
            folder = os.path.join(folder, str(versions[-1]))
        for name in (ORIGIN_FILE, EXPORTED_ORIGIN):
            if os.path.isfile(path := os.path.join(folder, name)):
                with open(path, encoding="utf-8") as file:
                    return json.load(file)
        config = os.path.join(folder, "config.json")
        if not os.path.isfile(config):
            break
        with open(config, encoding="utf-8") as file:
            folder = json.load(file).get("init_from") or ""
    return {}


def check_fits(source: Source, model: ModelConfig) -> None:
    """Checks that the body of `source` is one that `model` describes, but for its heads.

    Fields without a variable of their own count too: with other `num_heads` the weights would fit and mean nothing.

    Raises:
        UserError: another kind, or other sizes or choices; names each field, with both values.
    """
    kind = source.model.get("kind")
    if kind != model.kind:
        raise UserError(
            f"init_from={source.path!r} is a model of the kind {kind!r}; model.kind is {model.kind!r} here. Choose a "
            "preset with the same kind of model, or other weights."
        )
    theirs, free = from_dict(type(model), source.model, "model."), _FREE
    if getattr(model, "positions", None) == "learned":
        free = free - {"max_length"}
    names = [field.name for field in dataclasses.fields(model) if field.name not in free]
    differing = {name: (getattr(theirs, name), getattr(model, name)) for name in names}
    differing = {name: pair for name, pair in differing.items() if pair[0] != pair[1]}
    if differing:
        shown = "; ".join(f"model.{name} is {a!r} there and {b!r} here" for name, (a, b) in differing.items())
        flags = " ".join(
            f"--set model.{name}={a if isinstance(a, str) else json.dumps(a)}"
            for name, (a, _) in differing.items()
        )
        raise UserError(f"the body of init_from={source.path!r} does not fit: {shown}. To take it: {flags}")


def load_body(model: Any, path: str, weights: Mapping[str, Any]) -> str:
    """Gives the body of `model` the weights of the same path, also its output layer, where both have one. A head of
    another task stays new.

    Args:
        model: a TextModel or a HeadModel with its variables made.
        path: where the weights are from, for messages.
        weights: path of a variable to its value, an array or what becomes one; all of the source.
    Returns:
        A line that says how many matched, what is new and what was left.
    Raises:
        UserError: the body has variables that the weights lack, or the other way round, or of other shapes. No
            variable has been changed then.
    """
    body = getattr(model, "body", model)
    here = {variable.path: variable for variable in model.weights}
    names = [name for name in sorted(here.keys() | weights.keys()) if name.startswith(f"{body.name}/")]
    for name in names:
        there, wanted = (list(side[name].shape) if name in side else "absent" for side in (weights, here))
        may_lack = _makes_logits(body, name) or is_adapter(name)
        if there != wanted and not (may_lack and "absent" in (there, wanted)):
            raise UserError(
                f"the weights of init_from={path!r} do not fit this model: {name} is {there} there and {wanted} "
                f"here{_field(name, there, wanted)}. Give the model the sizes of those weights, or begin with others."
            )
    matched = [name for name in names if name in weights and name in here]
    for name in matched:
        here[name].assign(np.asarray(weights[name]))
    new = [name for name in here if name not in matched]
    left = [name for name in weights if name not in matched]
    return (
        f"initial weights from {path}: {len(matched)} matched, {len(new)} new{_layers(new)}, "
        f"{len(left)} left{_layers(left)}"
    )


def load_word_vectors(model: Any, path: str, tokenizer: Tokenizer, seed: int) -> str:
    """Gives the embedding of `model` the vectors of a file; see `initial_embedding`.

    Args:
        model: a TextModel or a HeadModel with its variables made.
        path: in word2vec's text or binary format, or in GloVe's.
        tokenizer: of the model.
        seed: of the rows that the file does not have.
    Returns:
        A line that says how many rows are from the file.
    Raises:
        UserError: the file cannot be read, has vectors of another width, or none of the vocabulary.
    """
    table = read_word_vectors(path, wanted=vocabulary_words(tokenizer))
    embedding = getattr(model, "body", model).embedding.embeddings
    width = table.vectors.shape[1]
    if width != embedding.shape[1]:
        raise UserError(
            f"the vectors in word_vectors={path!r} have {width} numbers each; the embedding of this model has "
            f"{embedding.shape[1]}. Set model.hidden_dim={width}; an LSTM may have model.embedding_dim={width} with "
            "model.tied_output=false."
        )
    rows, num_found = initial_embedding(tokenizer, table, seed)
    embedding.assign(rows)
    return f"word vectors from {path}: {num_found:,} of {len(rows):,} tokens have theirs"


def _makes_logits(body: Any, name: str) -> bool:
    return name.split("/")[1] in body.output_layer_names


def _field(name: str, there: Any, here: Any) -> str:
    """The setting that decides, where it is known."""
    field = ""
    if "absent" in (there, here):
        field = "num_layers" if re.search(r"_\d+/", name) else ""
    elif match := re.search("/(token|position)_embedding/", name):
        rows = "vocab_size" if match[1] == "token" else "max_length"
        field = rows if there[0] != here[0] else "hidden_dim"
    return f" (model.{field})" if field else ""


def _layers(names: Iterable[str]) -> str:
    """ " (classification_head/output)" for the kernel and the bias of that layer."""
    layers = sorted({"adapters" if is_adapter(name) else name.rpartition("/")[0] for name in names})
    more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
    return f" ({', '.join(layers[:3])}{more})" if layers else ""
