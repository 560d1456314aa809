"""The LSTM encoder-decoder: against NumPy, its two ways against each other, its neighbours, and that it learns."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.by_heart import overfit
from tflm.generation import DecodingConfig, generate, settings_tensors
from tflm.layers import time_loop
from tflm.models import LSTMEncoderDecoderConfig

LUONG = LSTMEncoderDecoderConfig(vocab_size=29, num_layers=2, hidden_dim=12, max_length=16)
CONFIGS = {
    "luong": LUONG,
    "bahdanau": dataclasses.replace(LUONG, attention="bahdanau"),
    "luong_wide": dataclasses.replace(LUONG, num_layers=1, embedding_dim=7, tied_output=False),
    "bahdanau_wide": dataclasses.replace(
        LUONG, attention="bahdanau", num_layers=1, embedding_dim=7, tied_output=False
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request, make_model):
    return make_model(CONFIGS[request.param], scale=0.3)


@pytest.fixture
def source_ids(rng):
    """Rows of 6, 2 and 4 tokens."""
    ids = rng.integers(1, 29, size=(3, 6)).astype(np.int32)
    ids[1, 2:], ids[2, 4:] = 0, 0
    return ids


@pytest.fixture
def token_ids(rng):
    return rng.integers(1, 29, size=(3, 8)).astype(np.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def logits_slowly(model, source, target):
    """One row, token by token, in float64, from the weights by their paths."""
    w = {v.path.partition("/")[2]: np.array(v, np.float64) for v in model.variables}
    numbers = range(model.config.num_layers)
    luong = model.config.attention == "luong"

    def step(name, x, hidden, cell):
        gates = x @ w[f"{name}/kernel"] + hidden @ w[f"{name}/recurrent_kernel"] + w[f"{name}/bias"]
        if name == "decoder_0" and not luong:
            inside = hidden @ w["decoder_0/attention/query/kernel"] + w["decoder_0/attention/query/bias"]
            inside = np.tanh(inside + values @ w["decoder_0/attention/key/kernel"])
            context = softmax(inside @ w["decoder_0/attention/score/kernel"][:, 0]) @ values
            gates += context @ w["decoder_0/context_kernel"]
        enter, forget, candidate, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(candidate)
        return sigmoid(leave) * np.tanh(cell), cell

    def one_way(name, xs):
        state, outputs = (np.zeros(6), np.zeros(6)), []
        for x in xs:
            state = step(name, x, *state)
            outputs.append(state[0])
        return np.array(outputs), state

    values, ends = w["token_embedding/embeddings"][source], []
    for i in numbers:
        forward, first = one_way(f"encoder_{i}/forward", values)
        backward, second = one_way(f"encoder_{i}/backward", values[::-1])
        values = np.concatenate([forward, backward[::-1]], axis=1)
        ends.append(np.concatenate([first[0], second[0], first[1], second[1]]))
    states = []
    for i in numbers:
        hidden, cell = np.split(ends[i] @ w[f"bridge_{i}/kernel"] + w[f"bridge_{i}/bias"], 2)
        states.append((np.tanh(hidden), cell))
    rows = []
    for token in target:
        x = w["token_embedding/embeddings"][token]
        for i in numbers:
            states[i] = step(f"decoder_{i}", x, *states[i])
            x = states[i][0]
        if luong:
            context = softmax(values @ w["attention/key/kernel"] @ x) @ values
            x = np.tanh(np.concatenate([context, x]) @ w["attentional/kernel"])
        rows.append(x @ (w["token_embedding/embeddings"].T if model.head is None else w["head/kernel"]))
    return np.array(rows)


def read_in_steps(model, token_ids, context, num_padding, prompt_length, sizes):
    """Logits of every place: the padded prompt in one step, then `sizes` tokens at a time."""
    state = model.initial_state(
        len(token_ids), prompt_length, num_padding=tf.constant(num_padding), context=context
    )
    parts, index = [], 0
    for size in (prompt_length, *sizes):
        logits, state = model.step(token_ids[:, index : index + size], state)
        state = model.extend_state(state, size)
        parts.append(logits)
        index += size
    assert int(state["cache_index"]) == index == token_ids.shape[1]
    return np.concatenate(parts, axis=1)


def test_against_numpy(model, source_ids, token_ids):
    logits = model(token_ids, source_ids=source_ids)
    for row, source in enumerate(source_ids):
        expected = logits_slowly(model, source[source > 0], token_ids[row])
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(logits[row], expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1] * 4, [2, 1, 1]], ids=["one_by_one", "in_pieces"])
def test_steps_equal_the_whole_sequence(model, source_ids, token_ids, sizes):
    num_padding = np.array([0, 2, 4], np.int32)
    token_ids[1, :2], token_ids[2, :4] = 0, 17  # what stands in the padding does not matter
    logits = read_in_steps(model, token_ids, model.encode(source_ids), num_padding, 4, sizes)
    for row, padding in enumerate(num_padding):
        one = slice(row, row + 1)
        expected = model(token_ids[one, padding:], source_ids=source_ids[one])[0]
        np.testing.assert_allclose(logits[row, padding:], expected, atol=1e-5, rtol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(model, source_ids, token_ids):
    together = model(token_ids, source_ids=np.pad(source_ids, [[0, 0], [0, 3]]))
    for row, source in enumerate(source_ids):
        alone = model(token_ids[row : row + 1], source_ids=source[source > 0][None])[0]
        np.testing.assert_allclose(together[row], alone, atol=1e-5)


def test_the_loop_in_the_graph_gives_the_same(model, source_ids, token_ids, monkeypatch):
    expected = model(token_ids, source_ids=source_ids)
    monkeypatch.setattr(time_loop, "UNROLL_LIMIT", 0)
    np.testing.assert_allclose(model(token_ids, source_ids=source_ids), expected, atol=1e-5)


def test_one_graph_for_every_batch_and_length(model, source_ids, token_ids):
    spec = tf.TensorSpec([None, None], tf.int32)
    call = tf.function(lambda ids, source: model(ids, source_ids=source), input_signature=[spec, spec])
    for ids, source in ((token_ids, source_ids), (token_ids[:1, :3], source_ids[:1])):
        np.testing.assert_allclose(call(ids, source), model(ids, source_ids=source), atol=1e-5)


def test_a_state_has_the_batch_first_and_what_the_source_needs_once(model, source_ids):
    context = model.encode(source_ids)
    state = model.initial_state(3, 100, context=context)
    assert state["memory_keys"].shape == state["memory_values"].shape == (3, 6, 12)
    assert state["hidden"].shape == state["cell"].shape == (3, model.config.num_layers, 12)
    _, later = model.step(np.ones([3, 2], np.int32), state)
    for name in ("memory_keys", "memory_values", "memory_mask"):
        assert later[name] is state[name]
    for part in tf.nest.flatten([context, later]):
        assert part.shape == () or part.shape[0] == 3


def test_a_row_of_padding_alone_leaves_the_state(model, source_ids, token_ids):
    state = model.initial_state(3, 4, num_padding=tf.constant([4, 0, 4]), context=model.encode(source_ids))
    _, later = model.step(token_ids[:, :4], state)
    for name in ("hidden", "cell"):
        np.testing.assert_array_equal(later[name][0], state[name][0])
        assert np.any(later[name][1] != state[name][1])


def test_a_gradient_reaches_every_variable_the_same_in_every_way(model, source_ids, token_ids):
    def gradients(token_ids, source_ids, training):
        with tf.GradientTape() as tape:
            states = model.hidden_states(token_ids[:, :-1], training=training, source_ids=source_ids)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(token_ids[:, 1:], model.logits(states))
            loss = tf.reduce_mean(losses)
        parts = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [tf.convert_to_tensor(part) for part in parts]

    spec = tf.TensorSpec([None, None], tf.int32)
    any_length = tf.function(lambda *ids: gradients(*ids, training=True), input_signature=[spec, spec])
    plain = gradients(token_ids, source_ids, training=False)
    for variable, one, other in zip(
        model.trainable_variables, plain, any_length(token_ids, source_ids), strict=True
    ):
        assert float(tf.norm(one)) > 1e-6, variable.path
        np.testing.assert_allclose(other, one, atol=1e-5, rtol=1e-4)
    paths = [variable.path for variable in model.variables]
    assert len(set(paths)) == len(paths) and all(path.startswith("lstm_encoder_decoder/") for path in paths)


def test_mixed_precision_is_near_float32(make_model, model, source_ids, token_ids):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = make_model(model.config, scale=0.3)
    finally:
        keras.config.set_dtype_policy(policy)
    states = mixed.hidden_states(token_ids, source_ids=source_ids)
    assert states.dtype == tf.bfloat16 and mixed.logits(states).dtype == tf.float32
    expected = model(token_ids, source_ids=source_ids)
    logits = mixed(token_ids, source_ids=source_ids)
    assert float(tf.norm(logits - expected) / tf.norm(expected)) < 0.1
    context = mixed.encode(source_ids)
    assert context["cell"].dtype == mixed.initial_state(3, 4, context=context)["cell"].dtype == tf.float32


def test_dropout_acts_in_training_alone(make_model, source_ids, token_ids):
    model = make_model(dataclasses.replace(LUONG, dropout=0.5))
    plain = model(token_ids, source_ids=source_ids)
    np.testing.assert_array_equal(plain, model(token_ids, source_ids=source_ids))
    assert np.any(plain != model(token_ids, training=True, source_ids=source_ids))


@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_one_batch_is_overfitted_and_greedy_decoding_repeats_it(rng, make_model, attention):
    """The target is the source, backwards: it cannot be told from the start token alone."""
    config = dataclasses.replace(CONFIGS[attention], num_layers=1, hidden_dim=32)
    model, start_id, end_id = make_model(config), 1, 2
    source = rng.integers(3, 29, size=(4, 5)).astype(np.int32)
    marks = [np.full([4, 1], mark, np.int32) for mark in (start_id, end_id)]
    text = np.concatenate([marks[0], source[:, ::-1], marks[1]], axis=1)
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(text[:, :-1], training=True, source_ids=source)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(text[:, 1:], logits))
        values = [v.value for v in model.trainable_variables]
        optimizer.apply(tape.gradient(loss, values), model.trainable_variables)
        return loss

    losses = overfit(lambda: step() * text[:, 1:].size)
    assert losses[0] / text[:, 1:].size == pytest.approx(np.log(29), abs=0.2)
    prompts = tf.RaggedTensor.from_tensor(text[:, :1])
    settings = settings_tensors(DecodingConfig(temperature=0.0, max_new_tokens=10), 4)
    context = model.encode(source)
    generation = generate(model, prompts, settings, context=context, end_id=end_id, pad_id=0)
    np.testing.assert_array_equal(generation.token_ids, text[:, 1:-1])
