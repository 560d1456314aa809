"""Windows of long contexts: known rows, and every token read, in few enough of them."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.tasks.windows import cut_windows


def test_known_windows():
    question, context = (
        tf.ragged.constant([[7, 8], [9], []]),
        tf.ragged.constant([[20, 21, 22, 23, 24], [], [25]]),
    )
    found = cut_windows(question, context, max_length=8, stride=2, marks=(1, 4, 2))
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
    found = cut_windows(question, tf.ragged.constant(rows, tf.int32), 12, stride, (1, 4, 2))
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
