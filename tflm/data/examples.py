"""read_examples: any source as a stream of examples, split, cleaned, with its bad rows counted."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from absl import logging

from tflm.data.chatterbot import read_chatterbot
from tflm.data.config import DataConfig
from tflm.data.docstrings import read_docstrings
from tflm.data.files import find_bad_character, find_files
from tflm.data.plain_text import read_part, read_text
from tflm.data.rows import Row
from tflm.data.tables import read_jsonl, read_table
from tflm.data.tfds import read_tfds
from tflm.errors import UserError

Example = dict[str, str]
_NUM_PLACES = 5


@dataclass
class Report:
    """What one pass over the data met. It counts on while the examples are read."""

    num_rows: int = 0
    """Rows read, of both splits, bad ones included."""
    num_examples: int = 0
    """Rows of this split that were given out."""
    bad_rows: Counter[str] = field(default_factory=Counter)
    """Reason -> number of rows."""
    first_bad: list[str] = field(default_factory=list)
    """The first few bad rows: "file:line: reason"."""

    @property
    def num_bad(self) -> int:
        """Bad rows, for all reasons."""
        return sum(self.bad_rows.values())

    def add_bad(self, file: str, line: int, problem: str) -> None:
        """Counts one bad row."""
        self.bad_rows[problem] += 1
        if len(self.first_bad) < _NUM_PLACES:
            self.first_bad.append(f"{file}:{line}: {problem}" if line else f"{file}: {problem}")

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.bad_rows.most_common())
        return (
            f"{self.num_bad} of {self.num_rows} rows are bad ({reasons}); first {'; '.join(self.first_bad)}"
        )


_told: set[str] = set()


class Examples(Iterable[Example]):
    """The examples of one split; a stream, read anew by each `iter`.

    `report` tells of the last pass. A pass that meets bad rows logs a warning at its end, unless the same one was
    logged before: data is read more than once, for the vocabulary and for each side.

    Raises, while it is read:
        UserError: a file cannot be read, a column is missing, there are no examples, or more rows are bad
            than `max_bad_rows` allows. The message names file and line.
    """

    def __init__(self, config: DataConfig, split: str) -> None:
        self.config = config
        self.split = split
        self.report = Report()

    def __iter__(self) -> Iterator[Example]:
        report = self.report = Report()
        limit = self.config.max_bad_rows
        for row in read_rows(self.config, self.split):
            report.num_rows += 1
            example, line, problem = clean(row)
            if problem:
                report.add_bad(row.file, line, problem)
                if 1 <= limit < report.num_bad or limit == 0:
                    self._refuse()
            elif self._is_mine(example, row.key):
                report.num_examples += 1
                yield example
        if limit < 1 and report.num_bad > limit * report.num_rows:
            self._refuse()
        if report.num_bad and str(report) not in _told:
            _told.add(str(report))
            logging.warning("%s", report)
        self._check_empty()

    def _is_mine(self, example: Example, key: str) -> bool:
        if self.config.eval_path or self.config.split == "tail":
            return True
        content = key or example.get("source") or example["text"]
        return (self.split == "eval") == is_held_out(content, self.config.eval_fraction)

    def _refuse(self) -> None:
        raise UserError(
            f"{self.report}. That is more than max_bad_rows={self.config.max_bad_rows} allows; "
            f"mend them or raise max_bad_rows"
        )

    def _check_empty(self) -> None:
        if self.report.num_examples:
            return
        place = self.config.eval_path if self.split == "eval" and self.config.eval_path else self.config.path
        where = place or self.config.tfds_name or self.config.source
        if self.report.num_rows == 0:
            raise UserError(f"the data set is empty: {where} has no row with text")
        raise UserError(
            f"split {self.split!r} of {where} is empty: none of {self.report.num_rows} rows fell to it; "
            f"change eval_fraction ({self.config.eval_fraction}), or give eval_path"
        )


def read_examples(config: DataConfig, split: str) -> Examples:
    """The examples of a split, "train" or "eval": dicts {"text"} or {"source", "target"}.

    >>> [e["text"] for e in read_examples(DataConfig(path="poem.txt", eval_fraction=0.0), "train")]
    ['床前明月光', '疑是地上霜']

    Raises:
        UserError: there is no such split; and see `Examples`.
    """
    if split not in ("train", "eval"):
        raise UserError(f"split is {split!r}; it must be 'train' or 'eval'")
    if split == "eval" and not config.eval_path and config.eval_fraction == 0:
        raise UserError(
            "there is no eval split: eval_fraction is 0 and there is no eval_path; set one of them"
        )
    return Examples(config, split)


def read_rows(config: DataConfig, split: str) -> Iterator[Row]:
    """The rows of the place where a split's examples lie; the hash split is not made yet."""
    path = config.eval_path if split == "eval" and config.eval_path else config.path
    if config.source == "docstrings":
        return read_docstrings(path)
    if config.source == "chatterbot":
        return read_chatterbot(config.languages)
    if config.source == "tfds":
        return read_tfds(config.tfds_name, path or "train", config.columns)
    files = find_files(path, config.source)
    if config.source == "jsonl":
        return read_jsonl(files, config.columns)
    if config.source in ("csv", "tsv"):
        return read_table(files, config.columns, "," if config.source == "csv" else "\t")
    if config.split == "tail" and not config.eval_path:
        return read_part(files, config.document, config.eval_fraction, split)
    return read_text(files, config.document)


def clean(row: Row) -> tuple[Example, int, str]:
    """(example, line, problem) of a row: byte-order marks off, cells stripped, bad text found.

    Text documents keep their spaces, since they may matter there; sources and targets lose outer ones.
    """
    example = {key: text.replace("\ufeff", "") for key, text in row.example.items()}
    for key, text in example.items():
        bad = find_bad_character(text)
        if bad >= 0:
            return {}, row.line + text.count("\n", 0, bad), "not UTF-8"
        if not row.problem and not text.strip():
            return {}, row.line, f"no {key}" if key != "text" else "no text"
    if "source" in example:
        example = {key: text.strip() for key, text in example.items()}
    return example, row.line, row.problem


def is_held_out(key: str, eval_fraction: float) -> bool:
    """Whether the content `key` belongs to the eval split. Case and spaces do not change its side.

    A larger fraction holds out everything that a smaller one does, and more. (BLAKE2, RFC 7693.)
    """
    normal = " ".join(key.split()).casefold()
    digest = hashlib.blake2b(normal.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < eval_fraction * 2**64
