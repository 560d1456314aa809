"""The contract, for every kind: both directions agree, no text makes a special id, nothing crashes."""

import random
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.text import TokenizerConfig, train_tokenizer

SAMPLES = [
    "Hello, world!",
    "你好，世界！你呢？句号。全角\u3000空格",
    "混合 mixed 文字 and“引号”……",
    "several   spaces    here",
    "  leading and trailing  ",
    " ",
    "line\nends\r\nand\rmore\n\n",
    "\ttabs\t\tin\t",
    "emoji 👋🏽 👩‍👩‍👧‍👦 🇨🇳",
    "combining e\u0301 n\u0303 한글 \u1112\u1161\u11ab",
    "",
    "\x00\x01\x10\x1b\x7f\u0085\u2028\ufeff\ufffd",
    "U+2581 ▁▁a ▁ \x100 \x101 \x10▁ and U+2585 ▅",
    "<s> </s> <unk> <pad> <0x0A> [SEP] [PAD] [UNK] separator <separator> <|separator|>",
    "rare: ᚠᛇᚻ 𓀀 𝔘 ꙮ",
]


def test_round_trip_is_normalize(tokenizers, name):
    tokenizer = tokenizers[name]
    ids = tokenizer.tokenize(SAMPLES)
    assert ids.dtype == tf.int32 and ids.shape.as_list() == [len(SAMPLES), None]
    texts = tokenizer.detokenize(ids).numpy()
    assert list(texts) == list(tokenizer.normalize(SAMPLES).numpy())
    again = tokenizer.detokenize(tokenizer.tokenize(texts)).numpy()
    assert list(again) == list(texts)


def test_lossless_kinds_give_every_character_back(tokenizers, lossless_name):
    tokenizer = tokenizers[lossless_name]
    form = tokenizer.config.normalization_form
    expected = [unicodedata.normalize(form, text) if form else text for text in SAMPLES]
    texts = tokenizer.detokenize(tokenizer.tokenize(SAMPLES)).numpy()
    assert [text.decode() for text in texts] == expected


def test_random_text_comes_back(tokenizers, lossless_name):
    rng = random.Random(1)
    alphabet = "ab \t\n，。\u3000\u2581\x10 01中文👋\u200d<>[]/s\u0301"
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(30))) for _ in range(300)]
    form = tokenizers[lossless_name].config.normalization_form
    expected = [unicodedata.normalize(form, text) if form else text for text in texts]
    got = tokenizers[lossless_name].detokenize(tokenizers[lossless_name].tokenize(texts)).numpy()
    assert [text.decode() for text in got] == expected


def test_no_text_gives_a_special_id(tokenizers, name, texts):
    tokenizer = tokenizers[name]
    assert (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert tokenizer.special_tokens == {"separator": 4}
    ids = set(tokenizer.tokenize(SAMPLES + texts).flat_values.numpy().tolist())
    assert not ids & {0, 1, 2, 4}
    assert (3 in ids) == (not tokenizer.lossless)
    assert max(ids) < tokenizer.vocab_size


def test_any_ids_give_valid_utf8(tokenizers, name):
    tokenizer = tokenizers[name]
    ids = np.random.default_rng(0).integers(-20, tokenizer.vocab_size + 20, [300, 12])
    for token_ids in (
        ids.astype(np.int32),
        ids,
        tf.RaggedTensor.from_tensor(ids.astype(np.int32), padding=7),
    ):
        for text in tokenizer.detokenize(token_ids).numpy():
            text.decode()
    outside = np.array([[-(2**31), 2**31 - 1, 0, 1, 2, 4]], np.int32)
    assert tokenizer.detokenize(outside).numpy().tolist() == [b""]
    assert tokenizer.detokenize([[3]]).numpy()[0].decode() == "\ufffd"


def test_special_ids_and_padding_are_dropped(tokenizers, name):
    tokenizer = tokenizers[name]
    ids = tokenizer.tokenize(["quick 你好", "lazy"])
    framed = tf.concat([tf.fill([2, 1], 1), ids, tf.fill([2, 1], 4), tf.fill([2, 1], 2)], axis=1)
    dense = framed.to_tensor(tokenizer.pad_id)
    expected = tokenizer.detokenize(ids).numpy().tolist()
    assert tokenizer.detokenize(framed).numpy().tolist() == expected
    assert tokenizer.detokenize(dense).numpy().tolist() == expected
    assert tokenizer.detokenize(tf.reverse(tf.reverse(dense, [1]), [1])).numpy().tolist() == expected


def test_empty_batches(tokenizers, name):
    tokenizer = tokenizers[name]
    none = tf.constant([], tf.string)
    assert tokenizer.tokenize(none).shape.as_list() == [0, None]
    assert tokenizer.normalize(none).shape == [0]
    assert tokenizer.tokenize(["", ""]).to_list() == [[], []]
    assert tokenizer.normalize(["", ""]).numpy().tolist() == [b"", b""]
    assert tokenizer.detokenize(tokenizer.tokenize(none)).shape == [0]
    assert tokenizer.detokenize(tf.zeros([0, 4], tf.int32)).shape == [0]
    assert tokenizer.detokenize(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]
    assert tokenizer.detokenize(tf.zeros([2, 3], tf.int32)).numpy().tolist() == [b"", b""]


def test_invalid_utf8_is_replaced(tokenizers, name):
    tokenizer = tokenizers[name]
    broken = [b"ok \xff\xfe", b"\xe4\xbd", b"\xed\xa0\x80 a"]
    texts = tokenizer.detokenize(tokenizer.tokenize(broken)).numpy().tolist()
    assert texts == tokenizer.normalize(broken).numpy().tolist()
    assert all("\ufffd" in text.decode() for text in texts)


def test_inside_a_graph(tokenizers, name):
    tokenizer = tokenizers[name]
    expected = tokenizer.tokenize(SAMPLES)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def round_trip(text):
        return tokenizer.detokenize(tokenizer.tokenize(text).to_tensor())

    assert round_trip(SAMPLES).numpy().tolist() == tokenizer.normalize(SAMPLES).numpy().tolist()
    assert round_trip(tf.constant([], tf.string)).shape == [0]
    dataset = tf.data.Dataset.from_tensor_slices(SAMPLES).batch(4).map(tokenizer.tokenize)
    assert [row for batch in dataset for row in batch.to_list()] == expected.to_list()


def test_scalar_text_is_refused(tokenizers):
    with pytest.raises(UserError, match=r"a batch of texts, string \[B\]; got shape \(\)"):
        tokenizers["byte"].tokenize("hello")


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece", "byte", "character"])
def test_nfkc_and_case_fold(kind, texts):
    sizes = {"sentencepiece": 360, "wordpiece": 300, "byte": 0, "character": 400}
    config = TokenizerConfig(kind=kind, vocab_size=sizes[kind], normalization="nfkc", case_fold=True)
    tokenizer = train_tokenizer(config, texts)
    assert "NormalizeUTF8" in tokenizer.ops
    text = tokenizer.detokenize(tokenizer.tokenize(["HELLO，ＷＯＲＬＤ！你好"])).numpy()[0].decode()
    assert text == ("hello, world! 你好" if kind == "wordpiece" else "hello,world!你好")
