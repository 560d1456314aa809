"""Two toy models with known answers, a plain NumPy decoder to compare with, and a chi-square test."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tflm.export.verify import as_written

PAD, START, END = 0, 1, 2
VOCAB_SIZE, NUM_KEYS = 17, 29


class ToyModel(tf.Module):
    """A model whose cache is the text itself. It fails where a real one would: a full cache, a lost padding.

    `num_steps` counts the calls of `step`; `capacities` holds the cache's size at each of them.
    """

    def __init__(self):
        super().__init__()
        self.num_steps = tf.Variable(0)
        self.capacities = tf.Variable(tf.zeros([2000], tf.int32))

    def initial_state(self, batch_size, max_length, num_padding=None, context=None):
        assert num_padding is not None and context is None
        return {
            "memory": tf.fill([batch_size, max_length], -999),
            "num_padding": num_padding,
            "cache_index": tf.constant(0),
        }

    def step(self, token_ids, state, last_only=False):
        assert last_only
        index, memory = state["cache_index"], state["memory"]
        capacity, end = tf.shape(memory)[1], state["cache_index"] + tf.shape(token_ids)[1]
        tf.debugging.assert_less_equal(end, capacity, "The cache is full.")
        self.capacities.scatter_nd_update([[self.num_steps]], [capacity])
        self.num_steps.assign_add(1)
        memory = tf.ensure_shape(
            tf.concat([memory[:, :index], token_ids, memory[:, end:]], axis=1), memory.shape
        )
        positions = tf.range(capacity)[None] - state["num_padding"][:, None]
        is_real = (positions >= 0) & (tf.range(capacity)[None] < end)
        logits = self.logits(tf.where(is_real, memory, 0), positions, token_ids[:, -1])
        return logits[:, None], {**state, "memory": memory, "cache_index": end}

    def extend_state(self, state, num_positions):
        memory = tf.pad(state["memory"], [[0, 0], [0, num_positions]], constant_values=-999)
        return {**state, "memory": memory}

    def logits(self, token_ids, positions, last):
        """float32 [B, V] from the text int32 [B, L], zero for an empty text, and its newest token."""
        raise NotImplementedError


class CountingModel(ToyModel):
    """After n comes n + 1 and after 9 the end, with probability about 0.99; the rest is spread evenly."""

    def logits(self, token_ids, positions, last):
        return 8.0 * tf.one_hot(tf.where(last >= 9, END, last + 1), VOCAB_SIZE)


class HashModel(ToyModel):
    """Logits from a random table, looked up by a sum over every token and its position."""

    def __init__(self, seed=0, end_bonus=0.0):
        super().__init__()
        table = np.random.default_rng(seed).normal(0, 2, [NUM_KEYS, VOCAB_SIZE]).astype(np.float32)
        table[:, END] += end_bonus
        self.table = tf.constant(table)

    def logits(self, token_ids, positions, last):
        return tf.gather(self.table, tf.reduce_sum((positions + 1) * token_ids, axis=1) % NUM_KEYS)


def decode_slowly(table, prompt, choose_fn, limit):
    """One row of HashModel in plain Python: (tokens, log-probability)."""
    text, produced, log_probability = list(prompt), [], 0.0
    while len(produced) < limit:
        key = sum((i + 1) * token for i, token in enumerate(text)) % NUM_KEYS
        logits = table[key].astype(np.float64)
        token = choose_fn(logits, text, len(produced))
        log_probability += logits[token] - np.log(np.exp(logits).sum())
        if token == END:
            break
        produced.append(token)
        text.append(token)
    return produced, log_probability


def filter_slowly(logits, settings):
    """Probabilities float64 [V] after temperature, top_k, top_p and min_p, token by token."""
    weights = [np.exp((x - max(logits)) / settings["temperature"]) for x in logits]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    if settings["top_k"]:
        for i in order[settings["top_k"] :]:
            weights[i] = 0.0
    total, reached = sum(weights), 0.0
    for i in order:
        if reached >= settings["top_p"] * total and reached > 0:
            weights[i] = 0.0
        reached += weights[i]
    weights = [w if w >= settings["min_p"] * max(weights) else 0.0 for w in weights]
    return np.array(weights) / sum(weights)


def chi_square_p_value(counts, probabilities):
    """How likely counts at least this far from what the probabilities lead to expect are by chance."""
    counts, expected = np.asarray(counts, float), np.asarray(probabilities) * np.sum(counts)
    assert not counts[expected == 0].any(), "a token of probability zero was chosen"
    counts, expected = counts[expected > 0], expected[expected > 0]
    assert expected.min() >= 5, "too few draws for a chi-square test"
    statistic = np.sum((counts - expected) ** 2 / expected)
    return float(tf.math.igammac((len(counts) - 1) / 2, statistic / 2))


@pytest.fixture(scope="session")
def toy():
    """The names above."""
    return types.SimpleNamespace(
        PAD=PAD,
        START=START,
        END=END,
        VOCAB_SIZE=VOCAB_SIZE,
        CountingModel=CountingModel,
        HashModel=HashModel,
        decode_slowly=decode_slowly,
        filter_slowly=filter_slowly,
        chi_square_p_value=chi_square_p_value,
    )


@pytest.fixture(autouse=True, scope="module")
def without_graph_optimizer():
    """These graphs run a few times each: to optimise them takes longer than to run them."""
    with as_written():
        yield
