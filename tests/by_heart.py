"""Training until a model knows what it is tested on: the steps that it needs depend on the rounding of the machine."""

from collections.abc import Callable

import pytest

SURE = 0.3
"""Nats of everything that is trained on together: each single choice then has a probability above exp(-0.3) = 0.74, so
that it is the greedy one whatever the rounding."""


def train_until(
    known_fn: Callable[[list[float]], bool],
    train_fn: Callable[[int], list[float]],
    num_steps: int,
    most_rounds: int = 10,
) -> list[float]:
    """Trains in rounds until what is to be known is known; the test fails where it never is.

    Args:
        known_fn: takes the losses of all steps so far, and measures whether the model knows it.
        train_fn: trains for a number of steps more, and gives their losses.
        num_steps: of a round.
        most_rounds: a generous number of them.
    Returns:
        The losses of all steps.
    """
    losses: list[float] = []
    for _ in range(most_rounds):
        losses += train_fn(num_steps)
        if known_fn(losses):
            return losses
    pytest.fail(
        f"not known after {most_rounds} rounds of {num_steps} steps; losses {losses[:: num_steps // 2]}"
    )


def overfit(step_fn: Callable[[], float], most_steps: int = 2000) -> list[float]:
    """Takes steps until everything is known by heart.

    Args:
        step_fn: trains for a step on all that there is, and gives its loss, the sum in nats.
        most_steps: a generous number of them.
    Returns:
        The losses of all steps.
    """
    return train_until(
        lambda losses: max(losses[-5:]) < SURE,
        lambda count: [float(step_fn()) for _ in range(count)],
        10,
        most_steps // 10,
    )
