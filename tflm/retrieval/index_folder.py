"""The files of a passage index: verified when read, replaced atomically when written.

    passage_index.json    the model, the passage length, document states, names and SHA-256 of the other files
    vectors-X.faiss       a vector per passage
    words-X.npz           sparse word counts per passage
    passages-X.jsonl      the passages in the same order, one per line: file, positions, lines, text

The data files are written under new names, then `passage_index.json`, which refers to them, is replaced. So a process
killed while writing leaves either the old or the new index.
"""

import contextlib
import dataclasses
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tflm.errors import UserError
from tflm.files.locks import lock_handle, wait_for
from tflm.files.writing import whole_file
from tflm.retrieval.bm25 import count_words
from tflm.retrieval.passages import INDEX_FILE

if TYPE_CHECKING:
    import faiss
    from scipy.sparse import csr_array

_FORMAT = 2  # the words of format 1 support alphabets and Han only; they are recomputed


@dataclasses.dataclass(frozen=True)
class Document:
    """The state of a file when it was read."""

    size: int
    mtime_ns: int
    sha256: str
    num_passages: int
    problem: str
    """What could not be read; "" without a problem."""


@dataclasses.dataclass
class IndexContents:
    """The contents of an index."""

    model: str
    """Path of the model, for messages."""
    fingerprint: str
    """Fingerprint of the model, see `Embedder`."""
    length: int
    """Maximum characters of a passage."""
    documents: dict[str, Document]
    """Documents by absolute path, in the order of the passages."""
    lines: list[bytes]
    """Passages as JSON."""
    vectors: "faiss.Index"
    """Unit vectors float32 [N, D]."""
    counts: "csr_array"
    """Word counts float32 [N, features], from `count_words`."""


def load_faiss() -> Any:
    """Imports faiss.

    Raises:
        UserError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            "searching documents needs the package faiss-cpu: pip install 'tflm[documents]'."
        ) from error
    return faiss


def read_index(folder: str) -> IndexContents | None:
    """Reads and verifies the index of a folder; None without an index.

    Raises:
        UserError: the index is damaged or of an unknown version, or faiss is not installed.
    """
    faiss = load_faiss()
    from scipy import sparse

    path = os.path.join(folder, INDEX_FILE)
    if not os.path.exists(path):
        return None
    try:
        with _lock(folder, exclusive=False):
            with open(path, "rb") as file:
                record = json.load(file)
            if (format_read := record.pop("format")) not in (1, _FORMAT):
                raise ValueError("it was written by another version of tflm")
            paths = [_verified_path(folder, name, digest) for name, digest in record.pop("files").items()]
            with open(paths[2], "rb") as file:
                lines = file.read().splitlines()
            documents = {name: Document(**state) for name, state in record.pop("documents").items()}
            vectors, counts = faiss.read_index(paths[0]), sparse.load_npz(paths[1])
            if format_read == 1:
                counts = count_words([json.loads(line)["text"] for line in lines])
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
    """Replaces the index of a folder.

    Raises:
        UserError: the folder cannot be written.
    """
    from scipy import sparse

    mark = secrets.token_hex(8)
    names = [f"vectors-{mark}.faiss", f"words-{mark}.npz", f"passages-{mark}.jsonl"]
    is_written = False
    try:
        os.makedirs(folder, exist_ok=True)
        with _lock(folder, exclusive=True):
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
            index_path = os.path.join(folder, INDEX_FILE)
            with whole_file(index_path) as aside, open(aside, "w", encoding="utf-8") as file:
                json.dump(record, file, indent=1)
            is_written = True
            _remove_others(folder, names)
    except (OSError, RuntimeError) as error:
        for name in () if is_written else names:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
        raise UserError(f"cannot write the index {folder!r}: {error}. Give another --index.") from error


def update_lock(folder: str) -> contextlib.AbstractContextManager[None]:
    """A lock for an update, from reading to writing the index, so that concurrent updates are not lost. Waits for other
    processes; does not lock a read-only folder.

    Raises:
        UserError: the folder cannot be created.
    """
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        return contextlib.nullcontext()
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the index {folder!r}: {error}. Give another --index.") from error
    return wait_for(os.path.join(folder, "update.lock"), f"the index {folder!r}")


def _write_lines(path: str, lines: list[bytes]) -> None:
    with open(path, "wb") as file:
        file.writelines(line + b"\n" for line in lines)


def _verified_path(folder: str, name: str, digest: str) -> str:
    path = os.path.join(folder, name)
    if _sha256(path) != digest:
        raise ValueError(f"{name} is not as it was written")
    return path


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_others(folder: str, names: list[str]) -> None:
    """Removes data files of earlier indexes and of killed writers."""
    for pattern in ("vectors-*.faiss", "words-*.npz", "passages-*.jsonl"):
        for path in glob.glob(os.path.join(glob.escape(folder), pattern)):
            if os.path.basename(path) not in names:
                os.unlink(path)


@contextlib.contextmanager
def _lock(folder: str, exclusive: bool) -> Iterator[None]:
    """A shared lock for readers or an exclusive lock for writers. The folder itself is locked, so that a read-only
    index can be read."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock_handle(handle, os.path.join(folder, INDEX_FILE), exclusive, wait=True)
        yield
    finally:
        os.close(handle)
