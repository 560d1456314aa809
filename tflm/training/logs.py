"""Training logs: a progress bar, a JSONL file, TensorBoard, and the throughput that they record."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tflm.errors import UserError
from tflm.files.writing import whole_file, writing
from tflm.progress import ProgressBar

_SMALL_SIZE, _LONGEST_MEASUREMENT = 256, 4.0


class RunLog:
    """Writes records to `WORKDIR/log.jsonl` and TensorBoard, and shows a progress bar on standard error.

    Args:
        workdir: folder of the run.
        num_steps: int, length of the progress bar.
        first_step: int, the restored step. Records of later steps, from a run interrupted after its last checkpoint,
            are removed from the file, since those steps are repeated.
        note_fn: returns a sentence for write errors, such as which checkpoint was kept.
    Raises:
        UserError: a file cannot be written, such as on a full disk; raised by all methods.
    """

    def __init__(
        self, workdir: str, num_steps: int, first_step: int, note_fn: Callable[[], str] = lambda: ""
    ) -> None:
        self.path, self._note_fn = os.path.join(workdir, "log.jsonl"), note_fn
        kept = [record for record in read_log(workdir) if record["step"] <= first_step]
        with self._writing():
            os.makedirs(workdir, exist_ok=True)
            with whole_file(self.path) as aside, open(aside, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in kept)
            self._tensorboard = tf.summary.create_file_writer(os.path.join(workdir, "tensorboard"))
        self.bar = ProgressBar("training", "steps", num_steps, num_done=first_step, delay=0, keep=True)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes one record and flushes it, so that it survives a kill."""
        record: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
        record.update({name: float(f"{value:.7g}") for name, value in values.items()})
        with self._writing():
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            with self._tensorboard.as_default():
                for name, value in values.items():
                    tf.summary.scalar(name, value, step=step)

    def advance(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Updates the progress bar with the loss and the throughput."""
        self.bar.update(step, values=(f"loss {loss:.3f}", f"{tokens_per_second:,.0f} tokens/s"))

    def close(self) -> None:
        """Closes the progress bar and the TensorBoard file."""
        self.bar.close()
        with self._writing():
            self._tensorboard.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Closes the log. After an exception, an error while closing is suppressed."""
        try:
            self.close()
        except UserError:
            if error is None:
                raise

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        folder = os.path.dirname(self.path)
        return writing(f"the log in {folder!r}", self._note_fn)


class NoLog(RunLog):
    """Writes and shows nothing: that of a worker beside the one that writes."""

    def __init__(self, *arguments: Any) -> None:
        del arguments

    def write(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""

    def advance(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def evaluation_note(step: int, loss: float, metrics: Mapping[str, float]) -> str:
    """A line about an evaluation.

    >>> evaluation_note(1000, 2.31, {"loss": 2.5, "perplexity": 12.18, "num_tokens": 640.0})
    'step 1,000: loss 2.310, held-out loss 2.5, perplexity 12.18'
    """
    shown = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items() if name[:4] != "num_"]
    return f"step {step:,}: loss {loss:.3f}, held-out {', '.join(shown)}"


def read_log(workdir: str) -> list[dict[str, Any]]:
    """The log records of a run, in order. A last line truncated by a kill is skipped."""
    path = os.path.join(workdir, "log.jsonl")
    records: list[dict[str, Any]] = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    records.append(json.loads(line))
    return records


def peak_flops(dtype: str, size: int = 1536, rounds: int = 4) -> float:
    """Measured peak throughput of this device in FLOP/s, from square matrix products.

    Args:
        dtype: float32, bfloat16 or float16.
        size: int, rows and columns of the matrices. Smaller ones are measured first; where these would take seconds
            (float16 without hardware for it), that throughput is returned.
        rounds: int, products per call; the fastest of three calls counts.
    """
    if size > _SMALL_SIZE:
        rough = peak_flops(dtype, _SMALL_SIZE, 1)
        if 2.0 * size**3 * rounds * 4 / rough > _LONGEST_MEASUREMENT:
            return rough
    matrix = tf.random.stateless_normal((size, size), seed=(0, 0))
    matrix = tf.cast(matrix, dtype)

    @tf.function(autograph=False)
    def products(x: tf.Tensor) -> tf.Tensor:
        y = x
        for _ in range(rounds):
            y = tf.matmul(y, x) * tf.cast(size**-0.5, dtype)
        return tf.reduce_sum(tf.cast(y, tf.float32))

    products(matrix).numpy()
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        products(matrix).numpy()
        best = min(best, time.perf_counter() - begin)
    return 2.0 * size**3 * rounds / best


def precision_note(precision: str, peaks: Callable[[str], float] = peak_flops) -> str:
    """A warning where matrix products of a precision are slower than float32 on this device; "" where they are not.

    Args:
        precision: see `TrainingConfig`.
        peaks: measures the throughput of a dtype.
    """
    if precision == "float32":
        return ""
    ratio = peaks(precision.removeprefix("mixed_")) / peaks("float32")
    if ratio >= 1.0:
        return ""
    return (
        f"training.precision={precision}: matrix products run at {ratio:.2f} times the speed of float32 on this "
        "device. training.precision=float32 is probably faster here."
    )


class SpeedMeter:
    """Accumulates tokens and seconds of a run for its log.

    Args:
        num_parameters: int, number of trainable parameters.
        peak: float, peak FLOP/s of all replicas together.
        tokens: float, tokens of the run before it was resumed.
        seconds: float, seconds of the run before it was resumed.
    """

    def __init__(self, num_parameters: int, peak: float, tokens: float = 0.0, seconds: float = 0.0) -> None:
        self.tokens, self.seconds = tokens, seconds
        self._share = training_flops_per_token(num_parameters) / peak
        self._is_first = True

    def measure(self, tokens: float, seconds: float) -> dict[str, float]:
        """The log entries of a call that trained on `tokens` in `seconds`: `tokens`, `seconds` (cumulative),
        `tokens_per_second` and `share_of_peak`. The first call includes compilation: its throughput is omitted, its
        time counts."""
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        record = {"tokens": self.tokens, "seconds": self.seconds}
        if not self._is_first:
            record["tokens_per_second"] = tokens / seconds
            record["share_of_peak"] = record["tokens_per_second"] * self._share
        self._is_first = False
        return record


def training_flops_per_token(num_parameters: int) -> float:
    """6 FLOPs per parameter: 2 forward, 4 backward, without attention (Kaplan et al., 2020, section 2.1)."""
    return 6.0 * num_parameters
