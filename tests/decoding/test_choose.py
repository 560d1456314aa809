import pytest
import tensorflow as tf

from tflm.decoding import DecodingConfig, settings_tensors
from tflm.decoding.choose import choose, possible_logits

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
    possible = possible_logits(
        logits,
        settings,
        prompt_ids=in_all(prompt),
        token_ids=in_all([*produced, -1]),
        num_tokens=tf.fill([batch_size], len(produced)),
        choice_ids=in_all(choices)[:, None],
        suppressed_ids=suppressed,
        end_id=END,
    )
    uniforms = tf.fill([batch_size], tf.constant(uniform, tf.float64))
    return choose(possible, uniforms, settings, END).numpy().tolist()


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
