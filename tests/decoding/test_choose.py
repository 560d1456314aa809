import numpy as np
import pytest
import tensorflow as tf

from tflm.decoding.choose import choose, sampled_logits
from tflm.decoding.config import DecodingConfig, settings_tensors
from tflm.decoding.uniforms import uniforms

NAN, INF = float("nan"), float("inf")
END = 2


def pick(logits, config=None, *, uniform=0.5, seen=(), suppressed=(), num_tokens=0, settings=None):
    logits = tf.constant(logits, tf.float32)
    batch_size, vocab_size = logits.shape
    is_listed = lambda ids: tf.constant([i in ids for i in range(vocab_size)])  # noqa: E731
    tokens = choose(
        logits,
        tf.fill([batch_size], tf.constant(uniform, tf.float64)),
        settings or settings_tensors(config, batch_size),
        num_tokens=tf.fill([batch_size], num_tokens),
        seen=tf.repeat(is_listed(seen)[None], batch_size, axis=0),
        suppressed=is_listed(suppressed),
        end_id=END,
    )
    return tokens.numpy().tolist()


GREEDY = DecodingConfig(temperature=0)


def test_greedy_takes_the_first_of_the_likeliest():
    assert pick([[1, 3, 0, 3, 3], [0, 0, 0, 0, 0]], GREEDY) == [1, 0]


def test_greedy_heeds_what_is_impossible_and_penalized():
    logits = [[4.0, 3.0, 2.0, 1.0]]
    assert pick(logits, GREEDY, suppressed=[0]) == [1]
    assert pick(logits, DecodingConfig(temperature=0, repetition_penalty=1.5), seen=[0]) == [1]
    assert pick([[0.0, 0.0, 9.0, 1.0]], DecodingConfig(temperature=0, min_new_tokens=4), num_tokens=3) == [3]
    assert pick([[0.0, 0.0, 9.0, 1.0]], DecodingConfig(temperature=0, min_new_tokens=4), num_tokens=4) == [
        END
    ]


def test_greedy_ignores_the_settings_of_sampling():
    config = DecodingConfig(temperature=0, top_k=1, top_p=0.1, min_p=0.5)
    assert pick([[1, 2, 0, 3]], config, uniform=0.999) == [3]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_logit_that_is_no_number_is_never_chosen(temperature):
    config = DecodingConfig(temperature=temperature, top_k=3, top_p=0.9, min_p=0.1)
    assert pick([[NAN, 1, INF, -INF]], config) == [1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_without_a_possible_token_ends(temperature):
    config = DecodingConfig(temperature=temperature, top_k=3, top_p=0.9, min_p=0.1)
    assert pick([[NAN] * 4, [1, -INF, -INF, -INF]], config, suppressed=[0]) == [END, END]


def test_greedy_and_sampled_rows_share_a_batch():
    logits = [[3.0, 2.9, 0.0, 0.0]] * 2
    settings = {**settings_tensors(GREEDY, 2), "temperature": tf.constant([0.0, 1.0])}
    assert pick(logits, uniform=0.6, settings=settings) == [0, 1]


def test_settings_out_of_range_act_like_the_nearest_one_inside():
    odd = {"temperature": -1.0, "top_k": -5, "top_p": 3.0, "min_p": -1.0, "repetition_penalty": -1.0}
    settings = settings_tensors(DecodingConfig(), 1)
    strange = {
        name: tf.constant([odd[name]], value.dtype) if name in odd else value
        for name, value in settings.items()
    }
    assert pick([[1, 2, 0, 3]], settings=strange, uniform=0.01, seen=[3]) == [3]
    nans = {
        name: tf.constant([NAN]) if value.dtype == tf.float32 else value for name, value in settings.items()
    }
    assert pick([[1, 2, 0, 3]], settings=nans, uniform=0.01, seen=[3]) == [3]


CONFIGS = [
    DecodingConfig(temperature=0.7, top_k=8),
    DecodingConfig(temperature=1.5, top_p=0.8),
    DecodingConfig(temperature=2.0, min_p=0.2),
    DecodingConfig(temperature=1.2, top_k=9, top_p=0.9, min_p=0.05),
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_filters_together_give_the_defined_distribution(config, toy):
    logits = np.random.default_rng(3).normal(0, 2, [6, 20]).astype(np.float32)
    result = tf.nn.softmax(sampled_logits(tf.constant(logits), settings_tensors(config, 6)))
    expected = [toy.filter_slowly(row.astype(np.float64), vars(config)) for row in logits]
    assert 1 < np.count_nonzero(expected) < expected[0].size * 6
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("config", [DecodingConfig(), *CONFIGS], ids=str)
def test_frequencies_match_the_distribution(config, toy):
    """Chi-square over 6,000 seeds. Probability of a false alarm for an unlucky choice of seeds: 1e-4 each."""
    logits = np.random.default_rng(5).normal(0, 1.0, [1, 12]).astype(np.float32)
    num_draws = 6_000
    tokens = choose(
        tf.repeat(logits, num_draws, axis=0),
        tf.function(uniforms)(tf.range(num_draws, dtype=tf.int64), tf.constant(0), tf.constant(1))[:, 0],
        settings_tensors(config, num_draws),
        num_tokens=tf.zeros([num_draws], tf.int32),
        seen=tf.zeros([num_draws, 12], tf.bool),
        suppressed=tf.zeros([12], tf.bool),
        end_id=END,
    )
    expected = toy.filter_slowly(logits[0].astype(np.float64), vars(config))
    assert toy.chi_square_p_value(np.bincount(tokens, minlength=12), expected) > 1e-4
