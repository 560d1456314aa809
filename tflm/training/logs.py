"""Training logs: a progress bar, a JSONL file, TensorBoard, and the throughput that they record."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tflm.errors import Interrupted, UserError
from tflm.files.writing import whole_file, writing
from tflm.progress import ProgressBar
from tflm.training.observers import TENSORBOARD, TrainingObserver

_SMALL_SIZE, _LONGEST_MEASUREMENT = 256, 4.0


class RunLog:
    """Writes records to `WORKDIR/log.jsonl` and TensorBoard, and shows a progress bar on standard error.

    Args:
        workdir: folder of the run.
        num_steps: int, length of the progress bar.
        first_step: int, the restored step. Records of later steps, from a run interrupted after its last checkpoint,
            are removed from the file, since those steps are repeated.
        note_fn: returns a sentence for write errors, such as which checkpoint was kept.
        observers: are called after each record and each evaluation.
        user_note_fn: is given to them, for lines for the user.
    Raises:
        UserError: a file cannot be written, such as on a full disk; raised by all methods.
    """

    def __init__(
        self,
        workdir: str,
        num_steps: int,
        first_step: int,
        note_fn: Callable[[], str] = lambda: "",
        observers: Sequence[TrainingObserver] = (),
        user_note_fn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.path, self._note_fn = os.path.join(workdir, "log.jsonl"), note_fn
        kept = [record for record in read_log(workdir) if record["step"] <= first_step]
        with self._writing():
            os.makedirs(workdir, exist_ok=True)
            with whole_file(self.path) as aside, open(aside, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in kept)
            self._tensorboard = tf.summary.create_file_writer(os.path.join(workdir, TENSORBOARD))
        self._held_out = next((r["eval_loss"] for r in reversed(kept) if "eval_loss" in r), None)
        self._observers = tuple(observers)
        for observer in self._observers:
            observer.begin(first_step, kept, user_note_fn)
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
        self._held_out = values.get("eval_loss", self._held_out)
        for observer in self._observers:
            observer.recorded(step, values)

    def before_steps(self, step: int) -> None:
        """Directly before each call of the compiled loop."""
        for observer in self._observers:
            observer.before_steps(step)

    def evaluated(self, step: int) -> None:
        """After each evaluation, whose record is written."""
        with self._writing(), self._tensorboard.as_default():
            for observer in self._observers:
                observer.evaluated(step)

    def advance(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Updates the progress bar with the loss, the last held-out loss and the throughput."""
        held_out = () if self._held_out is None else (f"held-out {self._held_out:.3f}",)
        self.bar.update(step, values=(f"loss {loss:.3f}", *held_out, f"{tokens_per_second:,.0f} tokens/s"))

    def close(self, failed: bool = False) -> None:
        """Closes the progress bar and the TensorBoard file; `failed` is for the observers."""
        self.bar.close()
        for observer in self._observers:
            observer.end(failed)
        with self._writing():
            self._tensorboard.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Closes the log. After an exception, an error while closing is suppressed."""
        try:
            self.close(error is not None and not isinstance(error, Interrupted))
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

    def before_steps(self, step: int) -> None:
        """Nothing."""

    def evaluated(self, step: int) -> None:
        """Nothing."""

    def advance(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Nothing."""

    def close(self, failed: bool = False) -> None:
        """Nothing."""


def evaluation_note(step: int, loss: float, metrics: Mapping[str, float]) -> str:
    """A line about an evaluation.

    >>> evaluation_note(1000, 2.31, {"loss": 2.5, "perplexity": 12.18, "num_tokens": 640.0})
    'step 1,000: loss 2.310, held-out loss 2.5, perplexity 12.18'
    """
    shown = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items() if name[:4] != "num_"]
    return f"step {step:,}: loss {loss:.3f}, held-out {', '.join(shown)}"


def read_log(workdir: str) -> list[dict[str, Any]]:
    """The log records of a run, in order. A last line truncated by a kill is skipped.

    Raises:
        UserError: another line is damaged.
    """
    return read_records(os.path.join(workdir, "log.jsonl"))


def read_records(path: str) -> list[dict[str, Any]]:
    """The objects of a JSONL file, in order; [] without a file. A last line truncated by a kill is skipped.

    Raises:
        UserError: another line is damaged.
    """
    records: list[dict[str, Any]] = []
    if not os.path.exists(path):
        return records
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                continue
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise UserError(
                    f"{path}:{number}: expected a JSON object, found {line[:40]!r}. It is damaged: remove the line."
                ) from error
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

    def measure(self, values: Mapping[str, Any], seconds: float) -> dict[str, float]:
        """The log entries of a call that took `seconds`: `tokens`, `seconds` (cumulative), `tokens_per_second`,
        `share_of_peak`, and those of `batch_shares`. The first call includes compilation: its throughput is omitted,
        its time counts.

        Args:
            values: of `make_train_steps`.
            seconds: float.
        """
        tokens = float(sum(map(float, values["tokens"])))
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        record = {"tokens": self.tokens, "seconds": self.seconds}
        if not self._is_first:
            record["tokens_per_second"] = tokens / seconds
            record["share_of_peak"] = record["tokens_per_second"] * self._share
        self._is_first = False
        return record | batch_shares(values, seconds)


def batch_shares(values: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """The log entries of a call that took `seconds`: `padding`, the share of padding among the positions of its
    batches, and `data_wait`, the share of the time in which steps waited for their batches.

    >>> batch_shares({"tokens": [60.0], "positions": [80.0], "data_seconds": [0.5]}, seconds=2.0)
    {'padding': 0.25, 'data_wait': 0.25}

    Args:
        values: of `make_train_steps`.
        seconds: float.
    """
    tokens, positions, waited = (
        float(sum(map(float, values[name]))) for name in ("tokens", "positions", "data_seconds")
    )
    return {"padding": 1.0 - tokens / positions, "data_wait": waited / seconds}


class NoiseScaleMeter:
    """The gradient noise scale, a batch size above which more rows per step help little (McCandlish et al., 2018):
    B_simple = tr(Σ) / |G|², in rows, to be compared with `training.global_batch_size`.

    Numerator and denominator are estimated in each step, averaged over the steps of a record, and then exponentially
    over the records; their ratio is biased, so that it is taken last (appendix A.1). The state is a function of the
    log, so that a resumed run goes on with it.

    Args:
        batch_size: int, rows per step.
        records: of the log up to the restored step.
    """

    _DECAY, _FIRST = (
        0.99,
        9,
    )  # the last 100 steps or so count; of a short run a tenth, since first gradients are large

    def __init__(self, batch_size: int, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._batch_size, self._noise, self._signal, self._step = batch_size, 0.0, 0.0, 0
        for record in records:
            if "gradient_noise" in record:
                self._add(record["step"], record["gradient_noise"], record["gradient_signal"])

    def measure(self, step: int, values: Mapping[str, Any]) -> dict[str, float]:
        """The log entries of the call that ended with `step`: `gradient_noise`, `gradient_signal` and, where the signal
        is above the noise, `gradient_noise_scale`. Empty with one micro-batch on one replica.

        Args:
            step: int.
            values: of `make_train_steps`.
        """
        if "gradient_noise" not in values:
            return {}
        pairs = zip(values["gradient_noise"].tolist(), values["gradient_signal"].tolist(), strict=True)
        finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if not finite:
            return {}
        # As the log rounds them: a resumed run reads these.
        noise, signal = (float(f"{sum(each) / len(finite):.7g}") for each in zip(*finite, strict=True))
        self._add(step, noise, signal)
        record = {"gradient_noise": noise, "gradient_signal": signal}
        if self._noise > 0.0 and self._signal > 0.0:
            record["gradient_noise_scale"] = self._batch_size * self._noise / self._signal
        return record

    def _add(self, step: int, noise: float, signal: float) -> None:
        kept = min(self._DECAY, step / (step + self._FIRST)) ** max(1, step - self._step)
        self._noise = kept * self._noise + (1.0 - kept) * noise
        self._signal = kept * self._signal + (1.0 - kept) * signal
        self._step = step


def training_flops_per_token(num_parameters: int) -> float:
    """6 FLOPs per parameter: 2 forward, 4 backward, without attention (Kaplan et al., 2020, section 2.1)."""
    return 6.0 * num_parameters
