"""Special tokens written into texts by programs, for every kind of tokenizer."""

import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.text.special_marks import special_mark, split_marks


def test_split_marks():
    texts = [b"a" + special_mark(7) + b"b" + special_mark(0), b"", special_mark(262_144) + "中".encode()]
    parts, ids = split_marks(tf.constant(texts))
    assert parts.to_list() == [[b"a", b"b", b""], [b""], [b"", "中".encode()]]
    assert ids.numpy().tolist() == [-1, 7, 0, -1, -1, 262_144]
    parts, ids = split_marks(tf.constant([], tf.string))
    assert parts.to_list() == [] and ids.shape == [0]


def test_no_text_of_a_user_is_a_mark(tokenizers, name):
    tokenizer = tokenizers[name]
    mark = tokenizer.special_mark("separator")
    text = b"quick " + mark + b"fox \xfe\xf8\xff"
    cleaned = tokenizer.clean([text]).numpy()[0]
    cleaned.decode()
    ids = tokenizer.tokenize_marked([cleaned])
    assert ids.to_list() == tokenizer.tokenize([text]).to_list() == tokenizer.tokenize([cleaned]).to_list()
    assert 4 not in ids.flat_values.numpy()


def test_marks_are_ids_between_the_tokens_of_the_text(tokenizers, name):
    tokenizer = tokenizers[name]
    separator, end = tokenizer.special_mark("separator"), tokenizer.special_mark(tokenizer.end_id)
    texts = [separator + b"quick" + end + b" fox" + separator, b"lazy dog", b"", end]
    parts = {text: tokenizer.tokenize([text]).to_list()[0] for text in (b"quick", b" fox", b"lazy dog")}
    wanted = [[4, *parts[b"quick"], 2, *parts[b" fox"], 4], parts[b"lazy dog"], [], [2]]
    assert tokenizer.tokenize_marked(texts).to_list() == wanted

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def in_graph(text):
        return tokenizer.tokenize_marked(separator + tokenizer.clean(text)).to_tensor(tokenizer.pad_id)

    ids = in_graph(tf.constant(["lazy dog", ""])).numpy()
    assert ids[0].tolist() == [4, *parts[b"lazy dog"]] and ids[1, 0] == 4 and not ids[1, 1:].any()
    assert in_graph(tf.constant([], tf.string)).shape[0] == 0


def test_messages(tokenizers):
    tokenizer = tokenizers["byte"]
    with pytest.raises(UserError, match=r"no special token '<\|im_start\|>'; it has separator"):
        tokenizer.special_mark("<|im_start|>")
    with pytest.raises(UserError, match="has ids from 0 to 260; got 261"):
        tokenizer.special_mark(261)
