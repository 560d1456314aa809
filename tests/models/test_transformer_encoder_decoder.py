"""The encoder-decoder: two paths with one answer, and a row that does not know its neighbours."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.by_heart import overfit
from tflm.generation import DecodingConfig, generate, settings_tensors
from tflm.models import TransformerEncoderDecoderConfig

SMALL = TransformerEncoderDecoderConfig(
    vocab_size=29, num_layers=2, hidden_dim=16, num_heads=4, intermediate_dim=24, max_length=16
)
CONFIGS = {
    "rotary": dataclasses.replace(SMALL, num_kv_heads=2, qk_norm=True, num_decoder_layers=1),
    "original": dataclasses.replace(
        SMALL,
        norm="layer_norm",
        norm_position="post",
        positions="sinusoidal",
        activation="relu",
        num_layers=1,
        use_bias=True,
        scale_embedding=True,
    ),
    "t5": dataclasses.replace(SMALL, positions="relative", activation="geglu", tied_output=False),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def model(request, make_model):
    return make_model(CONFIGS[request.param], scale=0.3)


def some_ids(rng, *shape):
    return rng.integers(3, 29, shape).astype(np.int32)


def test_steps_equal_the_whole_sequence(model, rng):
    source_ids, token_ids = some_ids(rng, 3, 7), some_ids(rng, 3, 9)
    source_ids[1, 4:] = 0
    num_padding = np.array([0, 2, 3], np.int32)
    state = model.initial_state(3, 4, num_padding=num_padding, context=model.encode(source_ids))
    logits, state = model.step(token_ids[:, :4], state)
    parts = [logits]
    state = model.extend_state(state, 5)
    for begin, end in [(4, 5), (5, 7), (7, 9)]:
        logits, state = model.step(token_ids[:, begin:end], state)
        parts.append(logits)
    found = np.concatenate(parts, axis=1)
    for row, padding in enumerate(num_padding):
        expected = model(token_ids[row : row + 1, padding:], source_ids=source_ids[row : row + 1])[0]
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(found[row, padding:], expected, rtol=1e-4, atol=1e-4)


def test_padding_of_the_source_changes_nothing(model, rng):
    source_ids, token_ids = some_ids(rng, 1, 5), some_ids(rng, 1, 6)
    alone = model(token_ids, source_ids=source_ids)
    np.testing.assert_allclose(
        model(token_ids, source_ids=np.pad(source_ids, [(0, 0), (0, 4)])), alone, rtol=1e-4, atol=1e-5
    )


def test_what_is_ahead_is_not_seen_and_the_source_is(model, rng):
    source_ids, token_ids = some_ids(rng, 1, 5), some_ids(rng, 1, 6)
    before = np.array(model(token_ids, source_ids=source_ids))
    later = token_ids.copy()
    later[0, 3] = token_ids[0, 3] % 20 + 5
    after = np.array(model(later, source_ids=source_ids))
    np.testing.assert_allclose(after[0, :3], before[0, :3], atol=1e-5)
    assert np.abs(after[0, 3:] - before[0, 3:]).max() > 1e-4
    source_ids[0, 2] = source_ids[0, 2] % 20 + 5
    assert (np.abs(model(token_ids, source_ids=source_ids) - before).max(-1) > 1e-6).all()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_one_batch_is_overfitted_and_greedy_decoding_repeats_it(name, make_model, rng):
    config = dataclasses.replace(CONFIGS[name], hidden_dim=32, num_layers=1, num_decoder_layers=1)
    model = make_model(config)
    source_ids, targets = some_ids(rng, 6, 5), some_ids(rng, 6, 6)
    source_ids[2, 3:] = 0
    targets[:, -1] = 2
    token_ids = np.concatenate([np.full([6, 1], 1), targets[:, :-1]], axis=1).astype(np.int32)
    optimizer = keras.optimizers.Adam(5e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def train():
        with tf.GradientTape() as tape:
            logits = model(token_ids, source_ids=source_ids, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
        values = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(loss, values)
        optimizer.apply([tf.convert_to_tensor(g) for g in gradients], model.trainable_variables)
        return loss

    overfit(lambda: train() * targets.size)
    prompts = tf.ragged.constant([[1]] * 6, dtype=tf.int32)
    settings = settings_tensors(DecodingConfig(temperature=0.0, max_new_tokens=10), 6)
    written = generate(model, prompts, settings, end_id=2, pad_id=0, context=model.encode(source_ids))
    np.testing.assert_array_equal(written.token_ids, targets[:, :-1])


def test_a_graph_for_any_batch_and_length(model, rng):
    """In one graph: encode, then generate; a row alone has the text that it has among longer ones."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    def run(source_ids):
        rows = tf.shape(source_ids)[0]
        prompts = tf.RaggedTensor.from_tensor(tf.ones([rows, 1], tf.int32))
        settings = settings_tensors(DecodingConfig(temperature=0.0, max_new_tokens=9), rows)
        return generate(
            model, prompts, settings, end_id=2, pad_id=0, context=model.encode(source_ids), segment_length=4
        )

    source_ids = some_ids(rng, 4, 8)
    source_ids[1, 2:] = 0
    together = run(source_ids)
    for row in range(4):
        length = 2 if row == 1 else 8
        alone = run(source_ids[row : row + 1, :length])
        count = int(alone.num_tokens[0])
        assert count == int(together.num_tokens[row])
        np.testing.assert_array_equal(alone.token_ids[0, :count], together.token_ids[row, :count])
        np.testing.assert_allclose(
            alone.log_probability[0], together.log_probability[row], rtol=1e-3, atol=1e-3
        )
