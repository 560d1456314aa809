"""The choice of a token, the sample and its random numbers."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation import DecodingConfig, settings_tensors
from tflm.generation.sampling import LoopInvariants, choose, process_logits, sample, uniforms

NAN, INF = float("nan"), float("inf")
END = 2


def pick(
    logits, config=None, *, uniform=0.5, prompt=(), produced=(), suppressed=(), choices=(-1,), settings=None
):
    """The token of each row; prompt, produced tokens and the one choice are the same in all."""
    logits = tf.constant(logits, tf.float32)
    batch_size = logits.shape[0]
    in_all = lambda ids: tf.repeat(tf.constant([list(ids)], tf.int32), batch_size, axis=0)  # noqa: E731
    settings = settings or settings_tensors(config, batch_size)
    invariants = LoopInvariants(
        settings=settings,
        limits=tf.fill([batch_size], 99),
        prompt_ids=in_all(prompt),
        choice_ids=in_all(choices)[:, None],
        suppressed_ids=suppressed,
        end_ids=(END,),
        pad_id=-1,
    )
    token_ids, num_tokens = in_all([*produced, -1]), tf.fill([batch_size], len(produced))
    processed = process_logits(logits, token_ids, num_tokens, invariants)
    random_numbers = tf.fill([batch_size], tf.constant(uniform, tf.float64))
    return choose(processed, random_numbers, settings, END).numpy().tolist()


GREEDY = DecodingConfig(temperature=0)


def test_greedy_takes_the_first_of_the_likeliest():
    assert pick([[1, 3, 0, 3, 3], [0, 0, 0, 0, 0]], GREEDY) == [1, 0]


def greedy(**settings):
    return DecodingConfig(temperature=0, **settings)


def test_greedy_heeds_what_is_impossible_and_penalized():
    logits = [[4.0, 3.0, 2.0, 1.0]]
    assert pick(logits, GREEDY, suppressed=[0]) == [1]
    assert pick(logits, greedy(repetition_penalty=1.5), prompt=[-1, 0]) == [1]
    assert pick(logits, greedy(repetition_penalty=1.5), produced=[0]) == [1]
    assert pick([[0.0, 0.0, 9.0, 1.0]], greedy(min_new_tokens=4), produced=[1, 1, 1]) == [3]
    assert pick([[0.0, 0.0, 9.0, 1.0]], greedy(min_new_tokens=4), produced=[1, 1, 1, 1]) == [END]


def test_only_what_was_produced_counts_for_frequency_and_presence():
    logits = [[4.0, 3.0, 0.0, 3.5]]
    assert pick(logits, greedy(presence_penalty=0.7), prompt=[0, 0, 0]) == [0]
    assert pick(logits, greedy(presence_penalty=0.7), produced=[0]) == [3]
    assert pick(logits, greedy(frequency_penalty=0.4), produced=[0]) == [0]
    assert pick(logits, greedy(frequency_penalty=0.4), produced=[0, 0]) == [3]


def test_ngrams_of_the_prompt_do_not_come_again():
    logits = [[4.0, 3.0, 0.0, 3.5]]
    assert pick(logits, greedy(no_repeat_ngram_size=2), prompt=[1, 0, 1]) == [3]
    assert pick(logits, greedy(no_repeat_ngram_size=2), prompt=[-1, 1, 0], produced=[1]) == [3]
    assert pick(logits, greedy(no_repeat_ngram_size=3), prompt=[1, 0, 1]) == [0]


def test_what_is_forced_wins_over_all_else():
    logits = [[4.0, 3.0, 0.0, 3.5]]
    assert pick(logits, greedy(banned_ids=(0, 3))) == [1]
    assert pick(logits, GREEDY, choices=[1, END]) == [1]
    assert pick(logits, GREEDY, choices=[1, END], produced=[1]) == [END]
    assert pick(logits, greedy(forced_ids=(3, 2)), choices=[1, END], suppressed=[3]) == [3]
    assert pick(logits, greedy(forced_ids=(3, 2)), produced=[3]) == [2]
    assert pick(logits, greedy(forced_ids=(3, 2)), produced=[3, 2]) == [0]


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
    assert pick([[1, 2, 0, 3]], settings=strange, uniform=0.01, produced=[3]) == [3]
    nans = {
        name: tf.constant([NAN]) if value.dtype == tf.float32 else value for name, value in settings.items()
    }
    assert pick([[1, 2, 0, 3]], settings=nans, uniform=0.01, produced=[3]) == [3]


NEARLY_ONE = 1 - 2.0**-52  # the largest number that uniforms can give


def draw(logits, numbers):
    logits = tf.repeat(tf.constant([logits], tf.float32), len(numbers), axis=0)
    return sample(logits, tf.constant(numbers, tf.float64)).numpy().tolist()


def test_it_inverts_the_cumulative_sum():
    logits = np.random.default_rng(1).normal(0, 3, [200, 40]).astype(np.float32)
    numbers = np.random.default_rng(2).random(200)
    sums = np.cumsum(np.exp(logits.astype(np.float64)), axis=1)
    expected = [np.searchsorted(row, u * row[-1], side="right") for row, u in zip(sums, numbers)]
    assert sample(logits, numbers).numpy().tolist() == expected
    assert sample(logits, numbers).dtype == tf.int32


def test_a_token_of_probability_zero_is_never_chosen():
    assert draw([-INF, 0.0, -INF, 0.0, -INF], [0.0, 0.4999, 0.5, NEARLY_ONE]) == [1, 1, 3, 3]
    assert draw([-1e9, 0.0, -1e9], [0.0, NEARLY_ONE]) == [1, 1]


def test_a_row_without_a_possible_token_gives_none():
    assert draw([-INF, -INF, -INF], [0.0, 0.5]) == [3, 3]
    assert draw([-INF], [0.5]) == [1]
    assert draw([-1e30], [NEARLY_ONE]) == [0]


def test_a_sum_that_rises_at_probability_zero_chooses_none_there(monkeypatch):
    """As XLA's does: it adds in blocks, and rounds. The numbers are put just where it rises."""
    sums = tf.constant([[2.0**-60, 1.0, 1.0 + 2.0**-52, 2.0 - 2.0**-52, 2.0]] * 3, tf.float64)
    monkeypatch.setattr(tf, "cumsum", lambda *args, **kwargs: sums)
    assert draw([-INF, 0.0, -INF, 0.0, -INF], [0.0, 0.5 + 2.0**-53, NEARLY_ONE]) == [1, 3, 3]


def test_a_large_vocabulary_keeps_its_small_tokens():
    """One likely token and 200,000 that a float32 sum after it would not even notice."""
    logits = np.concatenate([[0.0], np.full(200_000, np.log(1e-9))])
    tail = 200_000 * 1e-9
    inside = (1 + tail * np.array([0.25, 0.5, 0.75])) / (1 + tail)
    np.testing.assert_allclose(draw(logits, inside), [50_000, 100_000, 150_000], atol=5)


def numbers(seed, start, count):
    return tf.function(uniforms)(tf.constant(seed, tf.int64), tf.constant(start), tf.constant(count)).numpy()


def test_a_number_depends_on_its_row_seed_and_place_alone():
    whole = numbers([5, -7, 2**40], 0, 200)
    assert whole.shape == (3, 200) and whole.dtype == np.float64
    for start, count in ((0, 1), (1, 64), (63, 2), (64, 64), (65, 130), (199, 1)):
        np.testing.assert_array_equal(numbers([5, -7, 2**40], start, count), whole[:, start : start + count])
    np.testing.assert_array_equal(numbers([2**40], 10, 90)[0], whole[2, 10:100])


def test_they_are_uniform_along_a_row_and_across_seeds(toy):
    """Each check raises a false alarm with probability 1e-4 for an unlucky seed; these are not."""
    along = numbers([3], 0, 20_000)[0]
    across = numbers(range(4_000), 7, 1)[:, 0]
    for values in (along, across):
        assert values.min() >= 0 and values.max() < 1
        assert toy.chi_square_p_value(np.histogram(values, 20, (0, 1))[0], np.full(20, 0.05)) > 1e-4
    pairs = np.histogram2d(along[:-1:2], along[1::2], 10, [[0, 1], [0, 1]])[0].ravel()
    assert toy.chi_square_p_value(pairs, np.full(100, 0.01)) > 1e-4


def test_seeds_differ():
    assert np.unique(numbers(range(-50, 50), 0, 3)).size == 300
