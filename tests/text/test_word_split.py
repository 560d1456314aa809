"""Words against keras-nlp's, and where ours differ on purpose."""

import tensorflow as tf
from keras_hub.src.tokenizers.word_piece_tokenizer import pretokenize

from tflm.text import TokenizerConfig
from tflm.text.word_split import clean_words, lone_characters, rules_of, split_bert_words

CASED = TokenizerConfig(kind="wordpiece", vocab_size=300)
UNCASED = TokenizerConfig(kind="wordpiece", vocab_size=300, case_fold=True)


def words(text, config):
    return [
        word.decode()
        for word in split_bert_words(
            clean_words(tf.constant([text]), config), rules_of(config)
        ).flat_values.numpy()
    ]


def test_same_words_as_keras_nlp():
    texts = ["Hello,  world! it's $5.00 (a_b)", "我爱Python，你呢？", "naïve CAFÉ\tÜber\n行"]
    for text in texts:
        peer = pretokenize(tf.constant([text]), strip_accents=False).flat_values.numpy()
        assert words(text, CASED) == [word.decode() for word in peer]


def test_case_fold_strips_accents_and_keeps_full_width():
    assert words("CAFÉ，naïve", UNCASED) == ["cafe", "，", "naive"]
    assert words("e\u0301", CASED) == ["é"]


def test_all_unicode_spaces_and_invisible_characters():
    assert words("a\u3000b\u00a0c\u2028d", CASED) == ["a", "b", "c", "d"]
    assert words("a\u200bb\x00c\ufeff", CASED) == ["abc"]


def test_lone_characters():
    assert lone_characters(["a", "中", "，", "$", "の", "𠀀", "é"], rules_of(CASED)) == {
        "中",
        "，",
        "$",
        "𠀀",
    }
    assert lone_characters([], rules_of(CASED)) == set()
