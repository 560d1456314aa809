"""Characters against a plain Python lookup."""

import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.character_tokenizer import CharacterTokenizer, utf8_bytes


def test_vocabulary_is_by_frequency_up_to_vocab_size():
    config = TokenizerConfig(kind="character", vocab_size=5 + 3, byte_fallback=False)
    tokenizer = train_tokenizer(config, ["中中中b", "b\nba"])
    assert tokenizer.vocab_size == 8
    assert tokenizer.tokenize(["中b\na"]).to_list() == [
        [6, 5, 7, 3]
    ]  # 3 b and 3 中 in code point order, 1 \n
    small = train_tokenizer(TokenizerConfig(kind="character", vocab_size=8192), ["abc"])
    assert small.vocab_size == 5 + 256 + 3


def test_byte_fallback_against_a_lookup(tokenizers):
    tokenizer = tokenizers["character"]
    pieces = tokenizer._pieces.numpy().tolist()
    known = {pieces[index].decode(): index for index in range(5 + 256, tokenizer.vocab_size)}
    texts = ["hello 你好", "", "ᚠ𓀀é\x00 rare 龘", "龘"]
    expected = [
        [i for c in text for i in ([known[c]] if c in known else [5 + byte for byte in c.encode()])]
        for text in texts
    ]
    assert tokenizer.tokenize(texts).to_list() == expected
    assert any(5 <= index < 261 for row in expected for index in row)


def test_unknown_becomes_the_replacement_character(tokenizers):
    tokenizer = tokenizers["character_no_bytes"]
    assert tokenizer.tokenize(["o龘"]).to_list()[0][1] == tokenizer.unk_id
    assert tokenizer.normalize(["o龘o"]).numpy()[0].decode() == "o\ufffdo"


def test_utf8_bytes():
    characters = "\x00A\x7f\x80é\u07ff\u0800中\uffff\U00010000👋\U0010ffff"
    rows = utf8_bytes(tf.constant([ord(character) for character in characters])).numpy()
    for row, character in zip(rows, characters):
        assert bytes(row[row >= 0].tolist()) == character.encode()


def test_messages():
    with pytest.raises(UserError, match=r"vocab_size=261 leaves no room .* the 256 bytes\. .* more than 261"):
        train_tokenizer(TokenizerConfig(kind="character", vocab_size=261), ["a"])
    with pytest.raises(UserError, match="no text to train a tokenizer on"):
        train_tokenizer(TokenizerConfig(kind="character"), ["", ""])
    with pytest.raises(UserError, match=r"characters\.json is not a vocabulary"):
        CharacterTokenizer(TokenizerConfig(kind="character"), b'["ab"]')
