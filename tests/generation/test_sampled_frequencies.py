"""Whether tokens come as often as the settings say: the filters, the draw and the random numbers together."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation.config import DecodingConfig
from tflm.generation.sampling import filter_logits, sample, uniforms
from tflm.generation.settings import settings_tensors

NAN = float("nan")
NUM_SEEDS, NUM_DRAWS, VOCAB_SIZE = 600, 40, 16
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
SETTINGS = {
    "off": {},
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.7},
    "min_p": {"min_p": 0.3},
    "typical_p": {"typical_p": 0.5},
    "hot and few": {"temperature": 2.0, "top_k": 7, "min_p": 0.4},
    "all": {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8},
    "nan": {"top_p": NAN, "min_p": NAN, "typical_p": NAN},
}


def filter_slowly(logits, temperature, top_k, top_p, min_p, typical_p):
    """Probabilities float64 [V] by the definitions, one token at a time."""
    weights = {i: np.exp(x / temperature) for i, x in enumerate(logits.astype(np.float64)) if x > -np.inf}
    order = sorted(weights, key=lambda i: -weights[i])
    weights = _first(weights, order[: top_k or None], 1.0)
    weights = _first(weights, [i for i in order if i in weights], top_p)
    largest = max(weights.values())
    weights = {i: weight for i, weight in weights.items() if not weight < min_p * largest}
    total = sum(weights.values())
    surprise = {i: -np.log(weight / total) for i, weight in weights.items()}
    entropy = sum(weights[i] / total * surprise[i] for i in weights)
    weights = _first(weights, sorted(weights, key=lambda i: abs(surprise[i] - entropy)), typical_p)
    return np.array([weights.get(i, 0.0) for i in range(len(logits))]) / sum(weights.values())


def _first(weights, order, mass):
    kept, total = {}, sum(weights.values())
    for i in order:
        if kept and sum(kept.values()) >= mass * total:
            break
        kept[i] = weights[i]
    return kept


@pytest.fixture(scope="module")
def logits():
    """float32 [rows of SETTINGS, V], no two rows alike, some tokens impossible."""
    logits = np.random.default_rng(5).normal(0, 1.0, [len(SETTINGS), VOCAB_SIZE]).astype(np.float32)
    logits[::2, 3] = -np.inf
    return logits


@pytest.fixture(scope="module")
def filtered(logits):
    """What the filters make of them, all settings in one batch."""
    rows = [{**OFF, **changed} for changed in SETTINGS.values()]
    settings = settings_tensors(DecodingConfig(), len(rows))
    for name in OFF:
        settings[name] = tf.constant([row[name] for row in rows], settings[name].dtype)
    return tf.function(filter_logits, autograph=False)(logits, settings)


@pytest.fixture(scope="module")
def draws(filtered):
    """How often each token came, int [rows, V]: the same numbers for every row, of many seeds."""
    seeds = tf.range(NUM_SEEDS, dtype=tf.int64) * 7919 - 1_000_000
    numbers = tf.reshape(tf.function(uniforms)(seeds, tf.constant(0), tf.constant(NUM_DRAWS)), [-1])
    counts = []
    for row in filtered:
        tokens = sample(tf.repeat(row[None], tf.size(numbers), axis=0), numbers)
        counts.append(np.bincount(tokens, minlength=VOCAB_SIZE))
    return np.array(counts)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_filters_give_the_defined_distribution(name, logits, filtered):
    row = list(SETTINGS).index(name)
    expected = filter_slowly(logits[row], **{**OFF, **SETTINGS[name]})
    np.testing.assert_allclose(tf.nn.softmax(filtered[row]), expected, rtol=1e-4, atol=1e-7)
    if name not in ("off", "nan", "temperature"):
        assert 1 < np.count_nonzero(expected) < np.isfinite(logits[row]).sum()


@pytest.mark.parametrize("name", SETTINGS)
def test_tokens_come_as_often_as_the_distribution_says(name, logits, draws, toy):
    """Chi-square over 24,000 draws. Chance of a false alarm for an unlucky choice of seeds: 1e-7 a case, less than 1e-6
    in all. The seeds are fixed, so it passes always or never."""
    row = list(SETTINGS).index(name)
    expected = filter_slowly(logits[row], **{**OFF, **SETTINGS[name]})
    assert toy.chi_square_p_value(draws[row], expected) > 1e-7


def test_so_many_draws_tell_a_wrong_temperature(logits, draws, toy):
    """The test above would notice 5 in 100."""
    wrong = filter_slowly(logits[0], **{**OFF, "temperature": 1.05})
    assert toy.chi_square_p_value(draws[0], wrong) < 1e-7
