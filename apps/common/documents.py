"""The flags of an app that reads documents, and the passages of them that are closest to a question.

An app calls `define_documents(FLAGS)`, and then

    documents = open_documents(flag_values)
    for found in documents.closest("How are the weights saved?"):
        print(f"{found.passage.file}:{found.passage.first_line}", found.score, found.passage.text)
"""

import dataclasses
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from tflm.errors import UsageError, UserError
from tflm.progress import ProgressBar

from .command_line import load_tensorflow, note, quiet_libraries

if TYPE_CHECKING:
    from tflm.retrieval.grounding import Grounding
    from tflm.retrieval.index import PassageIndex
    from tflm.retrieval.passages import Passage


class FoundPassage(NamedTuple):
    """A passage and how well it fits."""

    passage: "Passage"
    """Its file as the user named it."""
    score: float
    """The cosine of vectors and, from 0 to 1, shared words; see `PassageIndex.closest`."""


class Documents:
    """The passages of some files, ready to be searched."""

    def __init__(self, index: "PassageIndex", paths: dict[str, str], num_passages: int) -> None:
        """Searches an index that is up to date.

        Args:
            index: of the documents.
            paths: absolute path to the path to show.
            num_passages: how many `closest` finds.
        """
        self._index, self._paths, self._num_passages = index, paths, num_passages

    def closest(self, question: str) -> list[FoundPassage]:
        """The passages that fit a question best, the best first."""
        return [
            FoundPassage(dataclasses.replace(passage, file=self._paths[passage.file]), score)
            for passage, score in self._index.closest(question, self._num_passages)
        ]

    def grounding(self, min_nearness: float) -> "Grounding":
        """For a chat: passages that are near a question, and the lines that an answer cites."""
        from tflm.retrieval.grounding import Grounding

        return Grounding(self._index, self._num_passages, min_nearness, self._paths.__getitem__)


def define_documents(flag_values: flags.FlagValues) -> None:
    """--documents, --embedder, --num_passages, --passage_length, --index and --rebuild."""
    flags.DEFINE_multi_string(
        "documents",
        [],
        "Files, folders or globs to search. Of a folder, files that end in .txt, .md, "
        ".rst, .py, .jsonl or .ndjson (with the field text), .csv or .tsv, each also with .gz behind it; "
        "UTF-8, or UTF-16 with a byte-order mark.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "embedder",
        None,
        "With --documents: a SavedModel with the signature embed, which retrieves the passages. Example: "
        "saved_models/sentences.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "num_passages",
        5,
        "With --documents: passages to retrieve for each question.",
        lower_bound=1,
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "passage_length",
        None,
        "With --documents: maximum characters of a passage; 500 if not given. The embedder should read that much.",
        lower_bound=20,
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "index",
        None,
        "With --documents: the folder for the index of passages and vectors; later calls embed only new and changed "
        "files. If not given, a folder in the user's cache for these documents and this embedder.",
        flag_values=flag_values,
    )
    flags.DEFINE_boolean(
        "rebuild", False, "With --documents: build the index again from scratch.", flag_values=flag_values
    )


def open_documents(flag_values: flags.FlagValues) -> Documents:
    """The documents that the flags name, with an index that is up to date.

    Notes and a bar of progress go to standard error.

    Raises:
        UsageError: no --documents, or no --embedder.
        UserError: no such files, or nothing to read in them; no such model, or one without `embed`; an index of another
            model, or a damaged one.
    """
    if not flag_values.documents:
        raise UsageError("--documents is needed: files, folders or globs.")
    if not flag_values.embedder:
        raise UsageError(
            "--documents needs --embedder: a folder such as --embedder=saved_models/NAME, with the signature embed."
        )
    from tflm.retrieval.passages import find_documents

    paths = {os.path.abspath(path): path for path in find_documents(flag_values.documents)}
    load_tensorflow()
    from tflm.retrieval.embedder import Embedder
    from tflm.retrieval.index import PassageIndex
    from tflm.retrieval.index_folder import update_lock
    from tflm.serving import connect

    with quiet_libraries():
        embedder = Embedder(connect(flag_values.embedder))
    folder = flag_values.index or _default_index(flag_values.documents, flag_values.embedder)
    with (
        update_lock(folder),
        ProgressBar("embedding", "passages") as bar,
    ):
        index = PassageIndex.open_or_create(folder, embedder, flag_values.passage_length, flag_values.rebuild)
        changes = index.update(paths, bar.update)
    for path, problem in index.problems.items():
        note(f"{paths[path]}: {problem}")
    note(
        f"{len(index):,} passages of {len(paths):,} files ({changes.new:,} new, {changes.changed:,} changed, "
        f"{changes.unchanged:,} unchanged; {changes.deleted:,} deleted): {folder}"
    )
    if not len(index):
        raise UserError(
            f"--documents: nothing to read in {', '.join(flag_values.documents)}; all files are empty or left out."
        )
    return Documents(index, paths, flag_values.num_passages)


def _default_index(documents: list[str], embedder: str) -> str:
    """A folder in the user's cache, one for the same documents and the same embedder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    absolute = sorted({os.path.abspath(pattern) for pattern in documents})
    key = "\0".join([*absolute, os.path.abspath(embedder)])
    return os.path.join(cache, "tflm", "passages", hashlib.sha256(key.encode()).hexdigest()[:16])
