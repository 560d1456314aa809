"""A task's measures over one pass equals NumPy's, whatever the batches."""

import math
import types

import numpy as np
import pytest
import tensorflow as tf

from tflm.evaluation import evaluate
from tflm.tasks import LanguageModeling, LanguageModelingConfig

VOCABULARY = 7


class Batches:
    """Batches of unequal sizes and widths."""

    def __init__(self, *shapes):
        rng = np.random.default_rng(0)
        self.batches = [
            {
                "token_ids": rng.integers(0, VOCABULARY, shape).astype(np.int32),
                "targets": rng.integers(0, VOCABULARY, shape).astype(np.int32),
                "loss_weights": rng.integers(0, 2, shape).astype(np.float32),
            }
            for shape in shapes
        ]

    def dataset(self):
        signature = {
            "token_ids": tf.TensorSpec([None, None], tf.int32),
            "targets": tf.TensorSpec([None, None], tf.int32),
            "loss_weights": tf.TensorSpec([None, None], tf.float32),
        }
        return tf.data.Dataset.from_generator(lambda: iter(self.batches), output_signature=signature)


class Bigrams:
    """A language model that knows the last token alone."""

    config = types.SimpleNamespace(vocab_size=VOCABULARY)

    def __init__(self):
        self.table = np.random.default_rng(1).normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)

    def hidden_states(self, token_ids, training):
        assert not training
        return tf.one_hot(token_ids, VOCABULARY)

    def logits(self, hidden_states):
        return hidden_states @ self.table

    def negative_log_likelihood(self, batch):
        logits = self.table[batch["token_ids"]].astype(np.float64)
        log_sum = np.log(np.exp(logits).sum(-1))
        chosen = np.take_along_axis(logits, batch["targets"][..., None], -1)[..., 0]
        return float(((log_sum - chosen) * batch["loss_weights"]).sum())


def bare_task():
    """Loss and metrics need no vocabulary."""
    task = LanguageModeling.__new__(LanguageModeling)
    task.config = LanguageModelingConfig()
    return task


@pytest.mark.parametrize("max_batches", [0, 1, 2])
@pytest.mark.parametrize("compact", [False, True])
def test_it_equals_numpy(max_batches, compact):
    task = bare_task()
    task.compact_loss = compact
    batches, model = Batches((3, 5), (3, 8), (1, 2)), Bigrams()
    found = evaluate(task, model, batches, max_batches)
    used = batches.batches[: max_batches or None]
    num_tokens = sum(batch["loss_weights"].sum() for batch in used)
    loss = sum(model.negative_log_likelihood(batch) for batch in used) / num_tokens
    assert found["num_tokens"] == num_tokens
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity():
    model = Bigrams()
    model.table[:] = 0.0
    found = evaluate(bare_task(), model, Batches((4, 6)))
    assert found["perplexity"] == pytest.approx(VOCABULARY, rel=1e-5)


def test_nothing_to_predict():
    batches = Batches((2, 3))
    batches.batches[0]["loss_weights"][:] = 0.0
    found = evaluate(bare_task(), Bigrams(), batches)
    assert found["num_tokens"] == 0 and math.isnan(found["loss"])
