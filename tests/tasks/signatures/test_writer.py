"""Stop texts in the form that the model writes."""

import pytest
import tensorflow as tf

from tflm.generation import settings_specs
from tflm.tasks.signatures.writer import settings_of
from tflm.text import TokenizerConfig, train_tokenizer


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"normalization": "nfc"}, [["Énd", "。"], ["가", ""]]),
        ({"normalization": "nfkc", "case_fold": True}, [["énd", "。"], ["가", ""]]),
        ({}, [["E\u0301nd", "。"], ["\u1100\u1161", ""]]),
    ],
)
def test_stop_texts_are_read_as_the_model_writes(settings, expected):
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte", **settings), [])
    inputs = {name: tf.zeros([2], tf.int32) for name in settings_specs()}
    inputs["stop"] = tf.constant([["E\u0301nd", "。"], ["\u1100\u1161", ""]])
    found = settings_of(inputs, tokenizer)
    assert found.keys() == inputs.keys()
    assert [[text.decode() for text in row] for row in found["stop"].numpy()] == expected
