"""Beam search on toy models: against plain Python, all texts, greedy search; batches, limits, segments."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.generation.beam_searcher import (
    SUPPRESSED,
    Searcher,
    assert_same,
    make_settings,
    random_prompts,
    random_settings,
    take,
    texts_of,
)
from tests.generation.beams_slowly import all_texts, beams_slowly
from tflm.errors import UserError
from tflm.generation import DecodingConfig, generate, settings_tensors
from tflm.generation.beam_search import beam_search


@pytest.fixture(scope="module")
def search(toy):
    return Searcher(toy)


def test_the_example_of_the_documentation(toy):
    class Example(toy.CountingModel):
        def logits(self, token_ids, positions, last):
            table = np.full([17, 17], -1e9, np.float32)
            table[:, toy.END] = 0.0
            table[3, [5, 4, toy.END]] = math.log(0.6), math.log(0.4), -1e9
            table[5, [6, 7, toy.END]] = math.log(0.5), math.log(0.5), -1e9
            return tf.gather(tf.constant(table), last)

    result = beam_search(
        Example(),
        tf.ragged.constant([[1, 3]], tf.int32),
        make_settings(1, beam_size=2, length_penalty=0.0),
        end_id=toy.END,
        pad_id=toy.PAD,
    )
    assert result.token_ids.numpy().tolist() == [[[4, 0], [5, 6]]]
    assert result.num_tokens.numpy().tolist() == [[1, 2]]
    np.testing.assert_allclose(np.exp(result.log_probability), [[0.4, 0.3]], rtol=1e-5)
    assert [value.dtype for value in result] == [tf.int32, tf.int32, tf.float32, tf.float32]


def test_every_row_equals_a_search_in_plain_python(search):
    """The cache follows the beams, limits and padding count row by row, and no row stops too early."""
    prompts, changes = random_prompts(50), random_settings(50)
    lengths = set()
    for index, found in enumerate(search(prompts, **changes)):
        row = {name: value[index] for name, value in changes.items()}
        change_fn = search.change(row["min_new_tokens"])
        limit = row["max_new_tokens"]
        assert_same(found, beams_slowly(search.logits, prompts[index], 2, limit, row, change_fn))
        assert len(found) == row["beam_size"] // row["num_groups"] * row["num_groups"]
        lengths.update(len(text) for _, _, text in found)
    assert lengths == set(range(9))


def test_wide_beams_find_the_best_of_all_texts(search):
    """Three tokens and the end make 121 texts; 64 beams lose none of those that can be among the best 64."""
    penalties, offsets = [0.0, 0.6, 1.0, 2.0, -0.5, 0.6, 1.5], [0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 5.0]
    prompts = random_prompts(7)
    banned = tf.tile(tf.range(7, 17)[None], [7, 1])
    found = search(
        prompts,
        beam_size=64,
        length_penalty=penalties,
        length_offset=offsets,
        max_new_tokens=4,
        banned_ids=banned,
    )
    for prompt, texts, penalty, offset in zip(prompts, found, penalties, offsets):
        expected = all_texts(search.logits, prompt, [4, 5, 6], 2, 4, penalty, offset)
        assert len(expected) == 121 and len(texts) == 64
        assert_same(texts, expected[:64])


def test_one_beam_is_greedy(search):
    prompts, limits = random_prompts(40), np.arange(40) % 12
    found = search(prompts, beam_size=1, length_penalty=2.0, max_new_tokens=limits)
    settings = settings_tensors(DecodingConfig(temperature=0), 40)
    settings["max_new_tokens"] = tf.constant(limits, tf.int32)
    ragged = tf.ragged.constant(prompts, tf.int32, ragged_rank=1)
    ids = {"end_id": 2, "pad_id": 0, "suppressed_ids": SUPPRESSED}
    search.model.num_steps.assign(0)
    greedy = generate(search.model, ragged, settings, **ids)
    texts = [row[:count].tolist() for row, count in zip(greedy.token_ids.numpy(), greedy.num_tokens.numpy())]
    assert [text for [(_, _, text)] in found] == texts
    log_probabilities = [log_probability for [(_, log_probability, _)] in found]
    np.testing.assert_allclose(log_probabilities, greedy.log_probability, rtol=1e-5)
    assert len({len(text) for text in texts}) > 5


def test_wider_beams_find_likelier_texts_on_average(search):
    """Not of every prompt: a wider search may lose a beginning that a narrower one kept. One of all texts cannot."""
    prompts, widths = random_prompts(60), [1, 2, 4, 8, 16]
    found = search(
        prompts * 5, beam_size=np.repeat(widths, 60), length_penalty=0.0, max_new_tokens=8, min_new_tokens=4
    )
    best = np.reshape([texts[0][1] for texts in found], [5, 60])
    means = best.mean(axis=1)
    assert (np.diff(means) > 0).all()
    assert (best[1:].mean(axis=1) > best[0].mean()).all()
    assert ((best[-1] - best[0]) > -1e-5).mean() > 0.95


def test_what_has_finished_is_frozen_and_kept(search):
    """With more room the end texts found before stay as they were, or a better one takes their place."""
    prompts = random_prompts(20)
    before = [[] for _ in prompts]
    for limit in (1, 2, 4, 8):
        found = search(prompts, beam_size=3, length_penalty=0.0, max_new_tokens=limit)
        for index, texts in enumerate(found):
            ended = [each for each in texts if len(each[2]) < limit]
            worst = texts[-1][0]
            for each in before[index]:
                assert each in ended or each[0] <= worst
            before[index] = ended
    assert sum(map(len, before)) > 30


@pytest.mark.parametrize("reward", [0.0, 0.7])
def test_no_row_stops_too_early(search, toy, reward):
    """The best text may be far longer than the first ones that end: where the length counts, and where repetition is
    rewarded, so that scores grow."""
    prompts, limit = random_prompts(40), 12
    row = {"beam_size": 2, "num_groups": 1, "diversity_penalty": 0.0, "length_offset": 0.0}
    row["length_penalty"] = 0.0 if reward else 1.0
    banned = [token for token in range(3, toy.VOCAB_SIZE) if token not in (4, 5)]
    found = search(
        prompts,
        max_new_tokens=limit,
        frequency_penalty=-reward,
        banned_ids=tf.tile([banned], [40, 1]),
        **row,
    )

    def change_fn(scores, text):
        scores[[0, 1, *banned]] = -np.inf
        return scores + reward * np.array([text.count(token) for token in range(toy.VOCAB_SIZE)])

    for prompt, texts in zip(prompts, found):
        assert_same(texts, beams_slowly(search.logits, prompt, 2, limit, row, change_fn))
    lengths = [len(text) for texts in found for _, _, text in texts]
    assert min(lengths) < limit and max(lengths) == limit


def test_neighbours_and_order_do_not_matter(search):
    """Also not those with more beams, more groups or longer prompts."""
    prompts, settings = random_prompts(12), make_settings(12, **random_settings(12))
    together = search(prompts, settings)
    order = [5, 0, 11, 7, 2, 9, 1, 6, 4, 3, 10, 8]
    for index, texts in zip(order, search([prompts[i] for i in order], take(settings, order))):
        assert_same(texts, together[index])
    for index in range(6):
        assert_same(search([prompts[index]], take(settings, [index]))[0], together[index])


def test_segments_give_the_same_texts(search, toy):
    prompts, settings = random_prompts(6), make_settings(6, **random_settings(6))
    ragged = tf.ragged.constant(prompts, tf.int32, ragged_rank=1)
    ids = {"end_id": 2, "pad_id": 0, "suppressed_ids": SUPPRESSED}
    for segment_length in (1, 64):
        search.model.num_steps.assign(0)
        whole = beam_search(search.model, ragged, settings, segment_length=segment_length, **ids)
        for found, expected in zip(texts_of(whole), search(prompts, settings)):
            assert_same(found, expected)


def test_the_loop_ends_with_its_last_row(search):
    search([[1, 4], [1, 5]], max_new_tokens=[3, 0])
    assert search.model.num_steps.numpy() == 1 + 2  # the prompt; the last of three tokens is not read
    assert search.model.capacities.numpy()[:3].tolist() == [2, 4, 4]
    search([[1, 4]], beam_size=2, length_penalty=-100.0, max_new_tokens=10**6)
    assert search.model.num_steps.numpy() < 20


def test_a_limit_of_nothing_gives_one_empty_text(search):
    for texts in search([[1, 4], [1]], max_new_tokens=[0, -5]):
        assert texts == [(0.0, 0.0, [])]


def test_max_total_length_counts_the_prompt(search):
    prompts = tf.ragged.constant([[1, 4], [1, 4, 4, 4], [1] * 9], tf.int32)
    search.model.num_steps.assign(0)
    result = beam_search(
        search.model, prompts, make_settings(3, min_new_tokens=9), end_id=2, pad_id=0, max_total_length=6
    )
    assert result.num_tokens.numpy().tolist() == [[4] * 4, [2] * 4, [0] * 4]


def test_wrong_arguments_are_refused(search):
    prompts, settings = tf.ragged.constant([[1]], tf.int32), make_settings(1)
    with pytest.raises(UserError, match=r"end_id 2 is pad_id or in suppressed_ids, \[2\] together"):
        beam_search(search.model, prompts, settings, end_id=2, pad_id=2)
    with pytest.raises(UserError, match=r"Beam search settings lack \['beam_size'\]"):
        del settings["beam_size"]
        beam_search(search.model, prompts, settings, end_id=2, pad_id=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="A prompt is empty"):
        search([[]])
