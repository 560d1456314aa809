"""What the settings do to a step: penalties, prohibitions, choices; diverse groups, which avoid each other's tokens and
without a penalty are searches of their own."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.generation.beam_searcher import Searcher, assert_same, make_settings, random_prompts, texts_of
from tests.generation.beams_slowly import all_texts, beams_slowly, score_of
from tflm.generation import DecodingConfig
from tflm.generation.beam_search import beam_search
from tflm.generation.beam_step import best_possible_score, score_at_length
from tflm.generation.config import BeamConfig
from tflm.generation.settings import beam_settings_tensors

NUM_ROWS = 10


@pytest.fixture(scope="module")
def groups(toy):
    """Name of a config to [(score, tokens), ...] for each row; all configs are one batch."""
    rng = np.random.default_rng(8)
    prompts = [[1, *rng.integers(3, 17, 4).tolist()] for _ in range(NUM_ROWS)]
    configs = {
        "two": BeamConfig(beam_size=2),
        "three_groups": BeamConfig(beam_size=6, num_groups=3),
        "left_over": BeamConfig(beam_size=5, num_groups=2),
        "avoiding": BeamConfig(beam_size=6, num_groups=3, diversity_penalty=1000.0),
        "mild": BeamConfig(beam_size=6, num_groups=3, diversity_penalty=1.0),
    }
    decoding = DecodingConfig(max_new_tokens=6)
    parts = [beam_settings_tensors(config, decoding, NUM_ROWS) for config in configs.values()]
    settings = {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}
    ragged = tf.ragged.constant(prompts * len(configs), tf.int32)
    result = beam_search(toy.HashModel(), ragged, settings, end_id=toy.END, pad_id=toy.PAD)
    score, token_ids, counts = result.score.numpy(), result.token_ids.numpy(), result.num_tokens.numpy()
    rows = [
        [(s, tuple(ids[:count])) for s, ids, count in zip(*row) if s > -np.inf]
        for row in zip(score, token_ids, counts)
    ]
    return {name: rows[i * NUM_ROWS : (i + 1) * NUM_ROWS] for i, name in enumerate(configs)}


def test_groups_without_a_penalty_are_searches_of_their_own(groups):
    for two, three_groups in zip(groups["two"], groups["three_groups"]):
        assert [text for _, text in three_groups] == [text for _, text in two for _ in range(3)]
        np.testing.assert_allclose(
            [s for s, _ in three_groups], [s for s, _ in two for _ in range(3)], rtol=1e-5
        )


def test_beams_left_over_are_not_used(groups):
    for two, left_over in zip(groups["two"], groups["left_over"]):
        assert [text for _, text in left_over] == [text for _, text in two for _ in range(2)]


def test_a_penalty_makes_groups_differ(groups):
    """The first group searches as before; at 1000 no token is chosen twice at one step, so all texts begin apart."""
    different = []
    for two, mild, avoiding in zip(groups["two"], groups["mild"], groups["avoiding"]):
        for diverse in (mild, avoiding):
            assert {text for _, text in two} <= {text for _, text in diverse}
        texts = [text for _, text in avoiding]
        assert len(set(texts)) == 6
        for place in range(6):
            tokens = [text[place] for text in texts if len(text) > place]
            # Two beams of one group may have a token in common, but no two groups have.
            assert max((tokens.count(token) for token in tokens), default=0) <= 2
        different.append(len({text for _, text in mild}))
    assert 2 < np.mean(different) <= 6


@pytest.fixture(scope="module")
def search(toy):
    return Searcher(toy)


def test_settings_hold_in_every_beam(search):
    prompts = random_prompts(16)
    found = search(
        prompts,
        beam_size=4,
        no_repeat_ngram_size=2,
        min_new_tokens=5,
        max_new_tokens=9,
        banned_ids=tf.tile([[4, 5, 6, 7, -1]], [16, 1]),
        forced_ids=tf.tile([[-1, 8]], [16, 1]),
    )
    for prompt, texts in zip(prompts, found):
        assert len({tuple(text) for _, _, text in texts}) == 4
        for _, _, text in texts:
            assert 5 <= len(text) <= 9 and not {0, 1, 2, 3, 4, 5, 6, 7} & set(text) and text[1] == 8
            pairs = list(zip([*prompt, *text], [*prompt, *text][1:]))
            new = pairs[len(prompt) - 1 :]
            assert len(set(new)) == len(new) and not set(new) & set(pairs[: len(prompt) - 1])


def test_penalties_rank_and_the_model_counts(search, toy):
    """The score is of what the settings leave, the log-probability the model's own."""
    prompts = random_prompts(12)
    row = {
        "beam_size": 3,
        "num_groups": 1,
        "diversity_penalty": 0.0,
        "length_penalty": 1.0,
        "length_offset": 0,
    }
    penalties = {"repetition_penalty": 1.5, "frequency_penalty": -0.7, "presence_penalty": 0.4}
    plain = search(prompts, max_new_tokens=6, **row)
    found = search(prompts, max_new_tokens=6, **row, **penalties)
    for prompt, texts in zip(prompts, found):

        def change_fn(scores, text, prompt=prompt):
            scores[list({*prompt, *text})] *= 1.5
            for token in range(toy.VOCAB_SIZE):
                scores[token] += 0.7 * text.count(token) - 0.4 * (token in text)
            return search.change()(scores, text)

        assert_same(texts, beams_slowly(search.logits, prompt, 2, 6, row, change_fn))
    assert sum(one[0][2] != other[0][2] for one, other in zip(plain, found)) > 3


def test_no_odd_setting_fails(search):
    nan, inf = float("nan"), float("inf")
    odd = {
        "beam_size": [0, -3, 4, 4, 4, 4, 10**9],
        "num_groups": [0, 5, -1, 99, 1, 1, 1],
        "diversity_penalty": [nan, -1.0, 0.0, inf, 0.0, 0.0, 0.0],
        "length_penalty": [nan, inf, nan, 0.0, -inf, 1e30, inf],
        "length_offset": [nan, -1.0, -5.0, inf, 0.0, inf, 0.0],
    }
    found = search([[1, 4]] * 7, max_new_tokens=4, **odd)
    near = {
        "beam_size": [1, 1, 4, 4, 4, 4, 64],
        "num_groups": [1, 1, 1, 4, 1, 1, 1],
        "diversity_penalty": [0.0, 0.0, 0.0, 1000.0, 0.0, 0.0, 0.0],
        "length_penalty": [0.0, 100.0, 0.0, 0.0, -100.0, 100.0, 100.0],
        "length_offset": [0.0, 0.0, 0.0, 1e6, 0.0, 1e6, 0.0],
    }
    assert found == search([[1, 4]] * 7, max_new_tokens=4, **near)
    assert [len(texts) for texts in found] == [1, 1, 4, 4, 4, 4, 64]


def test_where_no_token_is_possible_the_text_ends(search):
    """Two tokens that may come once each: at most two tokens, and ends that have a score."""
    banned = tf.constant([[2, *range(6, 17)]])
    [texts] = search([[1]], banned_ids=banned, no_repeat_ngram_size=1, max_new_tokens=9)
    assert sorted(text for _, _, text in texts) == [[4, 5], [5, 4]]
    assert all(math.isfinite(score) and math.isfinite(own) for score, own, _ in texts)


def test_choices_come_with_their_probabilities(toy):
    """More beams than choices: all of them, the likeliest first."""
    model, prompt = toy.HashModel(), [1, 6]
    choices = [[4, 5, 2], [4, 2, -1], [9, 9, 2]]
    result = beam_search(
        model,
        tf.ragged.constant([prompt], tf.int32),
        make_settings(1, beam_size=5, length_penalty=0.0),
        end_id=2,
        pad_id=0,
        choice_ids=tf.constant([choices]),
    )

    def logits_fn(text):
        return model.table.numpy()[sum((i + 1) * token for i, token in enumerate(text)) % 29]

    every = all_texts(logits_fn, prompt, [4, 5, 9], 2, 3, 0.0, 0.0)
    expected = [each for each in every if each[2] in ([4, 5], [4], [9, 9])]
    assert_same(texts_of(result)[0], expected)


def test_the_examples_of_the_documentation():
    found = score_at_length(
        tf.constant([[-6.0]] * 3), 4, tf.constant([1.0, 0.5, 1.0]), tf.constant([0.0, 0.0, 5.0])
    )
    np.testing.assert_allclose(found, [[-1.5], [-3.0], [-4.0]])
    found = best_possible_score(
        tf.constant([[-6.0]] * 2),
        tf.constant(2),
        tf.constant([6, 6]),
        tf.constant([1.0, -1.0]),
        tf.zeros([2]),
    )
    np.testing.assert_allclose(found, [[-1.0], [-18.0]])


def test_wu_et_al():
    """Equation 14: log P / ((5 + |Y|) ** alpha / (5 + 1) ** alpha)."""
    found = score_at_length(tf.constant([[-7.0]]), tf.constant([9]), tf.constant([0.6]), tf.constant([5.0]))
    np.testing.assert_allclose(found, [[-7.0 / ((5 + 9) ** 0.6 / (5 + 1) ** 0.6)]], rtol=1e-5)


def test_the_bound_is_the_best_of_all_lengths():
    penalties, offsets = np.meshgrid([-2.0, -0.5, 0.0, 0.6, 1.0, 2.0], [0.0, 5.0])
    penalties, offsets = penalties.ravel(), offsets.ravel()
    found = best_possible_score(
        tf.fill([12, 1], -3.0),
        tf.constant(4),
        tf.fill([12], 9),
        tf.constant(penalties, tf.float32),
        tf.constant(offsets, tf.float32),
    )
    expected = [
        max(score_of(-3.0, length, penalty, offset) for length in range(5, 10))
        for penalty, offset in zip(penalties, offsets)
    ]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_extreme_settings_stay_finite():
    found = score_at_length(
        tf.constant([[-50.0, 0.0]] * 4),
        tf.constant([1, 1000, 1000, 1000]),
        tf.constant([100.0, 100.0, -100.0, 100.0]),
        tf.constant([0.0, 0.0, 0.0, 1e6]),
    )
    assert np.isfinite(found).all()
