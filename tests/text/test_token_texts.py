"""The texts of a text's tokens, joined, are the text."""

import tensorflow as tf

from tflm.text.token_texts import special_ids, token_texts


def test_joined_they_are_the_text(name, tokenizers, texts):
    tokenizer = tokenizers[name]
    # SentencePiece spells these two characters in other ones.
    texts = tf.constant([text for text in texts if "\x10" not in text and "\u2581" not in text] + [""])
    token_ids = tokenizer.tokenize(texts)
    joined = token_texts(tokenizer, token_ids)
    assert joined.row_splits.numpy().tolist() == token_ids.row_splits.numpy().tolist()
    expected = tokenizer.detokenize(token_ids).numpy().tolist()
    assert tf.strings.reduce_join(joined, axis=-1).numpy().tolist() == expected


def test_special_tokens_write_nothing(name, tokenizers):
    tokenizer = tokenizers[name]
    texts = tokenizer.piece_texts()
    assert len(texts) == tokenizer.vocab_size == len(tokenizer.suffix_pieces())
    for index in special_ids(tokenizer):
        assert texts[index] == ("\ufffd".encode() if index == tokenizer.unk_id else b"")
    assert all(text for index, text in enumerate(texts) if index not in special_ids(tokenizer))


def test_pieces_say_where_a_word_begins(tokenizers):
    tokenizer = tokenizers["wordpiece"]
    row = tokenizer.tokenize(["quickly 你好"])
    suffixes = tokenizer.suffix_pieces()[row.flat_values.numpy()]
    texts = token_texts(tokenizer, row).to_list()[0]
    assert suffixes[0] == False and suffixes[-2:].tolist() == [False, False] and suffixes[1:-2].all()  # noqa: E712
    assert b"".join(texts).decode() == "quickly 你好" and texts[-2] == " 你".encode()
    unigram = tokenizers["unigram"]
    texts = token_texts(unigram, unigram.tokenize(["the dog"])).to_list()[0]
    assert any(text.startswith(b" ") for text in texts) and not unigram.suffix_pieces().any()
