"""What every side of `training.py` does the same: the sizes, the batches, and taking turns.

The standard library and NumPy alone, since each side runs in an environment of its own.
"""

import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Setting:
    """The sizes of a model and its batches. A GPT has pre-norm, learned positions, biases and GELU by tanh; the LSTM is
    one between embedding and output. The output is tied; no dropout; AdamW, gradients clipped to a norm of 1."""

    model: str = "gpt"
    precision: str = "float32"
    num_layers: int = 6
    hidden_dim: int = 384
    num_heads: int = 6
    vocab_size: int = 8192
    length: int = 256
    batch_size: int = 16
    steps: int = 3
    """Per turn."""
    num_threads: int = 2

    @classmethod
    def from_json(cls, text: str) -> "Setting":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    def batches(self, count: int = 4) -> Any:
        """Token ids int32 [count, B, T + 1], the same on every side: each token is followed by one of four others, so
        that there is something to learn."""
        import numpy as np

        rng = np.random.default_rng(0)
        followers = rng.integers(10, self.vocab_size, (self.vocab_size, 4))
        rows = np.empty((count, self.batch_size, self.length + 1), np.int32)
        rows[..., 0] = rng.integers(10, self.vocab_size, rows.shape[:2])
        for place in range(self.length):
            rows[..., place + 1] = followers[rows[..., place], rng.integers(0, 4, rows.shape[:2])]
        return rows


Train = Callable[[int], list[float]]
"""Trains for the given number of steps and returns the loss of each, when all work is done."""


def take_turns(setting: Setting, train: Train, num_parameters: int) -> None:
    """Warms up with two turns, prints a line of JSON, and then trains for a turn at each line of standard input.

    Each turn prints its seconds and losses; the end of the input prints the peak memory.
    """
    begin = time.perf_counter()
    losses = [*train(1), *train(setting.steps)]
    _tell(ready=time.perf_counter() - begin, num_parameters=num_parameters, losses=losses)
    for _ in sys.stdin:
        begin = time.perf_counter()
        losses = train(setting.steps)
        _tell(seconds=time.perf_counter() - begin, losses=losses)
    _tell(peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)
