import pytest

from tflm.data import DataConfig
from tflm.errors import UserError


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"source": "parquet", "path": "a"}, "source is 'parquet'; it must be one of text, jsonl"),
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
        ({"source": "csv", "path": "a", "source_column": "q"}, "source_column='q', target_column=''"),
        ({"source": "csv", "path": "a", "text_column": "t", "target_column": "a"}, "came text_column='t'"),
        ({"path": "a", "text_column": "t"}, "source 'text' has no columns"),
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
