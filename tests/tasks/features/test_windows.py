"""Windows of long contexts: known rows, and every token read, in few enough of them."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks.features.windows import by_blocks, cut_windows, places_in_windows, text_windows


def test_known_windows():
    question, context = (
        tf.ragged.constant([[7, 8], [9], []]),
        tf.ragged.constant([[20, 21, 22, 23, 24], [], [25]]),
    )
    found = cut_windows(question, context, max_length=8, stride=2, marks=(1, 4, 2), pad_id=0)
    assert found.token_ids.numpy().tolist() == [
        [1, 7, 8, 4, 20, 21, 22, 2],
        [1, 7, 8, 4, 22, 23, 24, 2],
        [1, 9, 4, 2, 0, 0, 0, 0],
        [1, 4, 25, 2, 0, 0, 0, 0],
    ]
    assert found.prefix_length.numpy().tolist() == [4, 4, 3, 2]
    assert found.row.numpy().tolist() == [0, 0, 1, 2]
    assert (found.first.numpy().tolist(), found.count.numpy().tolist()) == ([0, 2, 0, 0], [3, 3, 0, 1])
    inside, number = found.context_places()
    assert number.numpy()[inside.numpy()].tolist() == [0, 1, 2, 2, 3, 4, 0]
    assert found.segment_ids().numpy()[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("stride", [1, 4, 7])
def test_every_token_is_read_and_no_window_is_too_many(stride):
    random = np.random.default_rng(0)
    rows = [list(random.integers(10, 99, size)) for size in (0, 1, 7, 8, 9, 30, 31)]
    question = tf.ragged.constant([[5, 6]] * len(rows), tf.int32)
    found = cut_windows(question, tf.ragged.constant(rows, tf.int32), 12, stride, (1, 4, 2), 0)
    assert found.token_ids.shape[1] == 12
    inside, number = (each.numpy() for each in found.context_places())
    for index, row in enumerate(rows):
        mine = np.flatnonzero(found.row.numpy() == index)
        assert len(mine) == 1 + int(np.ceil(max(len(row) - 7, 0) / stride))
        seen = {}
        for window in mine:
            for place, at in zip(
                number[window][inside[window]], found.token_ids[window].numpy()[inside[window]]
            ):
                seen[place] = at
        assert [seen[place] for place in range(len(seen))] == row


def test_known_windows_of_a_text_alone():
    texts = tf.ragged.constant([[20, 21, 22, 23, 24, 25], [], [26]], tf.int32)
    found = text_windows(texts, max_length=6, stride=2, start_id=1, end_id=2, pad_id=0)
    assert found.token_ids.numpy().tolist() == [
        [1, 20, 21, 22, 23, 2],
        [1, 22, 23, 24, 25, 2],
        [1, 2, 0, 0, 0, 0],
        [1, 26, 2, 0, 0, 0],
    ]
    assert found.row.numpy().tolist() == [0, 0, 1, 2]
    none = text_windows(texts[:0], max_length=6, stride=2, start_id=1, end_id=2, pad_id=0)
    assert none.token_ids.shape == (0, 0)


@pytest.mark.parametrize("room", [1, 2, 5, 8, 9])
def test_each_token_is_taken_where_it_has_most_context(room):
    stride = max(1, room // 2)
    sizes = [0, 1, room - 1, room, room + 1, 2 * room, 31]
    texts = tf.ragged.constant([list(range(10, 10 + size)) for size in sizes], tf.int32)
    found = text_windows(texts, room + 2, stride, 1, 2, 0)
    window, place = (each.numpy() for each in places_in_windows(found, texts, stride, room))
    assert found.token_ids.numpy()[window, place].tolist() == texts.flat_values.numpy().tolist()
    windows = list(zip(found.row.numpy(), found.first.numpy(), found.count.numpy(), strict=True))
    numbers = [(row, number) for row, size in enumerate(sizes) for number in range(size)]

    def context(row, number, first, count):
        """Tokens to the nearest end that is no end of the text."""
        before = number - first if first else 99
        after = first + count - 1 - number if first + count < sizes[row] else 99
        return min(before, after) if 0 <= number - first < count else -1

    for (row, number), chosen in zip(numbers, window, strict=True):
        possible = [context(row, number, *rest) for owner, *rest in windows if owner == row]
        assert context(row, number, *windows[chosen][1:]) >= max(possible) - (stride < room - stride)


@pytest.mark.parametrize("num_rows", [0, 1, 64, 65, 200])
def test_blocks_give_what_the_rows_together_give(num_rows):
    rows = tf.reshape(tf.range(3 * num_rows), [num_rows, 3])
    sizes = []

    def rows_fn(block):
        sizes.append(len(block))
        return tf.cast(block, tf.float32)[:, :2, None] + 0.5

    found = by_blocks(rows_fn, rows, (2, 1)).numpy()
    assert found.tolist() == (rows.numpy()[:, :2, None] + 0.5).tolist()
    assert max(sizes) <= 64
