"""DataConfig: sources, columns and splits of a data set."""

import dataclasses
import os
import re
from dataclasses import dataclass

from tflm.config import option
from tflm.data.augmentation import AugmentationConfig
from tflm.data.personal.patterns import check_kinds
from tflm.errors import UserError

_TABLES = ("jsonl", "csv", "tsv", "tfds")
_WITHOUT_COLUMNS = ("text", "conll", "segmented")
_QUESTIONS = ("squad", "docstring_parameters")
_NONE = "none"
_FILES = (*_WITHOUT_COLUMNS, "squad", "jsonl", "csv", "tsv", "parallel")
_BUILT_IN = {  # source -> allowed values of text_column and label_column
    "docstrings": (("docstring",), ("package",)),
    "chatterbot": (("dialogue",), ("topic", "language")),
}
_COLUMNS = (
    "text_column",
    "text_pair_column",
    "label_column",
    "spans_column",
    "messages_column",
    "question_column",
    "context_column",
    "answer_column",
    "answer_start_column",
    "source_column",
    "target_column",
)
_TEXT_COLUMNS = (
    {"text_column"},
    {"text_column", "label_column"},
    {"text_column", "text_pair_column", "label_column"},
)
_CHOICES = {
    "source": (*_WITHOUT_COLUMNS, *_TABLES, "parallel", *_QUESTIONS, *_BUILT_IN, _NONE),
    "split": ("hash", "tail"),
    "document": ("line", "paragraph", "file"),
}
SPLITS = ("train", "eval", "test")


@dataclass(frozen=True)
class MixtureConfig:
    """One source of a mixture: `{"path": "wiki.txt", "weight": 0.7}`. Empty fields are those of the data config;
    columns only if the source has columns."""

    path: str
    """A file, a folder or a glob; see `DataConfig.path`."""
    weight: float
    """Share of the training examples, or blocks of tokens, relative to the other weights."""
    name: str = option("")
    """Name in logs and reports; by default that of the file without its ending."""
    source: str = option("")
    """Format of the files; see `DataConfig.source`."""
    eval_path: str = option("")
    """Path of the evaluation split. Without it, a part of the data at `path` is held out."""
    test_path: str = option("")
    """Path of the test split."""
    encoding: str = option("")
    """Python name of the text encoding."""
    document: str = option("")
    """Unit of a plain text example: "line", "paragraph" or "file"."""
    text_column: str = option("")
    """Column of the text; see `DataConfig.text_column`, and so for the other columns."""
    text_pair_column: str = option("")
    """Column of the second text."""
    label_column: str = option("")
    """Column of the label."""
    spans_column: str = option("")
    """Column of labelled spans."""
    messages_column: str = option("")
    """Column of a conversation."""
    question_column: str = option("")
    """Column of the question."""
    context_column: str = option("")
    """Column of the context."""
    answer_column: str = option("")
    """Column of the answer."""
    answer_start_column: str = option("")
    """Column of the start of the answer."""
    source_column: str = option("")
    """Column of the source of pairs."""
    target_column: str = option("")
    """Column of the target of pairs."""

    def __post_init__(self) -> None:
        if not self.weight > 0 or self.weight == float("inf"):
            raise UserError(f"the weight of {self.path!r} is {self.weight}; it must be a number above 0")
        if not self.path:
            raise UserError("a source of the mixture has no path; give a file, a folder or a glob")
        if not _NAME.fullmatch(self.known_name):
            raise UserError(
                f"the source {self.path!r} of the mixture has the name {self.known_name!r}; give it a name of letters, "
                "digits, '-' and '_'"
            )

    @property
    def known_name(self) -> str:
        """The name, or that of the file without its endings.

        >>> MixtureConfig("corpora/wiki.txt.gz", 1.0).known_name
        'wiki'
        """
        return self.name or os.path.basename(self.path.rstrip("/")).split(".")[0]


_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class DataConfig:
    """Describes a data set. Empty strings are unset.

    Raises:
        UserError: invalid fields; the message names them.
    """

    source: str = "text"
    """"text", "jsonl", "csv", "tsv", "parallel" (two line-aligned files such as `train.en` and `train.de`), "conll"
    (one token and its tag per line), "segmented" (words separated by spaces), "tfds" (TensorFlow Datasets), "squad"
    (JSON of SQuAD, DRCD or CMRC 2018), "docstrings" (bodies and summaries of docstrings of the installed Python
    packages), "docstring_parameters" (questions about their parameters) "chatterbot" (dialogues of its corpus
    package), or "none" (an imported checkpoint: nothing to train on)."""
    path: str = ""
    """A file, a glob (`texts/**/*.txt`) or a folder, of which all files with an extension of the source are read. Files
    may be compressed with gzip (`.gz`). "parallel": the path of the files without extension. "docstrings": a folder of
    Python sources, by default the site-packages of the running interpreter. "tfds": name of a split, by default
    "train"."""
    eval_path: str = ""
    """Path of the evaluation split. Without it, a part of the data at `path` is held out."""
    test_path: str = ""
    """Path of the test split."""
    train_file: str = ""
    """Name of the training file in the folder `path`, with or without `.gz`. "parallel": without extension."""
    eval_file: str = ""
    """Name of the evaluation file in the folder `path`, instead of `eval_path`."""
    test_file: str = ""
    """Name of the test file in the folder `path`, instead of `test_path`."""
    encoding: str = "utf-8"
    """Python name of the text encoding: "gb18030" (a superset of GBK and GB2312), "big5", "utf-16-le", ... With
    "utf-8", a byte-order mark of UTF-16 or UTF-32 takes precedence."""
    eval_fraction: float = 0.05
    """Fraction held out for evaluation if the split has no files. 0 for no evaluation split."""
    test_fraction: float = 0.0
    """Fraction held out for the test split, by hash, if the split has no files."""
    train_fraction: float = 1.0
    """Fraction of the training split to train on, by hash, for learning curves; smaller fractions are subsets of larger
    ones. Vocabulary and labels are those of the whole training split."""
    split: str = "hash"
    """"hash": a hash of the content assigns an example to a split, so duplicates are in the same split. "tail": a
    single text is split at character `int(n * (1 - eval_fraction))`."""
    document: str = "line"
    """Unit of a plain text example: "line", "paragraph" (separated by blank lines) or "file"."""
    text_column: str = ""
    """Column of the text for jsonl, csv, tsv and tfds, by name, or by index ("0") for csv or tsv without a header.
    docstrings: "docstring" for summary and body. chatterbot: "dialogue" for question and answer on two lines."""
    text_pair_column: str = ""
    """Column of the second text of labelled text pairs."""
    label_column: str = ""
    """Column of the label of labelled texts, with `text_column`. docstrings: "package"; chatterbot: "topic" or
    "language" of the question."""
    spans_column: str = ""
    """jsonl: column of the labelled spans of a text, a list of [start, end, label]."""
    messages_column: str = ""
    """jsonl: column of a conversation, a list of {"role": "user" or "assistant" or "system", "content": text}."""
    question_column: str = ""
    """jsonl: column of the question."""
    context_column: str = ""
    """jsonl: column of the context that contains the answer."""
    answer_column: str = ""
    """jsonl: column of the answer, a span of the context: a string or a list of strings; empty for unanswerable."""
    answer_start_column: str = ""
    """jsonl: column of the start of the answer in the context, in characters; "" for the first occurrence."""
    source_column: str = ""
    """Column of the source of pairs, instead of `text_column`; "parallel": extension of its file ("en")."""
    target_column: str = ""
    """Column, or extension, of the target of pairs."""
    languages: tuple[str, ...] = ("english", "chinese")
    """chatterbot: folders of the corpus."""
    tfds_name: str = ""
    """tfds: name of the data set, such as "imdb_reviews"."""
    max_bad_rows: float = 0.01
    """Maximum number of bad rows to skip, or below 1 the maximum fraction of rows and of lines; more are an error. CSV
    rows joined by an unbalanced quotation mark count as their lines, a JSON array as its objects."""
    augment: AugmentationConfig = option(AugmentationConfig())
    """Changed copies of the training examples; off by default."""
    mask_personal: tuple[str, ...] = option(())
    """Kinds of personal data to mask in every text that is read, as `tflm mask --list` names them, or `["all"]`: a tag
    such as `<email>` takes their place."""
    mixture: tuple[MixtureConfig, ...] = option(())
    """Several sources in place of `path`, each with a weight by which training draws from it; the other fields are
    those of all sources. Empty for a single source."""

    def __post_init__(self) -> None:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise UserError(
                    f"{field} is {getattr(self, field)!r}; it must be one of {', '.join(choices)}"
                )
        self._check_numbers()
        self._check_encoding()
        check_kinds(self.mask_personal, "mask_personal")
        if self.mixture:
            self._check_mixture()
            return
        self._check_places()
        self._check_source()
        self._check_columns()

    def _check_numbers(self) -> None:
        for field in ("eval_fraction", "test_fraction"):
            if not 0 <= getattr(self, field) < 1:
                raise UserError(f"{field} is {getattr(self, field)}; it must be at least 0 and below 1")
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"train_fraction is {self.train_fraction}; it must be above 0 and at most 1")
        if self.train_fraction < 1 and self.split == "tail":
            raise UserError("train_fraction needs split 'hash'; it is for examples, not for one text")
        if self.eval_fraction + self.test_fraction >= 1:
            raise UserError(
                f"eval_fraction {self.eval_fraction} and test_fraction {self.test_fraction} leave nothing to "
                "train on; their sum must be below 1"
            )
        if self.test_fraction and (self.test_path or self.test_file):
            raise UserError("the test split has its own files and a test_fraction; give only one of them")
        if self.test_fraction and self.split == "tail":
            raise UserError("test_fraction needs split 'hash'; with split 'tail' give test_path or test_file")
        if self.max_bad_rows < 0:
            raise UserError(f"max_bad_rows is {self.max_bad_rows}; it must not be negative")

    def _check_encoding(self) -> None:
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError) as error:
            raise UserError(
                f"encoding is {self.encoding!r}, which is not a text encoding of Python; give a name such as utf-8, "
                "gb18030, big5, utf-16 or latin-1"
            ) from error

    def _check_places(self) -> None:
        """Checks paths, and file names inside a path."""
        for field in ("path", "eval_path", "test_path", "train_file", "eval_file", "test_file"):
            if "," in getattr(self, field):
                raise UserError(
                    f"{field} {getattr(self, field)!r} has a comma; give one file, folder or glob"
                )
        for split in ("eval", "test"):
            name = getattr(self, f"{split}_file")
            if name and not self.train_file:
                raise UserError(
                    f"{split}_file {name!r} names a file inside the folder path; give train_file, too, so that "
                    "training does not read all files of that folder"
                )
            if name and getattr(self, f"{split}_path"):
                raise UserError(f"{split}_file and {split}_path are both given; give one of them")
        if self.source not in _FILES and (self.train_file or self.encoding != "utf-8"):
            raise UserError(f"source {self.source!r} reads no text files; do not set train_file and encoding")
        if self.source == "chatterbot" and (self.path or self.eval_path or self.test_path):
            raise UserError("source 'chatterbot' has no path; leave path, eval_path and test_path empty")

    def _check_source(self) -> None:
        """Checks the required fields of each source."""
        if self.source in _FILES and not self.path:
            raise UserError(f"source {self.source!r} needs path: a file, a folder or a glob")
        if self.source == "tfds" and not self.tfds_name:
            raise UserError("source 'tfds' needs tfds_name, the name of a data set such as 'imdb_reviews'")
        if self.source == "chatterbot" and not self.languages:
            raise UserError("source 'chatterbot' needs languages, such as ('english', 'chinese')")
        if self.split == "tail" and self.source != "text":
            raise UserError(f"split 'tail' cuts plain text; source {self.source!r} needs split 'hash'")

    def _check_columns(self) -> None:
        given = {name for name in _COLUMNS if getattr(self, name)}
        came = ", ".join(f"{name}={getattr(self, name)!r}" for name in _COLUMNS if name in given) or "none"
        pair = {"source_column", "target_column"}
        if self.source in (*_WITHOUT_COLUMNS, *_QUESTIONS) and given:
            raise UserError(
                f"source {self.source!r} has no columns; leave the column fields empty; got {came}"
            )
        if self.source == "parallel" and given != pair:
            raise UserError(
                "source 'parallel' needs source_column and target_column, the endings of its files such as "
                f"'en' and 'de', and no other column; got {came}"
            )
        if self.source in _BUILT_IN:
            texts, labels = _BUILT_IN[self.source]
            if (
                given - {"text_column", "label_column"}
                or self.text_column not in ("", *texts)
                or self.label_column not in ("", *labels)
            ):
                raise UserError(
                    f"source {self.source!r} has the text_column {' or '.join(map(repr, texts))} and the "
                    f"label_column {' or '.join(map(repr, labels))}; got {came}. Leave all empty for pairs"
                )
        if self.source == "jsonl" and given in ({"text_column", "spans_column"}, {"messages_column"}):
            return
        question = {"question_column", "context_column", "answer_column"}
        if self.source == "jsonl" and given - {"answer_start_column"} == question:
            return
        if self.source in _TABLES and given not in (pair, *_TEXT_COLUMNS):
            raise UserError(
                f"source {self.source!r} needs text_column, or source_column and target_column, or for labelled "
                f"texts text_column, label_column and optionally text_pair_column; got {came}"
            )

    def _check_mixture(self) -> None:
        places = ("path", "eval_path", "test_path", "train_file", "eval_file", "test_file")
        if given := [name for name in places if getattr(self, name)]:
            raise UserError(
                f"{given[0]} is {getattr(self, given[0])!r}, and mixture names files, too; give the files of a mixture "
                "in mixture alone"
            )
        if self.split == "tail":
            raise UserError("a mixture needs split 'hash'; split 'tail' is for one text")
        formats = [source.source or self.source for source in self.mixture]
        if others := [name for name in formats if name not in _FILES]:
            raise UserError(f"a mixture is of files; source {others[0]!r} reads none")
        names = [source.known_name for source in self.mixture]
        folded = [name.lower() for name in names]
        if twice := [name for name in names if folded.count(name.lower()) > 1]:
            raise UserError(
                f"two sources of the mixture are named {twice[0]!r}; give each a name of its own: "
                f'{{"path": ..., "weight": ..., "name": "{twice[0]}_2"}}'
            )
        keys = {frozenset(example_keys(source)): name for name, source in self.sources.items()}
        if len(keys) > 1:
            found = "; ".join(f"{name}: {', '.join(sorted(key))}" for key, name in keys.items())
            raise UserError(f"the sources of a mixture must have the same parts of an example; found {found}")

    @property
    def sources(self) -> dict[str, "DataConfig"]:
        """The sources of a mixture by name, each as a data set of its own; empty for a single source."""
        return {source.known_name: self._of_source(source) for source in self.mixture}

    def _of_source(self, source: MixtureConfig) -> "DataConfig":
        given = {
            field.name: getattr(source, field.name)
            for field in dataclasses.fields(source)
            if field.name not in ("weight", "name") and getattr(source, field.name)
        }
        if given.get("source", self.source) in (*_WITHOUT_COLUMNS, *_QUESTIONS):
            given = {**dict.fromkeys(_COLUMNS, ""), **given}
        return dataclasses.replace(self, mixture=(), **given)

    @property
    def weights(self) -> dict[str, float]:
        """The weights of a mixture by name of the source."""
        return {source.known_name: source.weight for source in self.mixture}

    @property
    def columns(self) -> dict[str, str]:
        """Example key to column: {"text"}, {"text", "label"}, {"text", "text_pair", "label"}, {"text", "spans"},
        {"messages"}, {"question", "context", "answer"} with optional "answer_start", or {"source", "target"}."""
        return {name.removesuffix("_column"): getattr(self, name) for name in _COLUMNS if getattr(self, name)}

    def has_own_files(self, split: str) -> bool:
        """Whether a split has its own path or file, rather than being held out from the training data."""
        return bool(split == "train" or getattr(self, f"{split}_path") or getattr(self, f"{split}_file"))

    @property
    def has_eval(self) -> bool:
        """Whether there is a split "eval"."""
        if self.mixture:
            return any(source.has_eval for source in self.sources.values())
        return self.source != _NONE and (self.has_own_files("eval") or self.eval_fraction > 0)

    @property
    def has_test(self) -> bool:
        """Whether there is a split "test"."""
        if self.mixture:
            return any(source.has_test for source in self.sources.values())
        return self.source != _NONE and (self.has_own_files("test") or self.test_fraction > 0)

    def has_split(self, split: str) -> bool:
        """Whether there is a split "train", "eval" or "test"."""
        return {"train": True, "eval": self.has_eval, "test": self.has_test}[split]


def example_keys(data: DataConfig) -> set[str]:
    """The keys of the examples of a source, as far as its format says.

    >>> example_keys(DataConfig(source="jsonl", path="a.jsonl", text_column="review", label_column="stars"))
    {'text', 'label'}
    """
    if data.source in ("conll", "segmented"):
        return {"text", "spans"}
    if data.source in _QUESTIONS or data.question_column:
        return {"question", "context", "answers"}
    return set(data.columns) or {"text"}
