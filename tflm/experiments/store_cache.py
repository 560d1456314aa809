"""The cache of token stores that runs share: where it is, and the key of a store in it.

~/.cache/tflm/stores/KEY/     token_ids.values.npy, ..., store.json

The key is a hash of everything that a store depends on: the content of the data files (not their names), how they are
read, the tokenizer, the task, and the code that encodes. A store is linked into the run's folder, so that the cache may
be deleted at any time, and the run's folder copied elsewhere.
"""

import functools
import hashlib
import inspect
import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import logging

from tflm.config import to_dict
from tflm.data import DataConfig
from tflm.data.examples import find_place
from tflm.data.files import find_files, find_in_folder
from tflm.data.token_store import BuildOptions
from tflm.errors import UserError

CACHE = "TFLM_CACHE"
"""Environment variable: the folder of the cache; empty for none."""
DATA_WORKERS = "TFLM_DATA_WORKERS"
"""Environment variable: the number of processes that tokenise; 0, the default, for one, and later one for each CPU."""

_PLACES = ("path", "eval_path", "test_path", "train_file", "eval_file", "test_file")
_ENCODING_FOLDERS = ("config.py", "files", "text", "data", "tasks")
_ENCODING_PACKAGES = ("tensorflow", "tensorflow-text")
_FILES = ("text", "conll", "segmented", "squad", "jsonl", "csv", "tsv", "parallel")


def build_options(key_fn: Callable[[], str], make_encode_fn: Callable[[], Any]) -> BuildOptions:
    """How a run builds a store, by the environment.

    Args:
        key_fn: gives the key of the store in the cache; called if there is one.
        make_encode_fn: see `BuildOptions`.
    Raises:
        UserError: see `num_data_workers` and `store_key`.
    """
    folder = cache_folder()
    return BuildOptions(
        cache_folder=folder,
        cache_key=key_fn() if folder else "",
        num_workers=num_data_workers(),
        make_encode_fn=make_encode_fn,
    )


def cache_folder() -> str:
    """The folder of the cache, made if it is not there; "" without one: it is turned off, or cannot be written."""
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "tflm", "stores")
    folder = os.path.expanduser(os.environ.get(CACHE, default))
    if not folder:
        return ""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        problem = "" if os.access(folder, os.W_OK | os.X_OK) else "it cannot be written"
    except OSError as error:
        problem = str(error.strerror)
    if not problem:
        return folder
    logging.warning(
        "no cache of tokenised data in %r: %s. Data is tokenised for this run alone. Set %s to another folder, or to "
        "nothing.",
        folder,
        problem,
        CACHE,
    )
    return ""


def num_data_workers() -> int:
    """The number of processes that tokenise; 0 for one, and after a while one for each CPU.

    Raises:
        UserError: the environment variable is no such number.
    """
    given = os.environ.get(DATA_WORKERS) or "0"
    if not given.isdecimal():
        raise UserError(
            f"{DATA_WORKERS} is {given!r}; expected a number of processes, or 0 for one, and after a while one for "
            "each CPU."
        )
    return int(given)


def store_key(
    data: DataConfig, split: str, parts: Sequence[Any], files: Iterable[str], classes: Iterable[type]
) -> str:
    """The key of the store of a split, a hexadecimal number of 64 digits; "" where the data is not in files: its
    packages may change, and it is small.

    Args:
        data: the data set.
        split: "train", "eval" or "test".
        parts: further JSON values that the store depends on, such as the config of the task.
        files: further files that it depends on, such as those of the tokenizer.
        classes: the classes of task and tokenizer, which may be those of a plugin.
    Raises:
        UserError: a file is missing or cannot be read.
    """
    if data.source not in _FILES:
        return ""
    read = {name: value for name, value in to_dict(data).items() if name not in _PLACES}
    if split != "train":
        read.pop("augment", None)
    read["own_files"] = [data.has_own_files(side) for side in ("train", "eval", "test")]
    content = [(path.lower().endswith(".gz"), file_sha256(path)) for path in data_files(data, split)]
    known = [
        *(split, read, content, list(parts), [file_sha256(path) for path in files]),
        _code_sha256(frozenset(_sources(classes))),
        [metadata.version(package) for package in _ENCODING_PACKAGES if _is_installed(package)],
        unicodedata.unidata_version,
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def data_files(data: DataConfig, split: str) -> list[str]:
    """The files that a split is read from, in order, of a source that reads files.

    Raises:
        UserError: there are none.
    """
    place = find_place(data, split)
    if data.source != "parallel":
        return find_files(place, data.source)
    folder, name = os.path.split(place)
    return [
        find_in_folder(folder or ".", f"{name}.{ending}", f"{key}_column")
        for key, ending in data.columns.items()
    ]


def file_sha256(path: str) -> str:
    """The SHA-256 of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the file") from error


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _sources(classes: Iterable[type]) -> Iterable[str]:
    """Source files of the folders that read and encode, and of classes outside of them."""
    root = Path(__file__).parents[1]
    for name in _ENCODING_FOLDERS:
        place = root / name
        yield from map(str, [place] if place.is_file() else place.rglob("*.py"))
    for cls in classes:
        for base in inspect.getmro(cls):
            if base.__module__.split(".")[0] not in ("builtins", "abc", "tensorflow"):
                yield inspect.getfile(base)


@functools.lru_cache(maxsize=8)
def _code_sha256(paths: frozenset[str]) -> str:
    """Of the source files, whatever folder the package is in."""
    return hashlib.sha256("".join(sorted(map(file_sha256, paths))).encode()).hexdigest()
