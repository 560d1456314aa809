"""Steps that went wrong: those without a finite loss or gradient are skipped and counted, sudden rises are reported."""

import collections
import json
import os
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tflm.data import Batches
from tflm.errors import UserError
from tflm.files.writing import writing
from tflm.text import Tokenizer
from tflm.training.train_step import LossScale

STEPS_FILE = "bad_steps.jsonl"
"""In the folder of the run: each such step with its loss, its gradient norm and the texts of its batch."""
_WINDOW, _FEWEST = 200, 50
_SPIKE, _LEAST_RATIO = 8.0, 1.5
_SHOWN = 3
_LONGEST = 60


class StepGuard:
    """Looks at the losses of a run.

    Args:
        workdir: folder of the run, for the file with bad steps; "" for no file.
        batches: those that are trained on; read again to name the texts of a bad step.
        tokenizer: of these texts; None if they are not texts.
        max_skipped: int, steps in a row that may be skipped.
        num_skipped: int, of how many the last steps before this run were.
        note_fn: called with a line for the user.
    """

    def __init__(
        self,
        workdir: str,
        batches: Batches,
        tokenizer: Tokenizer | None,
        max_skipped: int,
        num_skipped: int = 0,
        note_fn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.num_skipped = num_skipped
        """Steps in a row, up to the last one, that were skipped."""
        self._path = os.path.join(workdir, STEPS_FILE) if workdir else ""
        self._batches, self._tokenizer, self._max_skipped = batches, tokenizer, max_skipped
        self._note_fn = note_fn
        self._losses: collections.deque[float] = collections.deque(maxlen=_WINDOW)

    def check(
        self, step: int, values: Mapping[str, np.ndarray], kept_note: Callable[[], str] = lambda: ""
    ) -> None:
        """Looks at the steps of one call of the compiled loop, and reports what is wrong with them.

        Args:
            step: int, before the first of them.
            values: `loss`, `gradient_norm` and, with float16, `loss_scale`, float32 [n].
            kept_note: a sentence for the error about the newest checkpoint.
        Raises:
            UserError: more steps in a row were skipped than allowed. The message names them and a text of the last.
        """
        finite = np.isfinite(values["loss"]) & np.isfinite(values["gradient_norm"])
        for place, loss in enumerate(values["loss"].tolist()):
            number, norm = step + place + 1, float(values["gradient_norm"][place])
            if finite[place]:
                self.num_skipped = 0
                if self._is_spike(loss):
                    usual = statistics.median(self._losses)
                    self._report(number, loss, norm, f"the loss is {loss:.4g} after {usual:.4g}")
                self._losses.append(loss)
                continue
            if np.isfinite(loss) and "loss_scale" in values and values["loss_scale"][place] > LossScale.LEAST:
                continue  # an overflow, which a smaller scale avoids
            self.num_skipped += 1
            what = f"the loss is {loss:.4g} and the gradient norm {norm:.4g}"
            text = self._report(number, loss, norm, f"{what}; the step is skipped")
            if self.num_skipped > self._max_skipped:
                raise UserError(
                    f"step {number:,}: {what}{self._in_a_row(number)}. Training stopped. {kept_note()} "
                    f"The batch of step {number:,} begins with {text}; {STEPS_FILE} has all. The learning "
                    "rate is probably too high: lower training.peak_learning_rate or raise training.warmup_steps."
                )

    def summary(self, values: Mapping[str, np.ndarray]) -> dict[str, float]:
        """What is logged of the steps of one call: means over those that were not skipped, and how many were.

        Args:
            values: `loss`, `gradient_norm` and, with float16, `loss_scale`, float32 [n].
        """
        finite = np.isfinite(values["loss"]) & np.isfinite(values["gradient_norm"])
        names = ("loss", "gradient_norm") if finite.any() else ()
        record = {name: float(np.mean(values[name][finite])) for name in names}
        if not finite.all():
            record["skipped_steps"] = float(np.sum(~finite))
        if "loss_scale" in values:
            record["loss_scale"] = float(values["loss_scale"][-1])
        if self.num_skipped:
            record["skipped_in_a_row"] = float(self.num_skipped)
        return record

    def _in_a_row(self, last: int) -> str:
        if self.num_skipped == 1:
            return ""
        return f", as in each of the steps {last - self.num_skipped + 1:,} to {last:,}"

    def _is_spike(self, loss: float) -> bool:
        """Whether a loss is above all of the last ones, and far above: by eight times their median distance from the
        median, and by half. Batches of texts of one length may be harder than others, which is no spike."""
        if len(self._losses) < _FEWEST or loss <= max(self._losses):
            return False
        usual = statistics.median(self._losses)
        distance = statistics.median(abs(value - usual) for value in self._losses)
        return loss > usual + _SPIKE * distance and loss > _LEAST_RATIO * usual

    def _report(self, step: int, loss: float, norm: float, what: str) -> str:
        """Writes the step and its texts into the file; the first text, to be shown."""
        texts = self._texts(step)
        record = {"step": step, "loss": str(loss), "gradient_norm": str(norm), "texts": texts}
        if self._path:
            with (
                writing(f"the report of bad steps {self._path!r}"),
                open(self._path, "a", encoding="utf-8") as file,
            ):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        shown = ", ".join(_quoted(text) for text in texts[:_SHOWN])
        self._note_fn(f"step {step:,}: {what}. Its batch begins with {shown or 'nothing'}.")
        return _quoted(texts[0]) if texts else "nothing"

    def _texts(self, step: int) -> list[str]:
        """The texts of the batch that a step trained on; with an encoder the sources."""
        batch = next(iter(self._batches.dataset(start_batch=step - 1).take(1)))
        name: Any = next((each for each in ("source_ids", "token_ids") if each in batch), None)
        if name is None or self._tokenizer is None:
            return []
        ids = batch[name]  # of word vectors a token a row
        texts = self._tokenizer.detokenize(ids if len(ids.shape) == 2 else ids[:, None])
        return [text.decode("utf-8") for text in texts.numpy()]


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
