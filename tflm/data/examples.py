"""read_examples: a stream of cleaned examples of one split from any source, with a report of bad rows."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from absl import logging

from tflm.data.config import SPLITS, DataConfig
from tflm.data.files import find_bad_character, find_files, find_in_folder
from tflm.data.personal.masked_examples import ExampleMasker
from tflm.data.sources.chatterbot import read_chatterbot
from tflm.data.sources.docstring_questions import read_docstring_questions
from tflm.data.sources.docstrings import read_docstrings
from tflm.data.sources.messages import read_messages
from tflm.data.sources.parallel import read_parallel
from tflm.data.sources.plain_text import read_documents, read_part
from tflm.data.sources.rows import Row
from tflm.data.sources.squad import read_question_lines, read_squad
from tflm.data.sources.tables import read_jsonl, read_table
from tflm.data.sources.tagged_text import read_conll, read_segmented, read_tagged_jsonl
from tflm.data.sources.tfds import read_tfds
from tflm.errors import UserError
from tflm.files.formats import JOINED, source_of
from tflm.text.words import same_text_key

Example = dict[str, str]
_NUM_PLACES = 5


@dataclass
class Report:
    """Counts of one pass over the data, updated while the examples are read."""

    num_rows: int = 0
    """Rows read, of all splits, including bad rows."""
    num_examples: int = 0
    """Examples of this split."""
    bad_rows: Counter[str] = field(default_factory=Counter)
    """Number of bad rows by reason."""
    num_lines: int = 0
    """Lines of all rows."""
    num_bad_lines: int = 0
    """Lines of the bad rows."""
    first_bad: list[str] = field(default_factory=list)
    """The first bad rows: "file:line: reason"."""
    masked: Counter[str] = field(default_factory=Counter)
    """Number of spans of personal data that were masked in the examples of this split, by kind."""

    @property
    def num_bad(self) -> int:
        """Number of bad rows."""
        return sum(self.bad_rows.values())

    def add_row(self, row: Row) -> None:
        """Counts a row, good or bad, and the rows lost with it."""
        self.num_rows += row.num_rows
        self.num_lines += row.num_lines

    def add_bad(self, row: Row, line: int, problem: str) -> None:
        """Counts a bad row and the rows lost with it; `line` is the line of the problem."""
        self.bad_rows[problem] += row.num_rows
        self.num_bad_lines += row.num_lines
        if len(self.first_bad) < _NUM_PLACES:
            place = f"{row.file}:{line}" if line else row.file
            if row.num_lines > 1 and row.num_rows == row.num_lines:
                place = f"{row.file}:{row.line}-{row.line + row.num_lines - 1}"
            self.first_bad.append(f"{place}: {problem}")

    def add(self, other: "Report") -> None:
        """Counts the pass over another source."""
        self.num_rows += other.num_rows
        self.num_examples += other.num_examples
        self.bad_rows += other.bad_rows
        self.num_lines += other.num_lines
        self.num_bad_lines += other.num_bad_lines
        self.first_bad += other.first_bad
        self.masked += other.masked

    def exceeds(self, limit: float) -> bool:
        """Whether the fraction of bad rows or of bad lines is above the limit; one row may be most of a file."""
        return self.num_bad > limit * self.num_rows or self.num_bad_lines > limit * self.num_lines

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.bad_rows.most_common())
        lines = ""
        if self.num_bad_lines > self.num_bad:
            lines = f", {self.num_bad_lines} of {self.num_lines} lines,"
        return f"{self.num_bad} of {self.num_rows} rows{lines} are bad ({reasons}); first {'; '.join(self.first_bad)}"


_warned: set[str] = set()


class Examples(Iterable[Example]):
    """The examples of one split; a stream that each `iter` reads from the start.

    `report` describes the last pass. A pass with bad rows logs a warning at its end, once per message, since data is
    read several times: for the vocabulary and for each split.

    Raises:
        UserError: while reading: a file cannot be read, a column is missing, there are no examples, or there are more
            bad rows than `max_bad_rows`. The message names file and line.
    """

    def __init__(self, config: DataConfig, split: str) -> None:
        self.config = config
        self.split = split
        self.report = Report()

    def __iter__(self) -> Iterator[Example]:
        return (example for _, example in self.with_places())

    def with_places(self) -> Iterator[tuple[str, Example]]:
        """Each example with the file and the line where it begins, "data.tsv:17"."""
        report = self.report = Report()
        if self.config.mixture:
            yield from self._of_sources()
            return
        limit = self.config.max_bad_rows
        masker = ExampleMasker(self.config.mask_personal) if self.config.mask_personal else None
        for row in read_rows(self.config, self.split):
            report.add_row(row)
            example, line, problem = clean(row, self.config.encoding)
            if problem:
                self._add_bad(row, line, problem)
            elif self._in_split(example, row.key):
                if masker is not None:
                    example, counts, problem = masker.masked(example)
                    if problem:
                        self._add_bad(row, line, problem)
                        continue
                    report.masked.update(counts)
                report.num_examples += 1
                yield f"{row.file}:{row.line}" if row.line else row.file, example
        if limit < 1 and report.exceeds(limit):
            self._refuse()
        if report.num_bad and str(report) not in _warned:
            _warned.add(str(report))
            logging.warning("%s", report)
        self._check_empty()

    def _add_bad(self, row: Row, line: int, problem: str) -> None:
        self.report.add_bad(row, line, problem)
        limit = self.config.max_bad_rows
        if 1 <= limit < self.report.num_bad or limit == 0:
            self._refuse()

    def _of_sources(self) -> Iterator[tuple[str, Example]]:
        """Those of each source of a mixture that has this split."""
        for source in self.config.sources.values():
            if source.has_split(self.split):
                examples = Examples(source, self.split)
                yield from examples.with_places()
                self.report.add(examples.report)

    def _in_split(self, example: Example, key: str) -> bool:
        config = self.config
        if config.split == "tail" or (self.split != "train" and config.has_own_files(self.split)):
            return True
        content = key or example.get("source") or example["text"]
        eval_fraction = 0.0 if config.has_own_files("eval") else config.eval_fraction
        return hash_split(content, eval_fraction, config.test_fraction, config.train_fraction) == self.split

    def _refuse(self) -> None:
        report = self.report
        undecoded = report.bad_rows[_not_encoded(self.config.encoding)]
        joined = sum(count for problem, count in report.bad_rows.items() if problem.startswith(JOINED))
        hint = ""
        if 2 * undecoded > report.num_bad:
            hint = "; if the text is in another encoding, set data.encoding (Chinese text is often gb18030)"
        elif 2 * joined > report.num_bad:
            hint = '; close every cell that begins with a quotation mark, and write quotation marks inside it as ""'
        raise UserError(
            f"{report}. That is more than max_bad_rows={self.config.max_bad_rows} allows; "
            f"fix them or raise max_bad_rows{hint}"
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
            f"split {self.split!r} of {where} is empty: none of {self.report.num_rows} rows is in it; "
            f"change {fractions}, or give the split its own file"
        )


def read_examples(config: DataConfig, split: str) -> Examples:
    """The examples of a split, "train", "eval" or "test": dicts with the keys of `DataConfig.columns`.

    >>> [e["text"] for e in read_examples(DataConfig(path="poem.txt", eval_fraction=0.0), "train")]
    ['床前明月光', '疑是地上霜']

    Raises:
        UserError: unknown split, or the data set does not have it; and see `Examples`.
    """
    if split not in SPLITS:
        raise UserError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    if not config.has_split(split):
        raise UserError(
            f"there is no {split} split: {split}_fraction is 0 and there is no {split}_path or {split}_file; "
            "set one of them"
        )
    return Examples(config, split)


def find_place(config: DataConfig, split: str) -> str:
    """The path that a split is read from: its own path, or that of the training data."""
    if not config.has_own_files(split):
        split = "train"
    name = getattr(config, f"{split}_file")
    if not name:
        return config.path if split == "train" else getattr(config, f"{split}_path")
    if config.source != "parallel":
        return find_in_folder(config.path, name, f"{split}_file")
    return os.path.join(config.path, name)


def read_rows(config: DataConfig, split: str) -> Iterator[Row]:
    """All rows at the path of a split, before the hash split."""
    if config.source == "none":
        raise UserError(
            "there is no data: this run is an imported checkpoint. To train from it: tflm train --init_from=RUN "
            "--data=FILE --task=TASK --workdir=ANOTHER."
        )
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
        return read_table(files, config.columns, config.source, encoding)
    _warn_of_tables(files)
    if config.split == "tail" and split != "test" and not config.has_own_files("eval"):
        return read_part(files, config.document, config.eval_fraction, split, encoding)
    return read_documents(files, config.document, encoding)


def _warn_of_tables(files: list[str]) -> None:
    """Warns, once per file, of files with a table extension that are read as plain text."""
    for file in files:
        source = source_of(file)
        if source != "text" and file not in _warned:
            _warned.add(file)
            logging.warning(
                "%s is read as plain text, line by line; to read its columns set data.source=%s",
                file,
                source,
            )


def clean(row: Row, encoding: str = "utf-8") -> tuple[Example, int, str]:
    """Cleans a row: removes byte-order marks, strips cells, detects decoding errors and empty cells.

    Examples with a single text keep leading and trailing spaces, which may be significant.

    Args:
        row: a row of a reader.
        encoding: encoding of the file, for the message.
    Returns:
        The example, the line of the problem, and the problem, "" for a good row.
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
    """The split of an example with the content `key`: "eval", "test" or "train"; "" if excluded by `train_fraction`.
    Case, spaces and Unicode normalization do not matter.

    The hash (BLAKE2, RFC 7693) is a number in [0, 1): values below eval_fraction are "eval", the next test_fraction is
    "test", and "train" extends down from 1. So the split of a smaller fraction is a subset of that of a larger one.
    """
    digest = hashlib.blake2b(same_text_key(key).encode("utf-8"), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    if number < eval_fraction * 2**64:
        return "eval"
    held_out = eval_fraction + test_fraction
    if number < held_out * 2**64:
        return "test"
    return "train" if train_fraction == 1 or number >= (1 - train_fraction * (1 - held_out)) * 2**64 else ""
