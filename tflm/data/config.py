"""DataConfig: where the text is, which columns hold it, how parts of it are held out."""

from dataclasses import dataclass

from tflm.errors import UserError

_TABLES = ("jsonl", "csv", "tsv", "tfds")
_WITHOUT_COLUMNS = ("text", "conll", "segmented")
_QUESTIONS = ("squad", "docstring_parameters")
_FILES = (*_WITHOUT_COLUMNS, "squad", "jsonl", "csv", "tsv", "parallel")
_BUILT_IN = {  # source -> what text_column and what label_column may be
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
    "source": (*_WITHOUT_COLUMNS, *_TABLES, "parallel", *_QUESTIONS, *_BUILT_IN),
    "split": ("hash", "tail"),
    "document": ("line", "paragraph", "file"),
}
SPLITS = ("train", "eval", "test")


@dataclass(frozen=True)
class DataConfig:
    """Names a data set. The strings that are left empty are not used.

    Raises:
        UserError: a field has a value that cannot be meant; the message names the field.
    """

    source: str = "text"
    """"text", "jsonl", "csv", "tsv", "parallel" (two files of lines that belong together:
    `train.en` and `train.de`), "conll" (a token and its tag a line), "segmented" (words with spaces between), "tfds"
    (TensorFlow Datasets), "squad" (questions in the JSON of SQuAD, DRCD or CMRC 2018), "docstrings" (the installed
    Python packages: a docstring's body and its summary), "docstring_parameters" (questions about their parameters) or
    "chatterbot" (dialogues from its corpus package)."""
    path: str = ""
    """A file, a glob (`texts/**/*.txt`) or a folder, which stands for the files in it that have the source's
    ending. Each may be packed with gzip (`.gz`). For "parallel": the files' path without their endings. For
    "docstrings": a folder of Python sources, by default the site-packages of the running interpreter. For "tfds":
    the name of a split, by default "train"."""
    eval_path: str = ""
    """Evaluation examples, as `path`. Without it, a part of the data at `path` is held out."""
    test_path: str = ""
    """Test examples, as `path`."""
    train_file: str = ""
    """The name of a file inside the folder `path`, so that the folder alone says where a data set is; `.gz` may
    be left off. For "parallel", without the ending that names the side."""
    eval_file: str = ""
    """The same, in place of `eval_path`."""
    test_file: str = ""
    """The same, in place of `test_path`."""
    encoding: str = "utf-8"
    """Of the files, by Python's name: "gb18030" (which reads GBK and GB2312, too), "big5", "utf-16", ..."""
    eval_fraction: float = 0.05
    """How much is held out when evaluation has no files of its own. At 0, there is no evaluation split."""
    test_fraction: float = 0.0
    """How much more is held out for a test, by hash, when that has no files of its own."""
    train_fraction: float = 1.0
    """How much of the training side to train on, by hash, so that less is a part of more: for learning curves. The
    vocabulary and the labels are still those of all of it."""
    split: str = "hash"
    """"hash": a hash of an example's content decides its side, so duplicates never stand on two. "tail": one
    text is cut at character `int(n * (1 - eval_fraction))` and its end held out."""
    document: str = "line"
    """What one example is in plain text: a "line", a "paragraph" (parted by blank lines) or a "file"."""
    text_column: str = ""
    """jsonl, csv, tsv, tfds: the column that holds the text, by name, or by number ("0") in a csv or tsv
    file without a header. docstrings: "docstring" for the whole of it. chatterbot: "dialogue" for question and
    answer in two lines."""
    text_pair_column: str = ""
    """For labelled pairs of texts: the column of the second."""
    label_column: str = ""
    """For labelled texts, with `text_column`: the column of the label. docstrings: "package"; chatterbot: "topic"
    or "language", of the questions."""
    spans_column: str = ""
    """jsonl: the column with the labelled spans of a text, a list of [start, end, label]."""
    messages_column: str = ""
    """jsonl: the column with a conversation, a list of {"role": "user" or "assistant" or "system", "content": text}."""
    question_column: str = ""
    """jsonl: the column with a question that its context answers."""
    context_column: str = ""
    """jsonl: the column with the context."""
    answer_column: str = ""
    """jsonl: the column with the answer, a span of the context: a text, or a list of them; empty for none."""
    answer_start_column: str = ""
    """jsonl: the column with the place of the answer in the context, in characters; "" for its first place."""
    source_column: str = ""
    """For pairs, in place of `text_column`: the column of the source; "parallel": its files' ending ("en")."""
    target_column: str = ""
    """For pairs: the column, or ending, of the target."""
    languages: tuple[str, ...] = ("english", "chinese")
    """chatterbot: folders of the corpus."""
    tfds_name: str = ""
    """tfds: the data set, such as "imdb_reviews"."""
    max_bad_rows: float = 0.01
    """How many bad rows to pass over: a count, or below 1 a fraction of all rows. More are refused."""

    def __post_init__(self) -> None:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise UserError(
                    f"{field} is {getattr(self, field)!r}; it must be one of {', '.join(choices)}"
                )
        self._check_numbers()
        self._check_encoding()
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
            raise UserError("the test has files of its own and a test_fraction; give one of them")
        if self.test_fraction and self.split == "tail":
            raise UserError("test_fraction needs split 'hash'; with split 'tail' give test_path or test_file")
        if self.max_bad_rows < 0:
            raise UserError(f"max_bad_rows is {self.max_bad_rows}; it must not be negative")

    def _check_encoding(self) -> None:
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError) as error:
            raise UserError(
                f"encoding is {self.encoding!r}, which is no text encoding that Python knows; give a name such "
                "as utf-8, gb18030, big5, utf-16 or latin-1"
            ) from error

    def _check_places(self) -> None:
        """Paths, and names of files inside a path."""
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
            raise UserError(
                f"source {self.source!r} reads no text files; leave train_file and encoding alone"
            )
        if self.source == "chatterbot" and (self.path or self.eval_path or self.test_path):
            raise UserError("source 'chatterbot' has no path; leave path, eval_path and test_path empty")

    def _check_source(self) -> None:
        """What each source needs beside its name."""
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
                f"source {self.source!r} has no columns; leave the column fields empty; came {came}"
            )
        if self.source == "parallel" and given != pair:
            raise UserError(
                "source 'parallel' needs source_column and target_column, the endings of its files such as "
                f"'en' and 'de', and no other column; came {came}"
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
                    f"label_column {' or '.join(map(repr, labels))}; came {came}. Leave all empty for pairs"
                )
        if self.source == "jsonl" and given in ({"text_column", "spans_column"}, {"messages_column"}):
            return
        question = {"question_column", "context_column", "answer_column"}
        if self.source == "jsonl" and given - {"answer_start_column"} == question:
            return
        if self.source in _TABLES and given not in (pair, *_TEXT_COLUMNS):
            raise UserError(
                f"source {self.source!r} needs text_column, or source_column and target_column, or for labelled "
                f"texts text_column, label_column and perhaps text_pair_column; came {came}"
            )

    @property
    def columns(self) -> dict[str, str]:
        """Example key -> column: {"text"}, {"text", "label"}, {"text", "text_pair", "label"}, {"text", "spans"},
        {"messages"}, {"question", "context", "answer"} with perhaps "answer_start", or {"source", "target"}."""
        return {name.removesuffix("_column"): getattr(self, name) for name in _COLUMNS if getattr(self, name)}

    def has_own_files(self, split: str) -> bool:
        """Whether a split is read from a place of its own, and not cut from the training data."""
        return bool(split == "train" or getattr(self, f"{split}_path") or getattr(self, f"{split}_file"))

    @property
    def has_eval(self) -> bool:
        """Whether there is a split "eval"."""
        return self.has_own_files("eval") or self.eval_fraction > 0

    @property
    def has_test(self) -> bool:
        """Whether there is a split "test"."""
        return self.has_own_files("test") or self.test_fraction > 0
