"""Folders of sentence-transformers: which pooling and normalization make a vector of a text; read and written."""

import json
import os
from typing import Any, NamedTuple

from tflm.errors import UserError
from tflm.files.writing import writing

MODULES = "modules.json"
_POOLINGS = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_TEXT_SETTINGS = "sentence_bert_config.json"
_NAMES = {"cls": "first", "mean": "mean", "max": "max", "lasttoken": "last"}


class SentenceSettings(NamedTuple):
    """What follows the model; without `pooling` the folder is not one of sentence-transformers."""

    pooling: str = ""
    """One of `tflm.layers.heads.POOLINGS`, or ""."""
    normalize: bool = False
    """Whether vectors are divided by their length."""
    max_tokens: int = 0
    """The longest text in tokens, special ones included; 0 for that of the model."""
    lowercase: bool = False
    """Whether texts are put into lower case before the tokenizer."""
    folder: str = ""
    """Where config.json is, below the folder; "" for the folder itself."""


def read_sentence_settings(path: str) -> SentenceSettings:
    """The settings in a folder; the default ones where it has no modules.json.

    Raises:
        UserError: a part is not supported or damaged.
    """
    if not os.path.isfile(os.path.join(path, MODULES)):
        return SentenceSettings()
    settings = SentenceSettings()
    for module in _json(os.path.join(path, MODULES)):
        kind, folder = str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))
        if kind == "Transformer":
            settings = settings._replace(folder=folder, **_text_settings(os.path.join(path, folder)))
        elif kind == "Pooling":
            settings = settings._replace(pooling=_pooling(os.path.join(path, folder, "config.json")))
        elif kind == "Normalize":
            settings = settings._replace(normalize=True)
        else:
            raise UserError(
                f"{path!r} has a module {kind!r}; supported: Transformer, Pooling, Normalize. Choose another "
                "checkpoint."
            )
    return settings


def write_sentence_settings(folder: str, settings: SentenceSettings, width: int) -> None:
    """Writes modules.json and what it names beside a model that was written, so that sentence-transformers loads it.

    Args:
        folder: of config.json and the weights.
        settings: with a pooling.
        width: of the vectors.
    """
    kinds = {"Transformer": "", "Pooling": "1_Pooling"} | (
        {"Normalize": "2_Normalize"} if settings.normalize else {}
    )
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(kinds.items())
    ]
    pooling = {key: name == settings.pooling for key, name in _POOLINGS.items()}
    limits = {"max_seq_length": settings.max_tokens, "do_lower_case": settings.lowercase}
    with writing(f"the folder {folder!r}"):
        for path in filter(None, kinds.values()):
            os.makedirs(os.path.join(folder, path), exist_ok=True)
        for name, content in {
            MODULES: modules,
            "1_Pooling/config.json": {"word_embedding_dimension": width, **pooling},
            _TEXT_SETTINGS: limits,
        }.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)


def _text_settings(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, _TEXT_SETTINGS)
    found = _json(path) if os.path.isfile(path) else {}
    return {
        "max_tokens": int(found.get("max_seq_length") or 0),
        "lowercase": bool(found.get("do_lower_case", False)),
    }


def _pooling(path: str) -> str:
    config = _json(path)
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    named = config.get("pooling_mode")
    if isinstance(named, str):
        chosen = [named]
    known = {**_POOLINGS, **_NAMES}
    if len(chosen) != 1 or chosen[0] not in known:
        raise UserError(
            f"{path!r} has the pooling {' and '.join(chosen) or 'none'}; supported: one of {', '.join(_NAMES)}. Choose "
            "another checkpoint."
        )
    return known[chosen[0]]


def _json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path!r}: {error}. Download the folder again.") from error
