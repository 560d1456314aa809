import sys
import types

import numpy as np
import pytest

from tflm.data import DataConfig, read_examples
from tflm.errors import UserError


@pytest.fixture
def fake_tfds(monkeypatch):
    splits = {
        "train": [
            {"text": "好看！".encode(), "label": np.int64(1)},
            {"text": b"bad\xff", "label": np.int64(0)},
        ],
        "test": [{"text": b"fine", "label": np.int64(1)}],
    }

    def load(name, split, shuffle_files):
        assert not shuffle_files
        if name != "reviews":
            raise KeyError(f"Dataset {name} not found")
        return splits[split]

    module = types.SimpleNamespace(load=load, as_numpy=lambda dataset: dataset)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)


def config(**fields):
    fields = {"tfds_name": "reviews", "eval_path": "test", "max_bad_rows": 1} | fields
    if "text_column" not in fields:
        fields |= {"source_column": "text", "target_column": "label"}
    return DataConfig("tfds", **fields)


def test_columns_splits_and_bytes(fake_tfds):
    examples = read_examples(config(), "train")
    assert list(examples) == [{"source": "好看！", "target": "1"}]
    assert examples.report.first_bad == ["reviews/train:2: not UTF-8"]
    assert list(read_examples(config(text_column="text"), "eval")) == [{"text": "fine"}]


def test_labels(fake_tfds):
    labelled = config(
        text_column="text", label_column="label", eval_path="", test_path="test", eval_fraction=0.0
    )
    assert list(read_examples(labelled, "train")) == [{"text": "好看！", "label": "1"}]
    assert list(read_examples(labelled, "test")) == [{"text": "fine", "label": "1"}]


def test_what_is_wrong_is_said(fake_tfds):
    with pytest.raises(UserError, match="reviews/train: no column 'body'; the columns are text, label"):
        list(read_examples(config(text_column="body"), "train"))
    with pytest.raises(
        UserError, match=r"cannot load split 'train' of data set 'imdb'.*Dataset imdb not found"
    ):
        list(read_examples(config(tfds_name="imdb"), "train"))


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"needs tensorflow-datasets: pip install 'tflm\[tfds\]'"):
        list(read_examples(config(), "train"))
