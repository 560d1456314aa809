"""Tokenizers of real checkpoints, where TFLM_CHECKPOINTS names a folder of them."""

import json
import os
import pathlib

import pytest
import tensorflow as tf
from tokenizers import Tokenizer

from tests.text.published import nasty_texts
from tflm.text.import_tokenizer import read_tokenizer

FOLDER = pathlib.Path(os.environ.get("TFLM_CHECKPOINTS", ""))
NAMES = ("minilm", "tokenizers/qwen3", "tokenizers/llama3_1", "tokenizers/gemma3", "tokenizers/deepseek_v3")

pytestmark = pytest.mark.skipif(
    "TFLM_CHECKPOINTS" not in os.environ, reason="TFLM_CHECKPOINTS names no folder of real checkpoints"
)


def reference(path):
    """The library's tokenizer, which takes every text as a user's."""
    spec = json.loads(path.read_text(encoding="utf-8"))
    kept = [
        each for each in spec["added_tokens"] if each["special"] or not each["content"].strip("\u2581\n\t ")
    ]
    others = {each["content"] for each in spec["added_tokens"]} - {each["content"] for each in kept}
    vocabulary = {token: index for token, index in spec["model"]["vocab"].items() if token not in others}
    spec |= {"added_tokens": kept, "post_processor": None, "truncation": None, "padding": None}
    tokenizer = Tokenizer.from_str(json.dumps({**spec, "model": {**spec["model"], "vocab": vocabulary}}))
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.mark.parametrize("name", NAMES)
def test_same_ids_as_tokenizers(name):
    path = FOLDER / name / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    ours, theirs = read_tokenizer(path.parent), reference(path)
    texts = nasty_texts(4000)
    wanted = [each.ids for each in theirs.encode_batch(texts, add_special_tokens=False)]
    found = tf.function(ours.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])(tf.constant(texts))
    assert [each for each in zip(texts, found.to_list(), wanted) if each[1] != each[2]] == []


CHATS = {
    "tokenizers/qwen3": "<|im_start|>user\n  你好 <|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "tokenizers/llama3_1": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n  hi 12345<|eot_id|>",
    "tokenizers/gemma3": "<bos><start_of_turn>user\n  hi\n\n\n你好<end_of_turn>\n<start_of_turn>model\n",
    "tokenizers/deepseek_v3": "<｜begin▁of▁sentence｜>You.<｜User｜> hi<｜Assistant｜>",
    "minilm": "[CLS] Hello [MASK], world [SEP]",
}


@pytest.mark.parametrize("name", CHATS)
def test_same_ids_around_special_tokens(name):
    path = FOLDER / name / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    ours, theirs = read_tokenizer(path.parent), Tokenizer.from_file(str(path))
    theirs.no_padding()
    text = CHATS[name].encode()
    for mark in ours.special_tokens:
        text = text.replace(mark.encode(), ours.special_mark(mark))
    assert b"\xfe" in text
    wanted = theirs.encode(CHATS[name], add_special_tokens=False).ids
    assert ours.tokenize_marked([text]).to_list() == [wanted]
