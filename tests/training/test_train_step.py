"""One step by hand, with plain gradient descent, against the compiled one."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import fused
from tflm.training import train_step
from tflm.training.train_step import LossScale, make_eval_step, make_train_steps, noise_and_signal
from tflm.training.xla_fusion import XlaFusion

RATE, V, ROWS, LENGTH = 0.5, 11, 8, 3


@pytest.fixture
def bigram():
    """A model with an answer for every token, its loss, and three batches with uneven weights."""
    keras.utils.set_random_seed(0)
    table, head = keras.layers.Embedding(V, 6), keras.layers.Dense(V)
    head(table(tf.zeros([1, 1], tf.int32)))
    seen_shapes = []

    def loss_fn(batch):
        seen_shapes.append(batch["token_ids"].shape)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            batch["targets"], head(table(batch["token_ids"]))
        )
        return tf.reduce_sum(losses * batch["loss_weights"]), tf.reduce_sum(batch["loss_weights"])

    rng = np.random.default_rng(1)
    batches = []
    for _ in range(3):
        weights = rng.random([ROWS, LENGTH]) < np.linspace(0.1, 1, ROWS)[:, None]
        ids = rng.integers(0, V, [2, ROWS, LENGTH]).astype(np.int32)  # 0 is padding
        batches.append({"token_ids": ids[0], "targets": ids[1], "loss_weights": np.float32(weights)})
    return table.trainable_variables + head.trainable_variables, loss_fn, batches, seen_shapes


def _second_is_late(number):
    time.sleep(0.3 * (number == 1))
    return number


def dataset_of(batches):
    stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    return tf.data.Dataset.from_tensor_slices(stacked)


def steps_by_hand(variables, loss_fn, batches, clip_norm):
    """Gradients of the mean over all weights; one step after the other."""
    logs = []
    for batch in batches:
        with tf.GradientTape() as tape:
            total, weight = loss_fn({name: tf.constant(value) for name, value in batch.items()})
            loss = total / weight
        gradients = tape.gradient(loss, [v.value for v in variables])
        gradients = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
        scale = min(1.0, clip_norm / norm) if clip_norm else 1.0
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(RATE * scale * gradient)
        logs.append((float(loss), norm, np.count_nonzero(batch["token_ids"])))
    return logs, [np.array(v) for v in variables]


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "jit"])
@pytest.mark.parametrize("num_micro_batches,clip_norm", [(1, 0.0), (2, 0.0), (4, 0.2), (1, 0.2)])
def test_steps_are_those_by_hand(bigram, num_micro_batches, clip_norm, jit_compile):
    variables, loss_fn, batches, seen_shapes = bigram
    start = [np.array(v) for v in variables]
    logs, expected = steps_by_hand(variables, loss_fn, batches, clip_norm)
    assert min(norm for _, norm, _ in logs) > 0.2, "nothing to clip"
    for variable, value in zip(variables, start, strict=True):
        variable.assign(value)
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(variables)
    seen_shapes.clear()
    train_steps = make_train_steps(
        tf.distribute.get_strategy(),
        loss_fn,
        variables,
        optimizer,
        num_micro_batches=num_micro_batches,
        clip_norm=clip_norm,
        jit_compile=jit_compile,
        pad_id=0,
    )
    values = train_steps(iter(dataset_of(batches)), tf.constant(3))
    found = np.stack([values["loss"], values["gradient_norm"], values["tokens"]], axis=1)
    np.testing.assert_allclose(found, logs, rtol=1e-5)
    assert values["positions"].numpy().tolist() == [ROWS * LENGTH] * 3
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-5)
    # Shapes stay known, so that an LSTM can write its loop out.
    assert {tuple(shape) for shape in seen_shapes} == {(ROWS // num_micro_batches, LENGTH)}


def test_any_number_of_steps_is_one_trace(bigram):
    variables, loss_fn, batches, _ = bigram
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(variables)
    options = {"num_micro_batches": 1, "clip_norm": 0.0, "jit_compile": False, "pad_id": 0}
    train_steps = make_train_steps(tf.distribute.get_strategy(), loss_fn, variables, optimizer, **options)
    iterator = iter(dataset_of(batches))
    assert train_steps(iterator, tf.constant(2))["loss"].shape == (2,)
    assert train_steps(iterator, tf.constant(1))["loss"].shape == (1,)
    assert train_steps.experimental_get_tracing_count() == 1


def test_the_time_in_which_a_step_waits_for_its_batch(bigram):
    variables, loss_fn, batches, _ = bigram
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(variables)
    options = {"num_micro_batches": 1, "clip_norm": 0.0, "jit_compile": False, "pad_id": 0}
    train_steps = make_train_steps(tf.distribute.get_strategy(), loss_fn, variables, optimizer, **options)
    slow = tf.data.Dataset.range(3).map(lambda number: tf.numpy_function(_second_is_late, [number], tf.int64))
    dataset = tf.data.Dataset.zip(slow, dataset_of(batches)).map(lambda _, batch: batch)
    waited = train_steps(iter(dataset), tf.constant(3))["data_seconds"].numpy()
    assert waited[1] >= 0.25 and waited.min() >= 0.0


def test_a_batch_without_targets_changes_nothing(bigram):
    variables, loss_fn, batches, _ = bigram
    empty = {**batches[0], "loss_weights": np.zeros([ROWS, LENGTH], np.float32)}
    before = [np.array(v) for v in variables]
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(variables)
    options = {"num_micro_batches": 2, "clip_norm": 1.0, "jit_compile": False, "pad_id": 0}
    train_steps = make_train_steps(tf.distribute.get_strategy(), loss_fn, variables, optimizer, **options)
    values = train_steps(iter(dataset_of([empty])), tf.constant(1))
    assert float(values["loss"][0]) == float(values["gradient_norm"][0]) == 0.0
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_eval_step_gives_the_sums(bigram):
    _, loss_fn, batches, _ = bigram
    eval_step = make_eval_step(
        tf.distribute.get_strategy(), lambda batch: dict(zip(("loss", "weight"), loss_fn(batch), strict=True))
    )
    batch = {name: tf.constant(value) for name, value in batches[0].items()}
    for found, expected in zip(eval_step(batch).values(), loss_fn(batch), strict=True):
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


def noise_by_hand(variables, loss_fn, batch, num_parts):
    """The two estimates of the first step, from the mean gradient of each part that has targets."""
    weights, gradients = [], []
    for rows in np.split(np.arange(ROWS), num_parts):
        with tf.GradientTape() as tape:
            total, weight = loss_fn({name: tf.constant(value[rows]) for name, value in batch.items()})
        parts = tape.gradient(total, [v.value for v in variables])
        if weight > 0:
            flat = [tf.convert_to_tensor(part).numpy().ravel() for part in parts]
            gradients.append(np.concatenate(flat) / weight)
            weights.append(float(weight))
    count, big = len(weights), np.sum(np.square(np.average(gradients, axis=0, weights=weights)))
    small = np.average(np.sum(np.square(gradients), axis=1), weights=weights)
    assert 1 < count < num_parts, "a part without targets is among them"
    return (small - big) / (count - 1), (count * big - small) / (count - 1)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "jit"])
def test_noise_and_signal_are_those_by_hand(bigram, jit_compile):
    variables, loss_fn, batches, _ = bigram
    expected = noise_by_hand(variables, loss_fn, batches[0], num_parts=4)
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(variables)
    options = {"num_micro_batches": 4, "clip_norm": 0.1, "jit_compile": jit_compile, "pad_id": 0}
    train_steps = make_train_steps(tf.distribute.get_strategy(), loss_fn, variables, optimizer, **options)
    values = train_steps(iter(dataset_of(batches)), tf.constant(1))
    found = float(values["gradient_noise"][0]), float(values["gradient_signal"][0])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_noise_and_signal_are_unbiased():
    """Micro-batches of unequal weight, whose mean gradients vary by S/w around G; McCandlish et al., 2018, A.1."""
    rng, weights, width, spread = np.random.default_rng(0), np.array([1.0, 2.0, 3.0, 6.0]), 20, 5.0
    true = rng.normal(size=width)
    deviations = np.sqrt(spread / width / weights)[:, None]
    drawn = true + deviations * rng.normal(size=(20_000, len(weights), width))
    big = np.sum(np.average(drawn, axis=1, weights=weights) ** 2, axis=1)
    small_sums = np.sum(weights * np.sum(drawn**2, axis=2), axis=1)
    noise, signal = noise_and_signal(np.sqrt(big), weights.sum(), small_sums, np.float64(len(weights)))
    assert np.mean(noise) == pytest.approx(spread / weights.sum(), rel=0.03)
    assert np.mean(signal) == pytest.approx(np.sum(true**2), rel=0.03)


def test_one_micro_batch_has_no_noise_in_its_graph(bigram):
    variables, loss_fn, batches, _ = bigram
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(variables)
    options = {"num_micro_batches": 1, "clip_norm": 0.0, "jit_compile": False, "pad_id": 0}
    train_steps = make_train_steps(tf.distribute.get_strategy(), loss_fn, variables, optimizer, **options)
    values = train_steps(iter(dataset_of(batches)), tf.constant(1))
    assert set(values) == {"loss", "gradient_norm", "tokens", "positions", "data_seconds"}


def scaled_run(variable, factor, num_steps):
    """Plain gradient descent in float16 on the variable's sum times a factor that float16 can hold."""
    scale = LossScale()
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([variable])

    def loss_fn(batch):
        products = tf.cast(tf.convert_to_tensor(variable.value), tf.float16) * tf.cast(factor, tf.float16)
        return tf.reduce_sum(tf.cast(products, tf.float32)) * 4.0, tf.constant(4.0)

    steps = make_train_steps(
        tf.distribute.get_strategy(),
        loss_fn,
        [variable],
        optimizer,
        num_micro_batches=1,
        clip_norm=0.0,
        jit_compile=False,
        pad_id=0,
        loss_scale=scale,
    )
    rows = dataset_of([{"token_ids": np.ones([2, 3], np.int32)}]).repeat()
    return scale, steps(iter(rows), tf.constant(num_steps))


def test_overflowing_gradients_halve_the_loss_scale_and_change_nothing():
    variable = keras.Variable(np.float32([1.0, 2.0]))
    scale, logs = scaled_run(variable, 8.0, num_steps=4)
    # 8 times 2^15 is beyond 65504, the greatest float16, up to a scale of 2^13.
    assert logs["loss_scale"].numpy().tolist() == [2.0**15, 2.0**14, 2.0**13, 2.0**12]
    assert np.isfinite(logs["gradient_norm"]).tolist() == [False, False, False, True]
    np.testing.assert_array_equal(variable.numpy(), np.float32([1.0 - 8.0, 2.0 - 8.0]))
    assert float(scale.value) == 2.0**12


def test_the_loss_scale_keeps_gradients_that_float16_cannot_hold():
    variable = keras.Variable(np.float32([1.0]))
    tiny = 2.0**-24  # the least of float16; half of it vanishes
    _, logs = scaled_run(variable, tiny, num_steps=1)
    np.testing.assert_allclose(logs["gradient_norm"], [tiny], rtol=1e-6)


def test_the_loss_scale_grows_after_many_good_steps_and_has_a_least_value(monkeypatch):
    monkeypatch.setattr(LossScale, "_GROWTH_STEPS", 3)
    scale = LossScale()
    for _ in range(4):
        scale.after_step()
    assert float(scale.value) == 2.0**16 and float(scale.variables["loss_scale/good_steps"]) == 1.0
    scale.after_overflow()
    assert float(scale.value) == 2.0**15 and float(scale.variables["loss_scale/good_steps"]) == 0.0
    for _ in range(20):
        scale.after_overflow()
    assert float(scale.value) == LossScale.LEAST


@pytest.mark.parametrize(
    "options,is_fused", [({}, True), ({"fuses": False}, False), ({"jit_compile": True}, False)]
)
def test_a_training_step_fuses_chains_unless_all_of_it_is_compiled(monkeypatch, options, is_fused):
    calls = []

    class Recording(XlaFusion):
        def fuse(self, function, inputs, constants):
            calls.append(function)
            return super().fuse(function, inputs, constants)

    monkeypatch.setattr(train_step, "XlaFusion", Recording)
    variable = keras.Variable(np.float32([1.0]))
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([variable])

    def loss_fn(batch):
        del batch
        return tf.reduce_sum(fused(tf.square, tf.convert_to_tensor(variable.value))), tf.constant(1.0)

    steps = make_train_steps(
        tf.distribute.get_strategy(),
        loss_fn,
        [variable],
        optimizer,
        **{"num_micro_batches": 1, "clip_norm": 0.0, "jit_compile": False, "pad_id": 0, **options},
    )
    steps(iter(dataset_of([{"token_ids": np.ones([2, 3], np.int32)}])), tf.constant(1))
    assert bool(calls) == is_fused
    np.testing.assert_array_equal(variable.numpy(), [-1.0])
