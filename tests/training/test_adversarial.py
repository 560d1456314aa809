"""Adversarial training of a linear classifier over mean embeddings against NumPy; equal in parts, resumed, and with an
epsilon of 0 as without; and what is refused."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.config import to_dict
from tflm.errors import UserError
from tflm.layers import Dropout, probed
from tflm.tasks.soft_targets import divergence
from tflm.training import TrainingConfig
from tflm.training.adversarial import AdversarialTraining, Pass, Perturbing, directions, make_adversarial
from tflm.training.dropout_masks import RowMasks, step_key
from tflm.training.train_step import make_train_steps

RATE, SEED, V, D, C, ROWS, LENGTH, EPSILON, PAD = 0.5, 3, 11, 6, 3, 4, 5, 0.3, 0
PART = (1 << 16) - 1


class Bag:
    """Labels from the mean of a text's embeddings, and a loss of rows with weights."""

    has_soft_targets = True

    def __init__(self, dropout=0.0):
        self.dropout = Dropout(dropout)
        keras.utils.set_random_seed(0)
        self.table, self.head = keras.layers.Embedding(V, D), keras.layers.Dense(C)
        self.head(self.table(tf.zeros([1, 1], tf.int32))[:, 0])
        self.variables = [*self.table.trainable_variables, *self.head.trainable_variables]
        rng = np.random.default_rng(1)
        self.variables[0].assign(rng.normal(size=[V, D]))
        ids = rng.integers(1, V, [ROWS, LENGTH]).astype(np.int32)
        ids[0, 3:] = ids[2, 1:] = PAD
        labels = np.array([0, 2, 1, 1], np.int32)
        self.batch = {"token_ids": ids, "labels": labels, "row_weights": np.float32([1, 1, 1, 0])}

    def __call__(self, token_ids, training=True):
        mask = tf.cast(token_ids != PAD, tf.float32)[:, :, None]
        embedded = probed("tokens", self.table(token_ids), token_ids)
        pooled = tf.reduce_sum(embedded * mask, axis=1) / tf.reduce_sum(mask, axis=1)
        return self.head(self.dropout(pooled, training=True))

    def loss(self, batch):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["labels"], self(batch["token_ids"]))
        return tf.reduce_sum(losses * batch["row_weights"]), tf.reduce_sum(batch["row_weights"])

    def distilled_loss(self, model, batch, soft):
        losses = divergence(model(batch["token_ids"]), soft.teacher(batch["token_ids"]), 1.0)
        return tf.reduce_sum(losses * batch["row_weights"]), tf.reduce_sum(batch["row_weights"])


def softmax(logits):
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


class ByHand:
    """The same in NumPy: losses, and gradients by the table, the kernel, the bias and each embedding."""

    def __init__(self, bag):
        self.table, self.kernel, self.bias = (np.float64(np.array(each)) for each in bag.variables)
        self.ids, self.labels, self.weights = (np.array(each) for each in bag.batch.values())
        self.mask = np.float64(self.ids != PAD)[:, :, None]
        self.embedded = self.table[self.ids]
        self.lengths = np.sqrt(((self.embedded * self.mask) ** 2).sum(axis=(1, 2), keepdims=True))

    def logits(self, added):
        pooled = ((self.embedded + added * self.mask) * self.mask).sum(axis=1) / self.mask.sum(axis=1)
        return pooled @ self.kernel + self.bias, pooled

    def backward(self, added, targets=None):
        """Of the cross entropy against the labels, or against given probabilities."""
        logits, pooled = self.logits(added)
        wanted = np.eye(C)[self.labels] if targets is None else targets
        error = (softmax(logits) - wanted) * self.weights[:, None]
        slope = (error @ self.kernel.T)[:, None] * self.mask / self.mask.sum(axis=1, keepdims=True)
        table = np.zeros_like(self.table)
        np.add.at(table, self.ids, slope)
        return [table, pooled.T @ error, error.sum(axis=0)], slope

    def loss(self, added):
        rows = -np.log(softmax(self.logits(added)[0])[np.arange(ROWS), self.labels])
        return (rows * self.weights).sum() / self.weights.sum()

    def unit(self, values):
        size = np.sqrt((values**2).sum(axis=(1, 2), keepdims=True))
        return np.divide(values, size, out=np.zeros_like(values), where=size > 0)

    def noise(self):
        key = step_key(SEED, tf.constant(0, tf.int64))
        uniform = RowMasks(key, tf.constant(0, tf.int64)).part(PART).uniform(1, (ROWS, LENGTH, D))
        return (2.0 * uniform.numpy() - 1.0) * self.mask

    def ascent(self, steps, added, step_size):
        for _ in range(steps):
            added = added + step_size * self.lengths * self.unit(self.backward(added)[1])
            size = np.sqrt((added**2).sum(axis=(1, 2), keepdims=True))
            added = added * np.minimum(1.0, np.divide(EPSILON * self.lengths, size, where=size > 0, out=size))
        return added

    def gradients(self, config):
        """The gradients of the weights, and the loss that is reported."""
        clean, _ = self.backward(0.0 * self.embedded)
        if config.adversarial in ("fgm", "pgd"):
            steps = config.adversarial_steps or (3 if config.adversarial == "pgd" else 1)
            size = config.adversarial_step_size or EPSILON / steps
            other, _ = self.backward(self.ascent(steps, 0.0 * self.embedded, size))
            weight = config.adversarial_weight
            return [(a + weight * b) / (1 + weight) for a, b in zip(clean, other)], self.loss(
                0.0 * self.embedded
            )
        if config.adversarial == "freelb":
            sizes = np.sqrt(self.mask.sum(axis=1, keepdims=True) * D)
            start = self.noise() * EPSILON * self.lengths / sizes
            walk = [self.ascent(steps, start, EPSILON / 2) for steps in range(2)]
            sums = [sum(each) / 2 for each in zip(*(self.backward(added)[0] for added in walk))]
            return sums, np.mean([self.loss(added) for added in walk])
        plain = softmax(self.logits(0.0 * self.embedded)[0])
        probe = self.unit(self.noise()) * 0.01 * self.lengths
        added = self.unit(self.backward(probe, plain)[1]) * EPSILON * self.lengths
        other, _ = self.backward(added, plain)
        weight = config.adversarial_weight
        return [a + weight * b for a, b in zip(clean, other)], self.loss(0.0 * self.embedded)


def one_step(bag, config, jit_compile=False, num_micro_batches=1):
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(bag.variables)
    train_steps = make_train_steps(
        tf.distribute.get_strategy(),
        bag.loss,
        bag.variables,
        optimizer,
        num_micro_batches=num_micro_batches,
        clip_norm=0.0,
        jit_compile=jit_compile,
        pad_id=PAD,
        mask_seed=SEED,
        adversarial=AdversarialTraining(config, bag, bag, PAD),
    )
    batch = {name: value[None] for name, value in bag.batch.items()}
    return float(train_steps(iter(tf.data.Dataset.from_tensor_slices(batch)), tf.constant(1))["loss"][0])


METHODS = {
    "fgm": {},
    "fgm_weighted": {"adversarial": "fgm", "adversarial_weight": 3.0},
    "pgd": {},
    "pgd_long": {"adversarial": "pgd", "adversarial_steps": 2, "adversarial_step_size": 0.25},
    "freelb": {"adversarial_steps": 2},
    "vat": {"adversarial_weight": 2.0},
}


def config_of(name, **changes):
    return TrainingConfig(**{"adversarial": name, "adversarial_epsilon": EPSILON, **METHODS[name], **changes})


@pytest.mark.parametrize("name,jit_compile", [*((name, False) for name in METHODS), ("pgd", True)])
def test_a_step_is_that_by_hand(name, jit_compile):
    bag, config = Bag(), config_of(name)
    by_hand = ByHand(bag)
    gradients, loss = by_hand.gradients(config)
    before = [np.array(each) for each in bag.variables]
    plain, _ = by_hand.backward(0.0 * by_hand.embedded)
    assert one_step(bag, config, jit_compile) == pytest.approx(loss, rel=1e-5)
    for variable, old, gradient, other in zip(bag.variables, before, gradients, plain, strict=True):
        np.testing.assert_allclose(variable, old - RATE * gradient / 3.0, atol=2e-5)
        assert np.abs(gradient - other).max() > 1e-3, "the perturbation makes a difference"


@pytest.mark.parametrize("name", ["fgm", "freelb", "vat"])
def test_in_parts_it_is_the_same(name):
    """Rows and their random numbers belong together, wherever they are computed."""
    whole, parts = Bag(), Bag()
    losses = one_step(whole, config_of(name)), one_step(parts, config_of(name), num_micro_batches=2)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(whole.variables, parts.variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_passes_of_a_step_have_the_same_masks():
    """With an epsilon of 0, predictions with and without a perturbation are the same, and so is their gradient."""
    found = []
    for name in ("fgm", "vat"):
        bag = Bag(dropout=0.5)
        one_step(bag, config_of(name, adversarial_epsilon=0.0))
        found.append([np.array(each) for each in bag.variables])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_padding_changes_nothing():
    """A text in a longer batch has the same perturbation, of the asked length."""
    ids = tf.constant([[3, 4, PAD, PAD], [5, 6, 7, 8]])
    values = tf.random.stateless_normal([2, 4, D], [0, 1])

    def added(ids, values):
        tape = Perturbing(lambda number, embeddings, mask: embeddings * 2.0, PAD)
        return tape.scaled("tokens", values, ids) - values, tape.lengths[0]

    long, lengths = added(ids, values)
    short, (length,) = added(ids[:1, :2], values[:1, :2])
    np.testing.assert_allclose(long[0, :2], short[0])
    assert not long[0, 2:].numpy().any() and lengths[0, 0, 0] == length[0, 0]


def test_directions_of_very_small_and_no_gradients():
    values = np.float32([[[3e-30, 4e-30]], [[0, 0]], [[3e30, -4e30]]])
    expected = np.float32([[[0.6, 0.8]], [[0, 0]], [[0.6, -0.8]]])
    np.testing.assert_allclose(directions(tf.constant(values)), expected, rtol=1e-6)


@pytest.fixture(scope="module")
def runs(small_run, tmp_path_factory):
    """`run(...)`: weights after four steps, with dropout."""

    def run(stop_at=None, **changes):
        folder = tmp_path_factory.mktemp("run")
        for last in [stop_at, None] if stop_at else [None]:
            trainer = small_run.make_trainer(folder, num_steps=4, log_every=1, **changes)
            trainer.train(small_run.Numbers(), None, stop_at=last)
        return small_run.all_state(trainer)

    return run


def test_an_epsilon_of_zero_is_plain_training(runs):
    plain = runs()
    zero = runs(adversarial="fgm", adversarial_epsilon=0.0)
    for name, value in plain.items():
        np.testing.assert_allclose(zero[name], value, atol=1e-6, err_msg=name)


def test_a_resumed_run_is_the_same_bit_for_bit(runs):
    options = {"adversarial": "freelb", "adversarial_steps": 1}
    whole, resumed = runs(**options), runs(stop_at=2, **options)
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_the_config_of_a_run_without_has_no_trace():
    assert not [name for name in to_dict(TrainingConfig()) if name.startswith("adversarial")]
    assert to_dict(TrainingConfig(adversarial="pgd"))["adversarial"] == "pgd"
    assert make_adversarial(TrainingConfig(), None, None, True) is None


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"adversarial": "fgsm"}, "adversarial is fgm, pgd, freelb, vat or empty; got 'fgsm'"),
        ({"adversarial": "fgm", "adversarial_steps": 3}, "adversarial=fgm is one step"),
        ({"adversarial": "fgm", "adversarial_step_size": 0.1}, "pgd takes several steps"),
        ({"adversarial_epsilon": -0.1}, "adversarial_epsilon is not negative and finite; got -0.1"),
        ({"adversarial_weight": float("inf")}, "adversarial_weight is not negative and finite"),
        ({"adversarial": "vat", "dropout_masks": "per_device"}, "needs dropout_masks=per_example"),
    ],
)
def test_settings_that_do_not_fit(changes, words):
    with pytest.raises(ValueError, match=words):
        TrainingConfig(**changes)


def test_what_it_cannot_go_together_with(small_run, tmp_path):
    config = TrainingConfig(adversarial="vat")
    with pytest.raises(UserError, match=r"training\.adversarial=vat and a teacher .* cannot go together"):
        make_adversarial(config, Bag(), Bag(), True)
    body = types.SimpleNamespace(architecture="bag of n-grams")
    with pytest.raises(UserError, match="needs a network; this model is a bag of n-grams"):
        make_adversarial(config, Bag(), types.SimpleNamespace(body=body), False)
    vectors = types.SimpleNamespace(save_vectors=print)
    with pytest.raises(UserError, match="perturbs the embeddings of texts; word_vectors"):
        make_adversarial(config, vectors, Bag(), False)
    with pytest.raises(UserError, match=r"vat compares predictions, .* use fgm, pgd or freelb"):
        small_run.make_trainer(tmp_path, adversarial="vat")


def test_models_without_embeddings_of_texts():
    nothing = Pass(tf.constant(1.0), tf.constant(1.0), [], [])
    with pytest.raises(UserError, match="perturbs token embeddings, and this model reads none"):
        AdversarialTraining(config_of("fgm"), Bag(), Bag(), PAD).gradients(lambda *_: nothing, None, None)
    words = types.SimpleNamespace(shape=tf.TensorShape([4, D]))
    with pytest.raises(UserError, match="this model reads single words"):
        Perturbing(lambda *_: None, PAD).scaled("tokens", words, None)
