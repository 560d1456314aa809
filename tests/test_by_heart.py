"""Training goes on until what is asked for is known, and no further; where it never is, the test fails."""

import pytest

from tests.by_heart import SURE, overfit, train_until


def test_rounds_go_on_until_it_is_known():
    rounds = []

    def train(count):
        rounds.append(count)
        return [1.0 / len(rounds)] * count

    assert (
        train_until(lambda losses: losses[-1] < 0.3, train, 3)
        == [1.0] * 3 + [0.5] * 3 + [1 / 3] * 3 + [0.25] * 3
    )
    assert rounds == [3] * 4


def test_a_single_good_step_is_not_enough():
    losses = iter([*[9.0] * 9, 0.0, *[SURE / 2] * 50])
    assert len(overfit(lambda: next(losses))) == 20


def test_what_is_never_known_fails():
    with pytest.raises(pytest.fail.Exception, match=r"not known after 2 rounds of 10 steps; losses \[1.0"):
        overfit(lambda: 1.0, most_steps=20)
