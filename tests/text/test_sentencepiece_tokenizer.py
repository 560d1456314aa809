"""SentencePiece against the sentencepiece package and keras-nlp; what its trainer says, in our words."""

import keras_nlp
import pytest
import sentencepiece
import tensorflow as tf

from tflm.errors import UserError
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.sentencepiece_tokenizer import SentencePieceTokenizer


@pytest.mark.parametrize("name", ["unigram", "bpe"])
def test_same_ids_as_the_peers(tokenizers, name):
    tokenizer = tokenizers[name]
    texts = ["Hello 你好，世界", "  two  spaces\n", "龘 rare"]
    ids = tokenizer.tokenize(texts)
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer._asset)
    assert ids.to_list() == processor.encode(texts)
    layer = keras_nlp.tokenizers.SentencePieceTokenizer(proto=tokenizer._asset)
    assert ids.to_list() == [row.tolist() for row in map(layer.tokenize, map(tf.constant, texts))]


def test_pieces_and_names(tokenizers):
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizers["unigram"]._asset)
    assert [processor.id_to_piece(index) for index in range(5)] == [
        "<pad>",
        "<s>",
        "</s>",
        "<unk>",
        "<|separator|>",
    ]
    assert processor.is_byte(5) and tokenizers["unigram"].vocab_size == 380


def test_user_spelling_of_the_space_piece(tokenizers):
    assert tokenizers["bpe"].detokenize(tokenizers["bpe"].tokenize(["a▁b c"])).numpy()[0].decode() == "a▁b c"


def test_half_a_character_in_byte_pieces(tokenizers):
    first_byte = 5
    ids = [[first_byte + byte for byte in "中".encode()[:2]] + [first_byte + ord("a")]]
    assert tokenizers["unigram"].detokenize(ids).numpy()[0].decode() == "\ufffd\ufffda"


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_wrong_sizes(algorithm, texts):
    def train(vocab_size):
        return train_tokenizer(TokenizerConfig(algorithm=algorithm, vocab_size=vocab_size), texts)

    with pytest.raises(
        UserError, match=r"vocab_size=8192 is too large .* largest possible is \d+\. Set"
    ) as most:
        train(8192)
    assert train(int(str(most.value).split("Set vocab_size to ")[1].split()[0])).vocab_size > 300
    with pytest.raises(
        UserError, match=r"vocab_size=300 is too small .* smallest possible is \d+\. Set"
    ) as least:
        train(300)
    assert train(int(str(least.value).split("Set vocab_size to ")[1].split()[0])).vocab_size > 300


def test_no_text_and_no_model():
    with pytest.raises(UserError, match="no text to train a tokenizer on"):
        train_tokenizer(TokenizerConfig(), [])
    with pytest.raises(UserError, match=r"sentencepiece\.model is not a SentencePiece model"):
        SentencePieceTokenizer(TokenizerConfig(), b"garbage")


def test_seeding_tensorflow_leaves_the_model(tokenizers):
    tokenizer, texts = tokenizers["unigram"], tf.constant(["Hello 你好"])
    graph = tf.function(tokenizer.tokenize)
    before = graph(texts).to_list()
    tf.random.set_seed(0)  # throws kernels away
    assert tokenizer.tokenize(texts).to_list() == before
    assert graph(texts).to_list() == before


def test_models_do_not_mix(tokenizers):
    texts = tf.constant(["the quick 你好"])
    first, second = (
        tokenizers["unigram"].tokenize(texts).to_list(),
        tokenizers["bpe"].tokenize(texts).to_list(),
    )
    assert tokenizers["unigram"].tokenize(texts).to_list() == first != second
