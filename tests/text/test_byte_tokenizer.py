"""Bytes against Python's own encoding."""

from tflm.text import TokenizerConfig, train_tokenizer


def test_ids_are_bytes():
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte", special_tokens=("separator", "mask")), [])
    texts = ["hi", "", "中文，\n", "e\u0301"]
    assert tokenizer.vocab_size == 4 + 2 + 256
    assert tokenizer.special_tokens == {"separator": 4, "mask": 5}
    assert tokenizer.tokenize(texts).to_list() == [[6 + byte for byte in text.encode()] for text in texts]
    assert tokenizer.ops == ()


def test_half_a_character(tokenizers):
    ids = tokenizers["byte"].tokenize(["中a"]).to_list()[0]
    assert tokenizers["byte"].detokenize([ids[1:]]).numpy()[0].decode() == "\ufffd\ufffda"
