"""The folder of an index of passages: read whole and checked, written to one side and replaced in one step.

    passage_index.json    the model, the length of passages, each document's state, the names and SHA-256 of the rest
    vectors-X.faiss       a vector for each passage
    words-X.npz           how often each has each word, sparse
    passages-X.jsonl      the passages in the same order, one a line: file, places, lines, text

The three are written under new names; then `passage_index.json`, which names them, is replaced. So whoever is killed in
the midst leaves the old index whole or the new one.
"""

import contextlib
import dataclasses
import fcntl
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tflm.errors import UserError
from tflm.serving.passages import INDEX_FILE

if TYPE_CHECKING:
    import faiss
    from scipy.sparse import csr_array

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Document:
    """A file as it was when it was read."""

    size: int
    mtime_ns: int
    sha256: str
    num_passages: int
    problem: str
    """What of it could not be read; "" for nothing."""


@dataclasses.dataclass
class IndexContents:
    """What an index holds."""

    model: str
    """Where the model was, for messages."""
    fingerprint: str
    length: int
    documents: dict[str, Document]
    """By their absolute paths, in the order of the passages."""
    lines: list[bytes]
    """A passage each, as JSON."""
    vectors: "faiss.Index"
    """float32 [N, D] of length 1."""
    counts: "csr_array"
    """float32 [N, features], of `count_words`."""


def load_faiss() -> Any:
    """The module.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            "searching documents needs the package faiss-cpu: pip install 'tflm[documents]'."
        ) from error
    return faiss


def read_index(folder: str) -> IndexContents | None:
    """What the folder holds; None where it has no index.

    Raises:
        UserError: a damaged index, or one of another version; faiss is not installed.
    """
    faiss = load_faiss()
    from scipy import sparse

    path = os.path.join(folder, INDEX_FILE)
    if not os.path.exists(path):
        return None
    try:
        with _lock(folder, fcntl.LOCK_SH):
            with open(path, "rb") as file:
                record = json.load(file)
            if record.pop("format") != _FORMAT:
                raise ValueError("it was written by another version of tflm")
            paths = [_checked(folder, name, digest) for name, digest in record.pop("files").items()]
            with open(paths[2], "rb") as file:
                lines = file.read().splitlines()
            documents = {name: Document(**state) for name, state in record.pop("documents").items()}
            vectors, counts = faiss.read_index(paths[0]), sparse.load_npz(paths[1])
        contents = IndexContents(documents=documents, lines=lines, vectors=vectors, counts=counts, **record)
        numbers = {
            vectors.ntotal,
            counts.shape[0],
            len(lines),
            sum(d.num_passages for d in documents.values()),
        }
        if len(numbers) > 1:
            raise ValueError("its files do not belong together")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"the index {folder!r} is damaged: {type(error).__name__}: {error}. Give --rebuild to make it again, or "
            "another --index."
        ) from error
    return contents


def write_index(folder: str, contents: IndexContents) -> None:
    """Puts an index in the place of the one in the folder.

    Raises:
        UserError: the folder cannot be written.
    """
    from scipy import sparse

    mark = secrets.token_hex(8)
    names = [f"vectors-{mark}.faiss", f"words-{mark}.npz", f"passages-{mark}.jsonl"]
    try:
        os.makedirs(folder, exist_ok=True)
        with _lock(folder, fcntl.LOCK_EX):
            load_faiss().write_index(contents.vectors, os.path.join(folder, names[0]))
            sparse.save_npz(os.path.join(folder, names[1]), contents.counts, compressed=False)
            _write_lines(os.path.join(folder, names[2]), contents.lines)
            record = {
                "format": _FORMAT,
                "model": contents.model,
                "fingerprint": contents.fingerprint,
                "length": contents.length,
                "files": {name: _sha256(os.path.join(folder, name)) for name in names},
                "documents": {path: vars(document) for path, document in contents.documents.items()},
            }
            temporary = os.path.join(folder, INDEX_FILE + ".tmp")
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(record, file, indent=1)
            os.replace(temporary, os.path.join(folder, INDEX_FILE))
            _remove_others(folder, names)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write the index {folder!r}: {error}. Give another --index.") from error


def _write_lines(path: str, lines: list[bytes]) -> None:
    with open(path, "wb") as file:
        file.writelines(line + b"\n" for line in lines)


def _checked(folder: str, name: str, digest: str) -> str:
    path = os.path.join(folder, name)
    if _sha256(path) != digest:
        raise ValueError(f"{name} is not as it was written")
    return path


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_others(folder: str, names: list[str]) -> None:
    """Data files of earlier indexes, and what a killed writer left."""
    for pattern in ("vectors-*.faiss", "words-*.npz", "passages-*.jsonl"):
        for path in glob.glob(os.path.join(glob.escape(folder), pattern)):
            if os.path.basename(path) not in names:
                os.unlink(path)


@contextlib.contextmanager
def _lock(folder: str, kind: int) -> Iterator[None]:
    """Keeps a writer from removing what others read, and others from what it writes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that knows no locks
            fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)
