"""Each constraint against its definition in Python."""

import numpy as np
import tensorflow as tf

from tflm.generation.constraints import ban, forbid_early_end, force, keep_choices

INF = float("inf")


def test_each_row_loses_its_own_tokens():
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, [6, 20]).astype(np.float32)
    banned_ids = random.integers(-1, 20, [6, 5]).astype(np.int32)
    expected = logits.copy()
    for row, ids in enumerate(banned_ids):
        expected[row, ids[ids >= 0]] = -INF
    np.testing.assert_array_equal(ban(logits, banned_ids), expected)


def test_no_list_and_ids_that_are_no_tokens_do_nothing():
    logits = tf.constant([[1.0, -INF, 3.0]] * 2)
    np.testing.assert_array_equal(ban(logits, tf.zeros([2, 0], tf.int32)), logits)
    np.testing.assert_array_equal(ban(logits, tf.constant([[-1, 3, -(2**31), 2**31 - 1]] * 2)), logits)


def test_everything_can_be_banned():
    np.testing.assert_array_equal(ban(tf.constant([[5.0]]), tf.constant([[0, 0]])), [[-INF]])


def test_the_end_is_impossible_in_short_rows_only():
    logits = tf.constant([[5.0, 6.0, 7.0]] * 3)
    result = forbid_early_end(logits, tf.constant([0, 2, 3]), tf.constant([3, 3, 3]), end_ids=(2,))
    short = [5, 6, float("-inf")]
    np.testing.assert_array_equal(result, [short, short, [5, 6, 7]])


END = 2


def possible(choices, text, vocab_size=9, num_columns=None):
    """The tokens that stay possible in one row."""
    length = max(map(len, choices))
    choice_ids = tf.constant([[list(choice) + [-1] * (length - len(choice)) for choice in choices]], tf.int32)
    produced = list(text) + [-1] * ((num_columns or len(text)) - len(text))
    logits = np.random.default_rng(0).normal(0, 1, [1, vocab_size]).astype(np.float32)
    result = keep_choices(
        logits, choice_ids, tf.constant([produced], tf.int32), tf.constant([len(text)])
    ).numpy()
    assert np.all((result == logits) | (result == -INF))
    return set(np.nonzero(result[0] > -INF)[0].tolist())


def test_a_walk_down_the_trie():
    choices = [[3, 4, END], [3, 5, 6, END], [3, END], [7, 4, END]]
    assert possible(choices, []) == {3, 7}
    assert possible(choices, [3]) == {4, 5, END}
    assert possible(choices, [3, 5]) == {6}
    assert possible(choices, [3, 5, 6]) == {END}
    assert possible(choices, [7]) == {4}


def test_a_text_that_is_no_beginning_has_nothing_to_go_on_with():
    choices = [[3, 4, END], [7, END]]
    assert possible(choices, [4]) == possible(choices, [3, 7]) == possible(choices, [3, 4, END]) == set()
    assert possible(choices, [3, 4, END, 5, 6]) == set()


def test_the_room_behind_the_text_does_not_matter():
    choices = [[3, 4, 5, 6, END], [3, END]]
    for num_columns in (1, 2, 5, 20):
        assert possible(choices, [3], num_columns=num_columns) == {4, END}


def test_rows_have_choices_of_their_own_and_a_row_without_any_is_free():
    choice_ids = tf.constant([[[3, END], [4, END]], [[5, END], [-1, -1]], [[-1, -1], [-1, -1]]])
    result = keep_choices(
        tf.zeros([3, 6]), choice_ids, tf.constant([[-1], [5], [1]]), tf.constant([0, 1, 1])
    ).numpy()
    allowed = [set(np.nonzero(row > -INF)[0].tolist()) for row in result]
    assert allowed == [{3, 4}, {END}, set(range(6))]


def test_no_lists_at_all_are_free():
    logits = tf.constant([[1.0, 2.0]])
    for shape in ([1, 0, 0], [1, 0, 3], [1, 3, 0]):
        result = keep_choices(logits, tf.zeros(shape, tf.int32), tf.constant([[1]]), tf.constant([1]))
        np.testing.assert_array_equal(result, logits)


def test_what_was_impossible_stays_so_and_ids_outside_the_vocabulary_do_not_matter():
    choice_ids = tf.constant([[[0, END], [1, END], [99, END]]])
    result = keep_choices(tf.constant([[-INF, 1.0, 1.0]]), choice_ids, tf.constant([[-1]]), tf.constant([0]))
    np.testing.assert_array_equal(result, [[-INF, 1, -INF]])


def test_many_choices_agree_with_a_search_one_at_a_time():
    random = np.random.default_rng(1)
    choices = [[*random.integers(3, 6, random.integers(1, 6)).tolist(), END] for _ in range(300)]
    for text in ([], [3], [5, 4], [3, 3, 3], [4, 5, 3, 4], [3, 4, 5, 3, 4], choices[7][:-1]):
        expected = {choice[len(text)] for choice in choices if choice[: len(text)] == text}
        assert possible(choices, text, num_columns=8) == expected


def test_walking_every_way_gives_exactly_the_choices():
    choices = {(3, 4, END), (3, 4, 4, END), (5, END), (3, END), (6, 6, 6, 6, END)}
    found, open_texts = set(), [()]
    while open_texts:
        text = open_texts.pop()
        for token in possible(sorted(choices), text, num_columns=6):
            (found.add if token == END else open_texts.append)((*text, token))
    assert found == choices


def test_the_token_of_this_place_alone_stays():
    logits = tf.constant([[1.0, 2.0, 3.0, 4.0]] * 4)
    forced_ids = tf.constant([[3, 0, 1]] * 4)
    only = np.where(np.eye(4), logits, -INF)
    result = force(logits, forced_ids, tf.constant([0, 1, 2, 3]))
    np.testing.assert_array_equal(result, [only[3], only[0], only[1], logits[3]])


def test_places_without_a_token_are_free():
    logits = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    result = force(logits, tf.constant([[-1, 1], [-1, 1], [2, 0], [-9, 0]]), tf.constant([0, 1, 0, 0]))
    np.testing.assert_array_equal(result, [[1, 2], [-INF, 4], [5, 6], [7, 8]])
    np.testing.assert_array_equal(
        force(logits, tf.zeros([4, 0], tf.int32), tf.constant([0, 1, 2, 9])), logits
    )


def test_it_wins_over_what_was_impossible():
    logits = tf.constant([[-INF, 2.0], [float("nan"), 2.0], [-INF, -INF]])
    result = force(logits, tf.constant([[0]] * 3), tf.constant([0, 0, 0]))
    np.testing.assert_array_equal(result, [[0, -INF]] * 3)
