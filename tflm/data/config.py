"""DataConfig: where the text is, which columns hold it, how a part of it is held out."""

from dataclasses import dataclass

from tflm.errors import UserError

_COLUMN_SOURCES = ("jsonl", "csv", "tsv", "tfds")
_CHOICES = {
    "source": ("text", *_COLUMN_SOURCES, "docstrings", "chatterbot"),
    "split": ("hash", "tail"),
    "document": ("line", "paragraph", "file"),
}


@dataclass(frozen=True)
class DataConfig:
    """Names a data set. The strings that are left empty are not used.

    Raises:
        UserError: a field has a value that cannot be meant; the message names the field.
    """

    source: str = "text"
    """"text", "jsonl", "csv", "tsv", "tfds" (TensorFlow Datasets), "docstrings" (the installed Python
    packages: a docstring's body and its summary) or "chatterbot" (dialogues from its corpus package)."""
    path: str = ""
    """A file, a glob (`texts/**/*.txt`) or a folder, which stands for the files in it that have the source's
    ending. Each may be packed with gzip (`.gz`). For "docstrings": a folder of Python sources, by default
    the site-packages of the running interpreter. For "tfds": the name of a split, by default "train"."""
    eval_path: str = ""
    """Evaluation examples, as `path`. Without it, a part of the data at `path` is held out."""
    eval_fraction: float = 0.05
    """How much is held out when there is no `eval_path`. At 0, there is no evaluation split."""
    split: str = "hash"
    """"hash": a hash of an example's content decides its side, so duplicates never stand on both. "tail": one
    text is cut at character `int(n * (1 - eval_fraction))` and its end held out."""
    document: str = "line"
    """What one example is in plain text: a "line", a "paragraph" (parted by blank lines) or a "file"."""
    text_column: str = ""
    """jsonl, csv, tsv, tfds: the column that holds the text, by name, or by number ("0") in a csv or tsv
    file without a header."""
    source_column: str = ""
    """For pairs, in place of `text_column`: the column of the source."""
    target_column: str = ""
    """For pairs: the column of the target."""
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
        if not 0 <= self.eval_fraction < 1:
            raise UserError(f"eval_fraction is {self.eval_fraction}; it must be at least 0 and below 1")
        if self.max_bad_rows < 0:
            raise UserError(f"max_bad_rows is {self.max_bad_rows}; it must not be negative")
        for field in ("path", "eval_path"):
            if "," in getattr(self, field):
                raise UserError(
                    f"{field} {getattr(self, field)!r} has a comma; give one file, folder or glob"
                )
        self._check_source()

    def _check_source(self) -> None:
        """What each source needs beside its name."""
        if self.source in ("text", "jsonl", "csv", "tsv") and not self.path:
            raise UserError(f"source {self.source!r} needs path: a file, a folder or a glob")
        if self.source == "tfds" and not self.tfds_name:
            raise UserError("source 'tfds' needs tfds_name, the name of a data set such as 'imdb_reviews'")
        if self.source == "chatterbot" and not self.languages:
            raise UserError("source 'chatterbot' needs languages, such as ('english', 'chinese')")
        if self.split == "tail" and self.source != "text":
            raise UserError(f"split 'tail' cuts plain text; source {self.source!r} needs split 'hash'")
        pair = (self.source_column, self.target_column)
        if self.source not in _COLUMN_SOURCES:
            if self.text_column or any(pair):
                raise UserError(f"source {self.source!r} has no columns; leave the column fields empty")
        elif not (self.text_column and not any(pair)) and not (all(pair) and not self.text_column):
            raise UserError(
                f"source {self.source!r} needs text_column, or source_column and target_column; came "
                f"text_column={self.text_column!r}, source_column={pair[0]!r}, target_column={pair[1]!r}"
            )

    @property
    def columns(self) -> dict[str, str]:
        """Example key -> column: {"text": ...} or {"source": ..., "target": ...}."""
        if self.text_column:
            return {"text": self.text_column}
        return {"source": self.source_column, "target": self.target_column}
