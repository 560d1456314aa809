"""A vocabulary's first embedding: rows from the file where it has the token's text, English and Chinese."""

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.initial_embedding import initial_embedding, vocabulary_texts, vocabulary_words
from tflm.text.word_vectors import VectorTable


@pytest.fixture(scope="module")
def tokenizer():
    rng = np.random.default_rng(0)
    english = ["The", "the", "File", "file", "list", "of", "a", "good", "quality"]
    chinese = ["质量", "很", "好", "的"]
    texts = [" ".join(rng.choice(english, 9)) + "。" + "".join(rng.choice(chinese, 6)) for _ in range(200)]
    return train_tokenizer(TokenizerConfig(vocab_size=310), texts)


def test_token_texts(tokenizer):
    texts = vocabulary_texts(tokenizer)
    assert len(texts) == tokenizer.vocab_size
    assert texts[:3] == ["", "", ""] and texts[4] == ""
    assert "file" in texts and "质量" in texts
    # " file" and, at the beginning of a line, "file": the same text without its space.
    assert all(text == text.strip() for text in texts)
    assert {"file", "File", "质量"} <= vocabulary_words(tokenizer)
    assert "" not in vocabulary_words(tokenizer)


def test_initial_embedding(tokenizer):
    rng = np.random.default_rng(1)
    known = {
        word: rng.normal(0.0, 0.3, 50).astype(np.float32) for word in ("file", "质量", "the", "unrelated")
    }
    table = VectorTable(list(known), np.stack(list(known.values())))
    matrix, num_found = initial_embedding(tokenizer, table, seed=3)
    assert matrix.shape == (tokenizer.vocab_size, 50) and matrix.dtype == np.float32
    texts = vocabulary_texts(tokenizer)
    hits = 0
    for row, text in zip(matrix, texts, strict=True):
        word = text if text in known else text.lower()
        if word in known:
            np.testing.assert_array_equal(row, known[word])
            hits += 1
        else:
            assert not any((row == vector).any() for vector in known.values())
    assert hits == num_found and hits >= 4
    assert "The" in texts and "File" in texts  # from "the" and "file"
    drawn = matrix[[text.lower() not in known for text in texts]]
    np.testing.assert_allclose(drawn.std(), table.vectors.std(), rtol=0.05)
    again, _ = initial_embedding(tokenizer, table, seed=3)
    np.testing.assert_array_equal(matrix, again)
    other, _ = initial_embedding(tokenizer, table, seed=4, stddev=0.01)
    np.testing.assert_allclose(other[[text.lower() not in known for text in texts]].std(), 0.01, rtol=0.05)


def test_its_own_text_goes_before_lower_case(tokenizer):
    table = VectorTable(["file", "File"], np.array([[1.0], [2.0]], np.float32))
    matrix, _ = initial_embedding(tokenizer, table, seed=0)
    texts = vocabulary_texts(tokenizer)
    assert matrix[texts.index("File")] == 2.0 and matrix[texts.index("file")] == 1.0


def test_a_file_of_another_language(tokenizer):
    table = VectorTable(["слово"], np.ones([1, 3], np.float32))
    with pytest.raises(UserError, match="none of the 310 tokens of the vocabulary is among the 1 words"):
        initial_embedding(tokenizer, table, seed=0)
