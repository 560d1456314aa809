"""`rewind`: the state is as if the tokens had never been read, whatever the positions are."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tflm.models import TransformerEncoderDecoderConfig

PADDING = np.array([0, 2, 1], np.int32)
REFUSED = np.array([2, 0, 3], np.int32)
PROMPT = 4


@pytest.fixture(
    scope="module", params=["grouped", "gpt2", "original", "relative", "counted", "encoder_decoder"]
)
def model(request, configs, make_model):
    if request.param != "encoder_decoder":
        return make_model(configs[request.param], scale=0.3)
    given = dataclasses.asdict(configs["relative"])
    names = {field.name for field in dataclasses.fields(TransformerEncoderDecoderConfig)} - {"kind"}
    config = TransformerEncoderDecoderConfig(**{name: given[name] for name in names & set(given)})
    return make_model(config, scale=0.3)


def some_ids(*shape, seed=3):
    return np.random.default_rng(seed).integers(3, 29, shape).astype(np.int32)


def begin(model, token_ids, num_padding):
    """The state after int32 [B, P]."""
    given = {}
    if model.has_encoder:
        given["context"] = model.encode(np.tile(some_ids(1, 6, seed=8), [len(token_ids), 1]))
    state = model.initial_state(*token_ids.shape, num_padding=tf.constant(num_padding), **given)
    return model.step(token_ids, model.extend_state(state, 9))[1]


def test_what_was_taken_back_leaves_no_trace(model):
    """Rows take back unequal numbers and go on; alone, each gives what one gives that never read them."""
    token_ids, more = some_ids(3, PROMPT + 3), some_ids(3, 4, seed=4)
    state = begin(model, token_ids[:, :PROMPT], PADDING)
    _, state = model.step(token_ids[:, PROMPT:], state)
    state = model.rewind(state, tf.constant(REFUSED))
    num_read = PROMPT + 3 - PADDING - REFUSED
    assert int(state["cache_index"]) == num_read.max()
    assert state["num_padding"].numpy().tolist() == (num_read.max() - num_read).tolist()
    first, state = model.step(more[:, :3], state)
    state = model.rewind(state, tf.constant([1, 1, 1]))
    second, state = model.step(more[:, 3:], state)
    for row in range(3):
        alone = token_ids[row : row + 1, PADDING[row] : PROMPT + 3 - REFUSED[row]]
        untouched = begin(model, alone, np.zeros(1, np.int32))
        expected, _ = model.step(more[row : row + 1, :3], untouched)
        assert np.std(expected) > 0.1
        np.testing.assert_allclose(first[row], expected[0], atol=1e-5)
        after = np.delete(more[row : row + 1], 2, axis=1)
        expected, _ = model.step(after, untouched)
        np.testing.assert_allclose(second[row, 0], expected[0, -1], atol=1e-5)


def test_padding_on_the_right_is_read_and_taken_back(model):
    """How a second turn is read: texts of unequal length in one step."""
    token_ids, lengths = some_ids(3, 5), np.array([5, 1, 3], np.int32)
    state = begin(model, some_ids(3, PROMPT, seed=5), PADDING)
    padded = np.where(np.arange(5) < lengths[:, None], token_ids, 0)
    _, together = model.step(padded, state)
    together = model.rewind(together, tf.constant(5 - lengths))
    logits, _ = model.step(token_ids[:, :1], together)
    for row, length in enumerate(lengths):
        repeated = np.tile(token_ids[row, :length], [3, 1])
        _, expected = model.step(repeated, state)
        expected, _ = model.step(np.tile(token_ids[row, :1], [3, 1]), expected)
        np.testing.assert_allclose(logits[row], expected[row], atol=1e-5)


def test_rows_that_take_back_equally_many_are_not_moved(model):
    state = begin(model, some_ids(3, PROMPT), np.zeros(3, np.int32))
    rewound = model.rewind(state, tf.constant([2, 2, 2]))
    assert int(rewound["cache_index"]) == PROMPT - 2
    for before, after in zip(state["keys"], rewound["keys"], strict=True):
        np.testing.assert_array_equal(before, after)


def test_compiled_it_gives_the_same(model):
    state = begin(model, some_ids(3, PROMPT), PADDING)
    plain = model.rewind(state, tf.constant([1, 0, 2]))
    compiled = tf.function(model.rewind, jit_compile=True, autograph=False)(state, tf.constant([1, 0, 2]))
    for one, other in zip(tf.nest.flatten(plain), tf.nest.flatten(compiled), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_lstm_cannot(configs, make_model):
    model = make_model(configs["lstm"])
    assert not model.can_rewind
    with pytest.raises(
        NotImplementedError, match="LSTMLanguageModel cannot rewind: its state summarizes all tokens"
    ):
        model.rewind(model.initial_state(1, 4), tf.constant([1]))
