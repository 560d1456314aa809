"""Rows of documents, prompts cut at their beginning, and what training learns scored."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.data import build_store

TEXTS = ["Hello, world!", "你好，世界！", "", "Mixed 中文 and English"]


def test_encode_marks_documents(tokenizer, language_modeling):
    rows = language_modeling(tokenizer).encode({"text": tf.constant(TEXTS)})["token_ids"]
    for text, row in zip(TEXTS, rows.to_list(), strict=True):
        assert (row[0], row[-1]) == (tokenizer.start_id, tokenizer.end_id)
        assert row[1:-1] == tokenizer.tokenize(tf.constant([text])).to_list()[0]
        assert tokenizer.detokenize(tf.ragged.constant([row])).numpy()[0].decode() == text


def test_encode_of_one_continuous_text(tokenizer, language_modeling):
    task = language_modeling(tokenizer, mark_documents=False)
    rows = task.encode({"text": tf.constant(TEXTS)})["token_ids"].to_list()
    assert rows == tokenizer.tokenize(tf.constant(TEXTS)).to_list()
    assert not {tokenizer.start_id, tokenizer.end_id} & {token for row in rows for token in row}


def test_a_short_prompt_is_whole(tokenizer, language_modeling):
    task = language_modeling(tokenizer, max_length=64)
    text = TEXTS[:2]
    prompts = task.prompts(tf.constant(text), tf.constant([5, 5])).rows.to_list()
    assert prompts == [[tokenizer.start_id, *row] for row in tokenizer.tokenize(tf.constant(text)).to_list()]


@pytest.mark.parametrize("mark_documents", [True, False])
@pytest.mark.parametrize("max_new_tokens,kept", [(5, 15), (1, 19), (0, 20), (10, 10), (15, 10), (1000, 10)])
def test_a_long_prompt_loses_its_beginning(
    tokenizer, language_modeling, mark_documents, max_new_tokens, kept
):
    """Of 20 places the answer has what it asks for, and the prompt at least half."""
    task = language_modeling(tokenizer, max_length=20, mark_documents=mark_documents)
    texts = ["The quick brown fox jumps over the lazy dog, 12345", "我爱自然语言处理，你好世界" * 2]
    prompts = task.prompts(tf.constant(texts), tf.fill([2], max_new_tokens)).rows.to_list()
    for text, prompt in zip(texts, prompts, strict=True):
        tokens = tokenizer.tokenize(tf.constant([text])).to_list()[0]
        assert len(tokens) > 20 and len(prompt) == kept
        if mark_documents:
            assert prompt == [tokenizer.start_id, *tokens[len(tokens) - kept + 1 :]]
        else:
            assert prompt == tokens[-kept:]


def test_rows_may_ask_for_different_lengths(tokenizers, language_modeling):
    task = language_modeling(tokenizers["byte"], max_length=20)
    prompts = task.prompts(tf.constant(["x" * 50] * 3), tf.constant([2, 8, 30])).rows
    assert prompts.row_lengths().numpy().tolist() == [18, 12, 10]


def test_an_empty_prompt_begins_somewhere(tokenizers, language_modeling):
    for name, tokenizer in tokenizers.items():
        for mark_documents in (True, False):
            task = language_modeling(tokenizer, mark_documents=mark_documents)
            prompts = task.prompts(tf.constant(["", " "]), tf.constant([5, 5])).rows
            assert min(prompts.row_lengths().numpy()) >= 1, (name, mark_documents)


def test_batches_are_blocks_of_the_joined_documents(tmp_path, tokenizers, language_modeling, make_model):
    tokenizer = tokenizers["byte"]
    task = language_modeling(tokenizer, max_length=8)
    store = build_store([{"text": text} for text in TEXTS], task.encode, tmp_path / "store", "a")
    batches = task.batches(store, 3, seed=0, training=False)
    stream = [
        token for row in task.encode({"text": tf.constant(TEXTS)})["token_ids"].to_list() for token in row
    ]
    inputs, targets = [], []
    for batch in batches.dataset():
        assert batch["token_ids"].shape == (3, 8)
        real = batch["loss_weights"].numpy() > 0
        inputs.extend(batch["token_ids"].numpy()[real])
        targets.extend(batch["targets"].numpy()[real])
    assert inputs == stream[:-1] and targets == stream[1:]
    model = make_model(tokenizer.vocab_size, 8)
    weights = [float(task.loss(model, batch, training=False)[1]) for batch in batches.dataset()]
    assert sum(weights) == len(stream) - 1


def test_score_of_a_document_is_its_loss(tokenizer, language_modeling, make_model):
    """Scoring and training agree: the loss over the row of a document is minus its log-probability."""
    task, model = language_modeling(tokenizer, max_length=64), make_model(tokenizer.vocab_size, 64)
    score = task.signatures(model)["score"](tf.constant(TEXTS))
    for index, text in enumerate(TEXTS):
        row = task.encode({"text": tf.constant([text])})["token_ids"].to_tensor()
        weights = tf.ones_like(row[:, 1:], tf.float32)
        batch = {"token_ids": row[:, :-1], "targets": row[:, 1:], "loss_weights": weights}
        loss, weight = task.loss(model, batch, training=False)
        np.testing.assert_allclose(score["log_probability"][index], -loss, atol=1e-3)
        assert int(score["num_tokens"][index]) == int(weight)
