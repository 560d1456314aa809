"""WordPiece against keras-nlp on the same vocabulary, and against the text a reader expects."""

import keras_nlp
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.wordpiece_tokenizer import WordPieceTokenizer


def test_same_ids_as_keras_nlp(tokenizers):
    tokenizer = tokenizers["wordpiece"]
    layer = keras_nlp.tokenizers.WordPieceTokenizer(tokenizer._asset.decode().split("\n"), oov_token="[UNK]")
    texts = [
        "Hello, world (really)?",
        "我爱自然语言处理。 TensorFlow loss=0.5",
        "unseen 龘 words",
        "[SEP] [MASK]",
    ]
    assert tokenizer.tokenize(texts).to_list() == [layer.tokenize(tf.constant(t)).tolist() for t in texts]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Hello ,   world !", "Hello, world!"),
        ("你 好 ， 世 界 ！", "你好，世界！"),
        ("我用TensorFlow训练模型", "我用 TensorFlow 训练模型"),
        ("\tif x:\r\n  return", "if x: return"),
        ("他说 “ 你好 ” ， 走了……", "他说“你好”，走了……"),
        ("quick 龘 fox", "quick \ufffd fox"),
        ("(really)?", "(really)?"),
        ("façade nai\u0308ve", "façade naïve"),
        ("안녕하세요", "안녕하세요"),
        ("the\u3000fox", "the fox"),
    ],
)
def test_normal_spacing(tokenizers, text, normal):
    assert tokenizers["wordpiece"].normalize([text]).numpy()[0].decode() == normal


def test_case_fold_composes_again(texts):
    config = TokenizerConfig(kind="wordpiece", vocab_size=300, case_fold=True)
    tokenizer = train_tokenizer(config, texts)
    text = tokenizer.detokenize(tokenizer.tokenize(["HELLO，façade 안녕하세요"])).numpy()[0].decode()
    assert text == "hello，facade 안녕하세요"


def test_broken_vocabularies():
    config = TokenizerConfig(kind="wordpiece", vocab_size=300)
    pieces = ["[PAD]", "[START]", "[END]", "[UNK]", "[SEPARATOR]", "a"]
    with pytest.raises(UserError, match=r"6 pieces has no \[SEPARATOR\] or \[SEP\], the separator token"):
        WordPieceTokenizer(config, "\n".join([*pieces[:4], "b", "a"]).encode())
    with pytest.raises(UserError, match="'a' is duplicated"):
        WordPieceTokenizer(config, "\n".join([*pieces, "a"]).encode())
    with pytest.raises(UserError, match="UTF-8 text with one piece per line"):
        WordPieceTokenizer(config, b"\xff\xfe")
