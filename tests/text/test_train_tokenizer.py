"""Training is repeatable, reads an iterator once, and takes special tokens in order."""

import pytest

from tflm.text import TokenizerConfig, train_tokenizer


def test_same_texts_same_vocabulary(tokenizers, name, texts):
    again = train_tokenizer(tokenizers[name].config, iter(texts))
    assert again._asset == tokenizers[name]._asset
    assert again.vocab_size == tokenizers[name].vocab_size


@pytest.mark.parametrize(
    ("kind", "vocab_size"), [("sentencepiece", 380), ("wordpiece", 300), ("character", 320)]
)
def test_special_tokens_in_order(kind, vocab_size, texts):
    names = ("separator", "mask", "cls", "s", "user")
    tokenizer = train_tokenizer(
        TokenizerConfig(kind=kind, vocab_size=vocab_size, special_tokens=names), texts
    )
    assert tokenizer.special_tokens == {name: 4 + index for index, name in enumerate(names)}
    ids = tokenizer.tokenize(["[MASK] <|mask|> <s> mask user cls", "[USER]"]).flat_values.numpy()
    assert not set(ids.tolist()) & {0, 1, 2, 4, 5, 6, 7, 8}
    assert tokenizer.detokenize([[4, 5, 6, 7, 8]]).numpy()[0] == b""
