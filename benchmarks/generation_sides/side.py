"""What every side of `generation.py` does the same: the sizes, the prompts, the clock and the memory.

The standard library alone, since each side runs in an environment of its own.
"""

import dataclasses
import json
import random
import resource
import sys
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Setting:
    """A GPT-2 (pre-norm, learned positions, biases, GELU by tanh, tied output) and what it is to write."""

    num_layers: int = 12
    hidden_dim: int = 768
    num_heads: int = 12
    vocab_size: int = 50257
    max_length: int = 1024
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    prompt_length: int = 32
    new_tokens: int = 64
    repeats: int = 3
    num_threads: int = 2

    @classmethod
    def from_json(cls, text: str) -> "Setting":
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "batch_sizes": tuple(values["batch_sizes"])})

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    def prompts(self, batch_size: int) -> list[list[int]]:
        """Random ids, the same on every side. None is one of the first 10, which may have a meaning."""
        draw = random.Random(batch_size)
        return [
            [draw.randrange(10, self.vocab_size) for _ in range(self.prompt_length)]
            for _ in range(batch_size)
        ]


Write = Callable[[int], None]
"""Continues the prompts of one batch greedily by the given number of tokens, and returns at the end."""


def measure(setting: Setting, writer_for: Callable[[int], Write]) -> None:
    """Prints one line of JSON: seconds to the first token and for all tokens at each batch size, and the peak memory.

    Each is run once before the clock starts, so what is compiled or allocated at first is not counted. Memory is the
    largest resident set of the process, all that it loaded and all batch sizes together.

    Args:
        setting: sizes.
        writer_for: from a batch size to what writes.
    """
    results = {}
    for batch_size in setting.batch_sizes:
        write = writer_for(batch_size)
        seconds: dict[int, list[float]] = {1: [], setting.new_tokens: []}
        for num_tokens in seconds:
            write(num_tokens)
        for _ in range(setting.repeats):
            for num_tokens, found in seconds.items():
                begin = time.perf_counter()
                write(num_tokens)
                found.append(time.perf_counter() - begin)
        results[str(batch_size)] = {"first": seconds[1], "all": seconds[setting.new_tokens]}
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"peak_bytes": peak, "resident_bytes": _resident() or peak, "batches": results}))


def _resident() -> int:
    """The resident set of this process in bytes; 0 where /proc does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
