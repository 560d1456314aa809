"""The contract of every model: two paths with one answer, causality, and that it learns."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.by_heart import overfit
from tflm.errors import UserError
from tflm.generation import DecodingConfig, generate, settings_tensors
from tflm.models import LSTMConfig, TransformerDecoderConfig, build_model


def random_ids(rng, *shape):
    return rng.integers(1, 29, size=shape).astype(np.int32)


def cross_entropy(model, token_ids):
    logits = model(token_ids[:, :-1])
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids[:, 1:], logits))


def read_in_steps(model, token_ids, num_padding, prompt_length, sizes, growth):
    """Logits of every place: the padded prompt in one step, then `sizes` tokens at a time, room made as needed."""
    state = model.initial_state(len(token_ids), prompt_length, num_padding=tf.constant(num_padding))
    logits, state = model.step(token_ids[:, :prompt_length], state)
    parts, index, room = [logits], prompt_length, prompt_length
    for size in sizes:
        if index + size > room:
            state, room = model.extend_state(state, growth), room + growth
        logits, state = model.step(token_ids[:, index : index + size], state)
        parts.append(logits)
        index += size
    assert int(state["cache_index"]) == index == token_ids.shape[1]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 1, 3]], ids=["one_by_one", "in_pieces"])
def test_steps_equal_the_whole_sequence(rng, random_model, sizes):
    model = random_model
    num_padding = np.array([0, 2, 4], np.int32)
    token_ids = random_ids(rng, 3, 11)
    token_ids[1, :2], token_ids[2, :4] = 0, 17  # what stands in the padding does not matter
    logits = read_in_steps(model, token_ids, num_padding, 5, sizes, growth=3)
    for row, padding in enumerate(num_padding):
        expected = model(token_ids[row : row + 1, padding:])[0]
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(logits[row, padding:], expected, atol=1e-5, rtol=1e-5)


def test_last_only_gives_the_last_place(rng, random_model):
    model, token_ids = random_model, random_ids(rng, 2, 5)
    all_logits, state = model.step(token_ids, model.initial_state(2, 5))
    last, last_state = model.step(token_ids, model.initial_state(2, 5), last_only=True)
    assert last.shape == (2, 1, 29)
    np.testing.assert_allclose(last, all_logits[:, -1:], atol=1e-5)
    for one, other in zip(tf.nest.flatten(state), tf.nest.flatten(last_state), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_state_has_the_batch_first(random_model):
    state = random_model.extend_state(random_model.initial_state(3, 4), 2)
    for part in tf.nest.flatten(state):
        assert part.shape == () or part.shape[0] == 3
    assert state["cache_index"].dtype == tf.int32 and state["num_padding"].dtype == tf.int32


def test_a_later_token_changes_no_earlier_logits(rng, random_model):
    model, token_ids = random_model, random_ids(rng, 2, 7)
    before = model(token_ids).numpy()
    for place in range(7):
        changed = token_ids.copy()
        changed[:, place] = token_ids[:, place] % 28 + 1
        after = model(changed).numpy()
        np.testing.assert_array_equal(after[:, :place], before[:, :place])
        assert (np.abs(after[:, place:] - before[:, place:]).max(axis=(0, 2)) > 1e-4).all()


def test_the_first_loss_is_near_ln_v(rng, config, make_model):
    loss = float(cross_entropy(make_model(config), random_ids(rng, 8, 16)))
    assert loss == pytest.approx(np.log(29), abs=0.1)


def test_a_gradient_reaches_every_variable(rng, random_model):
    model = random_model
    with tf.GradientTape() as tape:
        loss = cross_entropy(model, random_ids(rng, 4, 17))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        size = float(tf.norm(tf.convert_to_tensor(gradient)))
        # Softmax does not see a number that is added to every key, unless positions or a norm mix it.
        is_free = variable.path.endswith("key/bias") and getattr(model.config, "positions", "") != "rotary"
        assert size > 1e-4 or is_free, f"{variable.path}: {size}"


def test_call_is_hidden_states_and_logits_in_every_precision(rng, random_model, make_model):
    token_ids, policy = random_ids(rng, 2, 6), keras.config.dtype_policy()
    expected = random_model(token_ids)
    for precision in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(precision)
        try:
            model = make_model(random_model.config, scale=0.3)
        finally:
            keras.config.set_dtype_policy(policy)
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
        states = model.hidden_states(token_ids)
        assert states.dtype == (tf.float32 if precision == "float32" else tf.bfloat16)
        logits = model.logits(states)
        assert logits.dtype == tf.float32
        # Inside `call` Keras reads a head's bias in bfloat16.
        tolerance = 1e-5 if precision == "float32" else 1e-2
        np.testing.assert_allclose(model(token_ids), logits, atol=tolerance)
        difference = float(tf.norm(logits - expected) / tf.norm(expected))
        assert difference < (1e-5 if precision == "float32" else 0.1)


def test_one_graph_for_every_batch_and_length(rng, random_model):
    model = random_model
    call = tf.function(lambda ids: model(ids), input_signature=[tf.TensorSpec([None, None], tf.int32)])
    for shape in [(2, 5), (1, 9)]:
        token_ids = random_ids(rng, *shape)
        np.testing.assert_allclose(call(token_ids), model(token_ids), atol=1e-5)


@pytest.mark.parametrize("name", ["rotary", "gpt2", "original", "lstm"])
def test_one_batch_is_overfitted_and_greedy_decoding_repeats_it(rng, configs, make_model, name):
    model, end_id = make_model(dataclasses.replace(configs[name], hidden_dim=32)), 2
    text = random_ids(rng, 4, 9) % 26 + 3
    text = np.concatenate([text, np.full([4, 1], end_id, np.int32)], 1)
    text[:, 0] = [3, 4, 5, 6]  # each row begins with a token of its own
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = cross_entropy(model, text)
        values = [v.value for v in model.trainable_variables]
        optimizer.apply(tape.gradient(loss, values), model.trainable_variables)
        return loss

    losses = overfit(lambda: step() * text[:, 1:].size)
    assert losses[0] / text[:, 1:].size > 2.5
    prompts = tf.RaggedTensor.from_tensor(text[:, :1])
    settings = settings_tensors(DecodingConfig(temperature=0.0, max_new_tokens=15), 4)
    generation = generate(model, prompts, settings, end_id=end_id, pad_id=0, max_total_length=16)
    np.testing.assert_array_equal(generation.token_ids, text[:, 1:-1])
    assert (generation.log_probability.numpy() > -0.5).all()


@pytest.mark.parametrize("config_class", [TransformerDecoderConfig, LSTMConfig])
def test_a_model_without_a_vocabulary(config_class):
    with pytest.raises(UserError, match=r"model.vocab_size is 0. Set it to the vocab_size of the tokenizer"):
        build_model(config_class())
