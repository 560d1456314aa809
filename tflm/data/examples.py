"""read_examples: any source as a stream of examples, split, cleaned, with its bad rows counted."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from absl import logging

from tflm.data.chatterbot import read_chatterbot
from tflm.data.config import SPLITS, DataConfig
from tflm.data.docstring_questions import read_docstring_questions
from tflm.data.docstrings import read_docstrings
from tflm.data.files import find_bad_character, find_files, find_in_folder
from tflm.data.messages import read_messages
from tflm.data.parallel import read_parallel
from tflm.data.plain_text import read_part, read_text
from tflm.data.rows import Row
from tflm.data.squad import read_question_lines, read_squad
from tflm.data.tables import read_jsonl, read_table
from tflm.data.tagged_text import read_conll, read_segmented, read_tagged_jsonl
from tflm.data.tfds import read_tfds
from tflm.errors import UserError

Example = dict[str, str]
_NUM_PLACES = 5


@dataclass
class Report:
    """What one pass over the data met. It counts on while the examples are read."""

    num_rows: int = 0
    """Rows read, of all splits, bad ones included."""
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
            example, line, problem = clean(row, self.config.encoding)
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
        config = self.config
        if config.split == "tail" or (self.split != "train" and config.has_own_files(self.split)):
            return True
        content = key or example.get("source") or example["text"]
        eval_fraction = 0.0 if config.has_own_files("eval") else config.eval_fraction
        return hash_split(content, eval_fraction, config.test_fraction, config.train_fraction) == self.split

    def _refuse(self) -> None:
        report = self.report
        undecoded = report.bad_rows[_not_encoded(self.config.encoding)]
        hint = "; if the text is in another encoding, set data.encoding (Chinese text is often gb18030)"
        raise UserError(
            f"{report}. That is more than max_bad_rows={self.config.max_bad_rows} allows; "
            f"mend them or raise max_bad_rows{hint if 2 * undecoded > report.num_bad else ''}"
        )

    def _check_empty(self) -> None:
        if self.report.num_examples:
            return
        config = self.config
        where = find_place(config, self.split) or config.tfds_name or config.source
        if self.report.num_rows == 0:
            raise UserError(f"the data set is empty: {where} has no row with text")
        fractions = f"eval_fraction ({config.eval_fraction})"
        if config.test_fraction:
            fractions += f" or test_fraction ({config.test_fraction})"
        raise UserError(
            f"split {self.split!r} of {where} is empty: none of {self.report.num_rows} rows fell to it; "
            f"change {fractions}, or give files of its own"
        )


def read_examples(config: DataConfig, split: str) -> Examples:
    """The examples of a split, "train", "eval" or "test": dicts {"text"}, {"text", "label"}, {"text", "text_pair",
    "label"} or {"source", "target"}.

    >>> [e["text"] for e in read_examples(DataConfig(path="poem.txt", eval_fraction=0.0), "train")]
    ['床前明月光', '疑是地上霜']

    Raises:
        UserError: there is no such split; and see `Examples`.
    """
    if split not in SPLITS:
        raise UserError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if not {"train": True, "eval": config.has_eval, "test": config.has_test}[split]:
        raise UserError(
            f"there is no {split} split: {split}_fraction is 0 and there is no {split}_path or {split}_file; "
            "set one of them"
        )
    return Examples(config, split)


def find_place(config: DataConfig, split: str) -> str:
    """The path that a split is read from: its own, or that of the training data."""
    if not config.has_own_files(split):
        split = "train"
    name = getattr(config, f"{split}_file")
    if not name:
        return config.path if split == "train" else getattr(config, f"{split}_path")
    if config.source != "parallel":
        return find_in_folder(config.path, name, f"{split}_file")
    return os.path.join(config.path, name)


def read_rows(config: DataConfig, split: str) -> Iterator[Row]:
    """The rows of the place where a split's examples lie; the hash split is not made yet."""
    path, encoding = find_place(config, split), config.encoding
    if config.source == "docstrings":
        return read_docstrings(path, config.text_column, config.label_column)
    if config.source == "docstring_parameters":
        return read_docstring_questions(path)
    if config.source == "chatterbot":
        return read_chatterbot(config.languages, config.text_column, config.label_column)
    if config.source == "tfds":
        return read_tfds(config.tfds_name, path or "train", config.columns)
    if config.source == "parallel":
        return read_parallel(path, config.columns, encoding)
    files = find_files(path, config.source)
    if config.source == "conll":
        return read_conll(files, encoding)
    if config.source == "squad":
        return read_squad(files, encoding)
    if config.source == "segmented":
        return read_segmented(files, encoding)
    if config.messages_column:
        return read_messages(files, config.messages_column, encoding)
    if config.question_column:
        return read_question_lines(files, config.columns, encoding)
    if config.spans_column:
        return read_tagged_jsonl(files, config.text_column, config.spans_column, encoding)
    if config.source == "jsonl":
        return read_jsonl(files, config.columns, encoding)
    if config.source in ("csv", "tsv"):
        return read_table(files, config.columns, "," if config.source == "csv" else "\t", encoding)
    if config.split == "tail" and split != "test" and not config.has_own_files("eval"):
        return read_part(files, config.document, config.eval_fraction, split, encoding)
    return read_text(files, config.document, encoding)


def clean(row: Row, encoding: str = "utf-8") -> tuple[Example, int, str]:
    """(example, line, problem) of a row: byte-order marks off, cells stripped, bad text found.

    A text alone keeps its spaces, since they may matter there; pairs and labelled texts lose the outer ones.

    Args:
        encoding: what the text was read with, for the message.
    """
    example = {key: text.replace("\ufeff", "") for key, text in row.example.items()}
    for key, text in example.items():
        bad = find_bad_character(text)
        if bad >= 0:
            return {}, row.line + text.count("\n", 0, bad), _not_encoded(encoding)
        if not row.problem and not text.strip():
            return {}, row.line, f"no {key}"
    if len(example) > 1:
        example = {key: text.strip() for key, text in example.items()}
    return example, row.line, row.problem


def _not_encoded(encoding: str) -> str:
    return f"not {encoding.upper()}"


def hash_split(key: str, eval_fraction: float, test_fraction: float, train_fraction: float = 1.0) -> str:
    """The split that the content `key` falls to: "eval", "test" or "train"; "" for what a `train_fraction` leaves out.
    Case and spaces do not change it.

    The hash is a number in [0, 1): below eval_fraction is "eval", the next test_fraction is "test", and "train" begins
    at the other end. So a larger fraction of either has everything that a smaller one does, and more. (BLAKE2, RFC
    7693.)
    """
    normal = " ".join(key.split()).casefold()
    digest = hashlib.blake2b(normal.encode("utf-8"), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    if number < eval_fraction * 2**64:
        return "eval"
    held_out = eval_fraction + test_fraction
    if number < held_out * 2**64:
        return "test"
    return "train" if train_fraction == 1 or number >= (1 - train_fraction * (1 - held_out)) * 2**64 else ""
