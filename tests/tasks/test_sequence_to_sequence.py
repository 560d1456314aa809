"""Pairs with an encoder-decoder: features, a learned pair, its score, and independence of the batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_store
from tflm.data import build_store
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.models import TransformerEncoderDecoderConfig, build_model
from tflm.tasks import PairsConfig, SequenceToSequence
from tflm.tasks.sequence_to_sequence import next_token_batch

SOURCES, TARGETS = ["hi", "你好", "yo", ""], ["ok then", "好的！", "你 too", "nothing"]


def make_task(tokenizer, source=12, target=12, max_length=32, **settings):
    config = PairsConfig(max_source_length=source, max_target_length=target, **settings)
    decoding = DecodingConfig(temperature=0.0, max_new_tokens=14)
    return SequenceToSequence(config, tokenizer, max_length, decoding)


def tokens_of(tokenizer, text):
    return tokenizer.tokenize(tf.constant([text])).to_list()[0]


def test_encode(tokenizer):
    task = make_task(tokenizer, source=5, target=4)
    features = task.encode({"source": tf.constant(SOURCES), "target": tf.constant(TARGETS)})
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        expected = [*tokens_of(tokenizer, source)[:5], tokenizer.end_id]
        assert features["source_ids"][row].numpy().tolist() == expected
        expected = [tokenizer.start_id, *tokens_of(tokenizer, target)[:4], tokenizer.end_id]
        assert features["token_ids"][row].numpy().tolist() == expected


def test_next_token_batch():
    batch = next_token_batch({"token_ids": tf.constant([[1, 5, 2, 0]]), "source_ids": tf.constant([[7]])}, 0)
    assert batch["token_ids"].numpy().tolist() == [[1, 5, 2]]
    assert batch["targets"].numpy().tolist() == [[5, 2, 0]]
    assert batch["loss_weights"].numpy().tolist() == [[1.0, 1.0, 0.0]]
    assert batch["source_ids"].numpy().tolist() == [[7]]


def test_a_length_that_does_not_fit(tokenizers):
    with pytest.raises(UserError, match=r"model.max_length=12 is less than 13"):
        make_task(tokenizers["byte"], max_length=12)


@pytest.fixture(scope="module")
def trained(tokenizers, tmp_path_factory):
    """A model that has learned four pairs by heart; its loss went through store and batches."""
    tokenizer = tokenizers["byte"]
    task = make_task(tokenizer)
    examples = [{"source": s, "target": t} for s, t in zip(SOURCES, TARGETS, strict=True)]
    store = build_store(examples, task.encode, tmp_path_factory.mktemp("data") / "store", "a")
    config = TransformerEncoderDecoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=32, num_heads=2, max_length=32
    )
    keras.utils.set_random_seed(1)
    model = build_model(config)
    losses = learn_store(task, model, store, batch_size=4)
    assert abs(losses[0] - np.log(tokenizer.vocab_size)) < 0.5
    return task, model, task.signatures(model), store


def test_learned_pairs_come_back(trained):
    _, _, signatures, _ = trained
    answers = signatures["serving_default"](tf.constant(SOURCES))["text"].numpy()
    assert [answer.decode() for answer in answers] == TARGETS
    alone = signatures["serving_default"](tf.constant([SOURCES[1]]))["text"].numpy()
    assert alone[0].decode() == TARGETS[1]


def test_the_score_is_that_of_one_forward_pass(trained):
    task, model, signatures, _ = trained
    texts, targets = ["hi", "你好", "other"], ["ok then", "no", "好"]
    scores = signatures["score"](tf.constant(texts), tf.constant(targets))
    for row, (text, target) in enumerate(zip(texts, targets, strict=True)):
        source = [*tokens_of(task.tokenizer, text), task.tokenizer.end_id]
        tokens = [1, *tokens_of(task.tokenizer, target), 2]
        logits = np.array(model(np.array([tokens[:-1]]), source_ids=np.array([source])), np.float64)[0]
        logits -= logits.max(-1, keepdims=True)
        shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = sum(shares[place, token] for place, token in enumerate(tokens[1:]))
        assert float(scores["log_probability"][row]) == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert int(scores["num_tokens"][row]) == len(tokens) - 1


def test_generation_gives_its_own_score(trained):
    _, _, signatures, _ = trained
    answers = signatures["serving_default"](tf.constant(SOURCES))["text"]
    scores = signatures["score"](tf.constant(SOURCES), answers)
    assert (scores["log_probability"].numpy() > -0.5).all()


def test_label_smoothing_and_z_loss_are_for_training_alone(trained, tokenizers):
    task, model, _, store = trained
    smooth = make_task(tokenizers["byte"], label_smoothing=0.1, z_loss=0.25)
    batch = next(iter(task.batches(store, 4, seed=0, training=False).dataset()))
    plain = float(task.loss(model, batch, training=False)[0])
    assert float(smooth.loss(model, batch, training=False)[0]) == plain
    states = next_token_batch(batch, 0)
    logits = model(states["token_ids"], source_ids=batch["source_ids"])
    shares = np.array(tf.nn.log_softmax(logits))
    weights = states["loss_weights"].numpy()
    even = -(shares.mean(-1) * weights).sum()
    squares = (tf.reduce_logsumexp(logits, axis=-1).numpy() ** 2 * weights).sum()
    found = float(smooth.loss(model, batch, training=True)[0])
    assert found == pytest.approx(0.9 * plain + 0.1 * even + 0.25 * squares, rel=1e-4)
