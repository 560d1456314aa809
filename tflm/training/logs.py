"""What a run says while it goes: a progress bar, a JSONL file, and TensorBoard."""

import json
import os
import sys
import time
from typing import Any

import tensorflow as tf
from tqdm import tqdm


class RunLog:
    """Writes each record to `WORKDIR/log.jsonl`, to TensorBoard, and to a bar on standard error.

    Args:
        workdir: the run's folder.
        num_steps: the bar's length.
        first_step: where the bar begins. Records of later steps, of a run that was interrupted after its last
            checkpoint, are dropped from the file: those steps are done again.
    """

    def __init__(self, workdir: str, num_steps: int, first_step: int) -> None:
        self.path = os.path.join(workdir, "log.jsonl")
        os.makedirs(workdir, exist_ok=True)
        kept = [record for record in read_log(workdir) if record["step"] <= first_step]
        with open(f"{self.path}.tmp", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)
        os.replace(f"{self.path}.tmp", self.path)
        self._tensorboard = tf.summary.create_file_writer(os.path.join(workdir, "tensorboard"))
        self.bar = tqdm(
            total=num_steps,
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            file=sys.stderr,
            mininterval=0.5,
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        """One record: to the file at once, so that a kill loses nothing."""
        record: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
        record.update({name: float(f"{value:.7g}") for name, value in values.items()})
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        with self._tensorboard.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def advance(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Moves the bar, which shows the loss, the speed and, by itself, the time left."""
        self.bar.set_postfix_str(f"loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s", refresh=False)
        self.bar.update(step - self.bar.n)

    def close(self) -> None:
        """Closes the bar and TensorBoard's file."""
        self.bar.close()
        self._tensorboard.close()


def read_log(workdir: str) -> list[dict[str, Any]]:
    """The records of a run, in order; a last line that was cut off by a kill is left out."""
    path = os.path.join(workdir, "log.jsonl")
    records: list[dict[str, Any]] = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    records.append(json.loads(line))
    return records
