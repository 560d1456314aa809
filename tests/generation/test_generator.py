"""The loop with toy models of known answers (conftest.py); sampled rows against a plain NumPy decoder."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.generation import DecodingConfig, Generation, generate, settings_specs, settings_tensors
from tflm.generation.sampling import uniforms

GREEDY = DecodingConfig(temperature=0)


def make_graph(model, **kwargs):
    """`generate` as a graph that knows neither the batch size nor the prompts' length."""
    specs = [tf.RaggedTensorSpec([None, None], tf.int32), settings_specs()]

    @tf.function(input_signature=specs, autograph=False)
    def graph(prompts, settings):
        return generate(model, prompts, settings, **{"end_id": 2, "pad_id": 0, **kwargs})

    return graph


def call(graph, prompts, settings):
    """The rows' tokens, and the Generation in NumPy."""
    if isinstance(settings, DecodingConfig):
        settings = settings_tensors(settings, len(prompts))
    result = graph(tf.ragged.constant(prompts, tf.int32, ragged_rank=1), settings)
    result = Generation(*(value.numpy() for value in result))
    for ids, length in zip(result.token_ids, result.num_tokens):
        assert not ids[length:].any() and ids[:length].all()
    return [ids[:length].tolist() for ids, length in zip(result.token_ids, result.num_tokens)], result


def run(model, prompts, settings=GREEDY, **kwargs):
    return call(make_graph(model, **kwargs), prompts, settings)


@pytest.fixture(scope="module")
def traced(toy):
    """traced(segment_length) -> CountingModel and its graph, each traced once for all tests."""

    @functools.cache
    def make(segment_length=64):
        model = toy.CountingModel()
        return model, make_graph(model, segment_length=segment_length)

    return make


@pytest.fixture
def counting(traced):
    """As `traced`, with the model's counters at zero."""

    def reset(*segment_length):
        model, graph = traced(*segment_length)
        model.num_steps.assign(0)
        model.capacities.assign(tf.zeros_like(model.capacities))
        return model, graph

    return reset


@pytest.fixture(scope="module")
def hashed(toy):
    """A HashModel and its graph, in short segments and with suppressed tokens."""
    model = toy.HashModel(end_bonus=-1.5)
    return model, make_graph(model, suppressed_ids=[1, 3], segment_length=7)


def row(settings, index):
    return {name: float(value[index]) for name, value in settings.items() if value.shape.rank == 1}


def mixed_settings(num_rows, **changes):
    """Every row its own settings, greedy ones among them."""
    random = np.random.default_rng(11)
    settings = {
        "seed": random.integers(-(2**62), 2**62, num_rows),
        "temperature": random.choice([0.0, 0.7, 1.3], num_rows).astype(np.float32),
        "top_k": random.choice([0, 3, 12, 400], num_rows).astype(np.int32),
        "top_p": random.choice([0.4, 0.9, 1.0], num_rows).astype(np.float32),
        "min_p": random.choice([0.0, 0.1], num_rows).astype(np.float32),
        "repetition_penalty": random.choice([1.0, 1.4], num_rows).astype(np.float32),
        "min_new_tokens": random.integers(0, 9, num_rows).astype(np.int32),
        "max_new_tokens": random.integers(9, 90, num_rows).astype(np.int32),
    }
    given = {name: tf.constant(value) for name, value in {**settings, **changes}.items()}
    return {**settings_tensors(DecodingConfig(), num_rows), **given}


def some_prompts(num_rows):
    random = np.random.default_rng(12)
    return [[1, *random.integers(3, 17, random.integers(0, 9))] for _ in range(num_rows)]


def take(settings, rows):
    return {name: tf.gather(value, rows) for name, value in settings.items()}


def test_rows_of_unequal_length_stop_at_their_own_time(toy, counting):
    texts, result = call(counting()[1], [[1, 5], [8], [1, 1, 9], [4, 7]], GREEDY)
    assert texts == [[6, 7, 8, 9], [9], [], [8, 9]]
    assert result.token_ids.tolist() == [[6, 7, 8, 9], [9, 0, 0, 0], [0, 0, 0, 0], [8, 9, 0, 0]]
    assert result.token_ids.dtype == result.num_tokens.dtype == np.int32
    likely = 8 - np.log(np.exp(8) + toy.VOCAB_SIZE - 1)
    np.testing.assert_allclose(result.log_probability, likely * np.array([5, 2, 1, 3]), rtol=1e-4)


def test_every_row_equals_a_plain_decoder(toy, hashed):
    """Filters, seeds, limits, padding and cache, all at once, against one row at a time in NumPy."""
    prompts, settings = some_prompts(24), mixed_settings(24)
    model, graph = hashed
    texts, result = call(graph, prompts, settings)
    table, lengths = model.table.numpy(), set()
    for i, prompt in enumerate(prompts):
        setting = row(settings, i)
        numbers = uniforms(settings["seed"][i : i + 1], 0, 100)[0].numpy()

        def choose_fn(logits, text, count, setting=setting, numbers=numbers):
            logits = logits.copy()
            for token in set(text):
                scale = setting["repetition_penalty"]
                logits[token] *= scale if logits[token] < 0 else 1 / scale
            logits[[0, 1, 3]] = -np.inf
            if count < setting["min_new_tokens"]:
                logits[toy.END] = -np.inf
            if setting["temperature"] == 0:
                return int(np.argmax(logits))
            sums = np.cumsum(toy.filter_slowly(logits, {**setting, "top_k": int(setting["top_k"])}))
            return int(np.searchsorted(sums, numbers[count] * sums[-1], side="right"))

        expected, log_probability = toy.decode_slowly(table, prompt, choose_fn, setting["max_new_tokens"])
        assert texts[i] == expected
        np.testing.assert_allclose(result.log_probability[i], log_probability, rtol=1e-4)
        lengths.add(len(expected))
    assert len(lengths) > 5 and max(lengths) > 40  # the rows did stop at different times, some late


def test_neighbours_do_not_matter(hashed):
    prompts, settings = some_prompts(8), mixed_settings(8)
    _, graph = hashed
    together, result = call(graph, prompts, settings)
    alone = [call(graph, prompts[i : i + 1], take(settings, [i]))[0][0] for i in range(8)]
    order = [5, 0, 7, 2, 1, 6, 4, 3]
    shuffled, other = call(graph, [prompts[i] for i in order], take(settings, order))
    assert alone == together and shuffled == [together[i] for i in order]
    np.testing.assert_allclose(other.log_probability, result.log_probability[order], rtol=1e-5)


def test_segments_give_the_same_text_as_one_piece(hashed):
    prompts, settings = some_prompts(5), mixed_settings(5, min_new_tokens=np.full(5, 70, np.int32))
    model, graph = hashed
    whole, result = run(model, prompts, settings, suppressed_ids=[1, 3], segment_length=1000)
    assert max(map(len, whole)) > 70  # longer than a group of random numbers
    for pieces, other in (
        call(graph, prompts, settings),
        run(model, prompts, settings, suppressed_ids=[1, 3], segment_length=1),
    ):
        assert whole == pieces
        np.testing.assert_array_equal(result.log_probability, other.log_probability)


def test_seeds_decide_the_text(hashed):
    seeds = tf.constant([1, 2, 3, 1, -1, 2**40], tf.int64)
    settings = settings_tensors(DecodingConfig(max_new_tokens=12, min_new_tokens=12), 6)
    settings["seed"] = seeds
    _, graph = hashed
    first, second = (call(graph, [[1, 4]] * 6, settings)[0] for _ in range(2))
    assert first == second
    assert first[0] == first[3] and len({tuple(text) for text in first}) == 5


def test_steps_count_the_tokens_that_come_and_not_those_allowed(counting):
    model, graph = counting(2)
    call(graph, [[1, 4], [1, 8]], DecodingConfig(temperature=0, max_new_tokens=10_000))
    assert model.num_steps.numpy() == 1 + 5  # the prompt; then 5, 6, 7, 8, 9 are read and the end is not
    assert model.capacities.numpy()[:7].tolist() == [2, 4, 4, 6, 6, 8, 0]  # grown by segments, not to 10,002
    model, graph = counting(64)
    call(graph, [[1, 4]], DecodingConfig(temperature=0, max_new_tokens=3))
    assert model.num_steps.numpy() == 1 + 2  # the last of three tokens is not read
    assert model.capacities.numpy()[:4].tolist() == [2, 4, 4, 0]  # nor is there room for more


def test_an_end_at_once_and_no_tokens_wanted(counting):
    model, graph = counting()
    texts, result = call(graph, [[9], [1, 9]], GREEDY)
    assert texts == [[], []] and result.token_ids.shape == (2, 0) and model.num_steps.numpy() == 1
    texts, result = call(graph, [[4], [1, 4]], DecodingConfig(temperature=0, max_new_tokens=0))
    assert texts == [[], []] and result.token_ids.shape == (2, 0) and not result.log_probability.any()


def test_min_new_tokens_puts_the_end_off(counting):
    texts, _ = call(counting()[1], [[8], [4]], DecodingConfig(temperature=0, min_new_tokens=3))
    assert texts[0][0] == 9 and len(texts[0]) >= 3  # without a minimum: [9]
    assert texts[1] == [5, 6, 7, 8, 9]


def test_limits_are_counted_row_by_row(counting):
    settings = settings_tensors(GREEDY, 4)
    settings["max_new_tokens"] = tf.constant([3, 0, -2, 100])
    texts, _ = call(counting(2)[1], [[3], [3], [3], [3]], settings)
    assert texts == [[4, 5, 6], [], [], [4, 5, 6, 7, 8, 9]]


def test_max_total_length_counts_the_prompt_and_never_fails(toy):
    prompts = [[4], [1, 1, 4], [1, 1, 1, 1, 4], [1, 1, 1, 1, 1, 4]]
    model = toy.CountingModel()
    graph = make_graph(model, max_total_length=5)
    texts, _ = call(graph, prompts, GREEDY)
    assert texts == [[5, 6, 7, 8], [5, 6], [], []]
    assert model.capacities.numpy().max() == 5 + 3
    assert call(graph, prompts[:1], GREEDY)[0] == texts[:1]


def test_suppressed_tokens_and_padding_are_never_produced(hashed):
    config = DecodingConfig(temperature=3.0, max_new_tokens=60, min_new_tokens=60)
    texts, _ = call(hashed[1], [[1]] * 20, config)
    assert {token for text in texts for token in text} == set(range(4, 17))


def test_sizes_may_also_be_known_when_traced(toy):
    model = toy.CountingModel()

    @tf.function
    def graph():
        prompts = tf.ragged.constant([[1, 5], [8, 8]], tf.int32)
        settings = settings_tensors(GREEDY, 2)
        return generate(model, prompts, settings, end_id=2, pad_id=0, segment_length=2)

    assert graph().token_ids.numpy().tolist() == [[6, 7, 8, 9], [9, 0, 0, 0]]


def test_it_also_runs_eagerly(toy):
    prompts = tf.ragged.constant([[1, 5], [8]], tf.int32)
    result = generate(toy.CountingModel(), prompts, settings_tensors(GREEDY, 2), end_id=2, pad_id=0)
    assert result.token_ids.numpy().tolist() == [[6, 7, 8, 9], [9, 0, 0, 0]]


def test_an_empty_prompt_is_refused(counting):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="A prompt is empty, expected at least one token"
    ):
        call(counting()[1], [[5], []], GREEDY)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"pad_id": 2}, r"end_id 2 is pad_id or in suppressed_ids, \[2\] together"),
        (
            {"suppressed_ids": [1, 2]},
            r"end_id 2 is pad_id or in suppressed_ids, \[0, 1, 2\] together, so no text",
        ),
        ({"segment_length": 0}, "segment_length is 0, expected at least 1. 64 suits"),
        (
            {"max_total_length": 0},
            "max_total_length is 0, expected at least 1. Give the model's context length",
        ),
    ],
)
def test_wrong_arguments_are_refused(toy, arguments, message):
    with pytest.raises(UserError, match=message):
        run(toy.CountingModel(), [[5]], **arguments)
