import pytest

from tflm.data import DataConfig
from tflm.errors import UserError

PAIR = {"source_column": "s", "target_column": "t"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"source": "parquet", "path": "a"},
            "source is 'parquet'; it must be one of text, conll, segmented, jsonl",
        ),
        ({"path": "a", "split": "random"}, "split is 'random'"),
        ({"path": "a", "document": "page"}, "document is 'page'; it must be one of line, paragraph, file"),
        ({"path": "a", "eval_fraction": 1.0}, "eval_fraction is 1.0; it must be at least 0 and below 1"),
        ({"path": "a", "max_bad_rows": -1}, "max_bad_rows is -1; it must not be negative"),
        ({"path": "a.txt,b.txt"}, "path 'a.txt,b.txt' has a comma; give one file, folder or glob"),
        ({}, "source 'text' needs path"),
        ({"source": "tfds", "text_column": "text"}, "needs tfds_name"),
        ({"source": "chatterbot", "languages": ()}, "needs languages"),
        (
            {"source": "jsonl", "path": "a", "text_column": "t", "split": "tail"},
            "split 'tail' cuts plain text",
        ),
        ({"source": "csv", "path": "a"}, "needs text_column, or source_column and target_column"),
        ({"source": "csv", "path": "a", "source_column": "q"}, "got source_column='q'"),
        ({"source": "csv", "path": "a", "text_column": "t", "target_column": "a"}, "got text_column='t'"),
        ({"path": "a", "text_column": "t"}, "source 'text' has no columns"),
        (
            {"source": "tsv", "path": "a", "label_column": "l"},
            "or for labelled texts text_column, label_column and optionally text_pair_column; got label_column='l'",
        ),
        (
            {"source": "tsv", "path": "a", "text_column": "t", "text_pair_column": "u"},
            "got text_column='t', text_pair_column='u'",
        ),
        (
            {"source": "tsv", "path": "a"} | PAIR | {"label_column": "l"},
            "got label_column='l', source_column",
        ),
        ({"source": "parallel", "path": "a", "source_column": "en"}, "the endings of its files such as 'en'"),
        (
            {"source": "parallel", "path": "a", "text_column": "t"} | PAIR,
            "and no other column; got text_column",
        ),
        ({"source": "parallel"} | PAIR, "source 'parallel' needs path"),
        (
            {"source": "chatterbot", "label_column": "mood"},
            "has the text_column 'dialogue' and the label_column 'topic' or 'language'; got label_column='mood'",
        ),
        ({"source": "chatterbot"} | PAIR, "Leave all empty for pairs"),
        ({"source": "docstrings", "text_column": "dialogue"}, "text_column 'docstring' and the label_column"),
        ({"source": "chatterbot", "eval_path": "a"}, "source 'chatterbot' has no path"),
        ({"source": "docstrings", "train_file": "a"}, "source 'docstrings' reads no text files"),
        (
            {"source": "chatterbot", "encoding": "big5"},
            "reads no text files; do not set train_file and encoding",
        ),
        (
            {"path": "a", "encoding": "utf8x"},
            "encoding is 'utf8x', which is not a text encoding of Python",
        ),
        ({"path": "a", "encoding": "hex"}, "encoding is 'hex', which is not a text encoding"),
        ({"path": "a", "test_fraction": -0.1}, "test_fraction is -0.1; it must be at least 0 and below 1"),
        ({"path": "a", "eval_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"path": "a", "train_fraction": 0.0}, "train_fraction is 0.0; it must be above 0 and at most 1"),
        ({"path": "a", "train_fraction": 0.5, "split": "tail"}, "train_fraction needs split 'hash'"),
        ({"path": "a", "split": "tail", "test_fraction": 0.1}, "test_fraction needs split 'hash'"),
        ({"path": "a", "test_path": "b", "test_fraction": 0.1}, "has its own files and a test_fraction"),
        (
            {"path": "a", "eval_file": "b"},
            "eval_file 'b' names a file inside the folder path; give train_file",
        ),
        (
            {"path": "a", "train_file": "a", "test_file": "b", "test_path": "c"},
            "test_file and test_path are both given",
        ),
        ({"path": "a", "train_file": "a,b"}, "train_file 'a,b' has a comma"),
    ],
)
def test_wrong_settings_are_refused(fields, words):
    with pytest.raises(UserError) as error:
        DataConfig(**fields)
    assert words in str(error.value)


def test_columns():
    assert DataConfig("jsonl", "a", text_column="body").columns == {"text": "body"}
    pair = DataConfig("csv", "a", source_column="question", target_column="answer")
    assert pair.columns == {"source": "question", "target": "answer"}
    labelled = DataConfig("csv", "a", text_column="t", text_pair_column="u", label_column="l")
    assert list(labelled.columns.items()) == [("text", "t"), ("text_pair", "u"), ("label", "l")]


@pytest.mark.parametrize(
    ("fields", "has_eval", "has_test"),
    [
        ({}, True, False),
        ({"eval_fraction": 0.0}, False, False),
        ({"eval_fraction": 0.0, "eval_path": "b", "test_fraction": 0.1}, True, True),
        ({"eval_fraction": 0.0, "train_file": "a", "eval_file": "b", "test_file": "c"}, True, True),
        ({"test_path": "b"}, True, True),
    ],
)
def test_which_sides_there_are(fields, has_eval, has_test):
    config = DataConfig(path="a", **fields)
    assert (config.has_eval, config.has_test) == (has_eval, has_test)
