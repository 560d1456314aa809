"""The loss of every token: NumPy's, in the order of the batches; its sum is what an evaluation adds up."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tflm.evaluation import token_losses
from tflm.tasks import LanguageModeling, LanguageModelingConfig, PairsConfig, SequenceToSequence

VOCABULARY = 7


class Batches:
    """One pass over what it is given."""

    def __init__(self, batches):
        self.batches, self.batches_per_epoch = batches, len(batches)

    def dataset(self):
        signature = {
            name: tf.TensorSpec([None, None], value.dtype) for name, value in self.batches[0].items()
        }
        return tf.data.Dataset.from_generator(lambda: iter(self.batches), output_signature=signature)


class Bigrams:
    """Knows the last token, and how many places the source has."""

    config = types.SimpleNamespace(vocab_size=VOCABULARY)

    table = np.random.default_rng(1).normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)

    def hidden_states(self, token_ids, training, source_ids=None):
        assert not training
        size = 0 if source_ids is None else tf.math.count_nonzero(source_ids, axis=1, dtype=tf.int32)
        return tf.one_hot(token_ids, VOCABULARY) * tf.cast(1 + tf.reshape(size, [-1, 1, 1]), tf.float32)

    def logits(self, hidden_states):
        return hidden_states @ self.table

    def expected(self, token, target, scale=1):
        logits = scale * self.table[token].astype(np.float64)
        return np.log(np.exp(logits).sum()) - logits[target]


def task_of(cls, config):
    task = cls.__new__(cls)
    task.config, task.tokenizer = config, types.SimpleNamespace(pad_id=0)
    return task


def random_batch(rng, *shape):
    return {
        "token_ids": rng.integers(0, VOCABULARY, shape).astype(np.int32),
        "targets": rng.integers(0, VOCABULARY, shape).astype(np.int32),
        "loss_weights": rng.integers(0, 2, shape).astype(np.float32),
    }


def test_each_counted_token_in_order():
    rng = np.random.default_rng(0)
    batches, model = [random_batch(rng, *shape) for shape in ((3, 5), (3, 8), (1, 2))], Bigrams()
    task = task_of(LanguageModeling, LanguageModelingConfig())
    found = token_losses(task, model, Batches(batches))
    expected = [
        model.expected(token, target)
        for batch in batches
        for token, target, weight in zip(*(values.ravel() for values in batch.values()))
        if weight
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    task.compact_loss = True
    sums = [
        task.loss(model, {k: tf.constant(v) for k, v in batch.items()}, training=False) for batch in batches
    ]
    assert found.sum() == pytest.approx(float(sum(total for total, _ in sums)), rel=1e-5)
    assert len(found) == float(sum(weight for _, weight in sums))


def test_targets_of_an_encoder_decoder():
    # start 5 4 end and start 3 end: three and two tokens to predict; the sources have two places and one.
    batch = {
        "token_ids": np.array([[1, 5, 4, 2], [1, 3, 2, 0]], np.int32),
        "source_ids": np.array([[6, 2], [2, 0]], np.int32),
    }
    model = Bigrams()
    found = token_losses(task_of(SequenceToSequence, PairsConfig()), model, Batches([batch]))
    expected = [model.expected(token, target, 3) for token, target in ((1, 5), (5, 4), (4, 2))]
    expected += [model.expected(token, target, 2) for token, target in ((1, 3), (3, 2))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_nothing_counts():
    batch = {**random_batch(np.random.default_rng(0), 2, 3), "loss_weights": np.zeros([2, 3], np.float32)}
    found = token_losses(task_of(LanguageModeling, LanguageModelingConfig()), Bigrams(), Batches([batch]))
    assert found.shape == (0,)
