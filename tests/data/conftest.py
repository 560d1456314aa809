"""Helpers for the tests of tflm.data: small files, and stores of known token ids."""

import gzip

import pytest
import tensorflow as tf

from tflm.data import build_store


@pytest.fixture
def write(tmp_path):
    """write("a/b.txt", "text or bytes") -> path as str; a name ending in .gz is packed."""

    def write_file(name, content):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode("utf-8")
        file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(file)

    return write_file


def encode_numbers(examples):
    """ "5 6 2" -> [5, 6, 2]; the prefix length is in "source", if there is one."""
    numbers = tf.strings.to_number(tf.strings.split(examples["target"]), tf.int32)
    return {"token_ids": numbers, "prefix_length": tf.strings.to_number(examples["source"], tf.int32)}


@pytest.fixture
def make_store(tmp_path):
    """make_store([[5, 6, 2], [7, 2]], prefixes=[1, 1]) -> TokenStore with just these rows."""

    def make(rows, prefixes=None):
        prefixes = prefixes or [1] * len(rows)
        examples = [{"source": str(p), "target": " ".join(map(str, row))} for row, p in zip(rows, prefixes)]
        return build_store(examples, encode_numbers, tmp_path / "store", repr((rows, prefixes)))

    return make
