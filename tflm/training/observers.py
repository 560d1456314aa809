"""What looks at a training and changes nothing of it: histograms and profiles in TensorBoard, and the base class.

    class Printed(TrainingObserver):
        def recorded(self, step, values):
            print(step, values["loss"])

    run.train(observers=[Printed(), Profile("100:110", run.workdir)])

With several workers, the worker that writes the files of the run calls its observers; the others ask theirs for pauses
alone, since all workers pause at the same steps.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from tflm.errors import UsageError

TENSORBOARD = "tensorboard"
"""Folder of TensorBoard's files in that of a run."""


class TrainingObserver:
    """Is called during a training; each method does nothing here."""

    def begin(self, step: int, past: Iterable[Mapping[str, Any]], note_fn: Callable[[str], None]) -> None:
        """Before the first step.

        Args:
            step: int, the restored step; 0 in a new run.
            past: the records of the log up to there.
            note_fn: called with lines for the user, also later.
        """

    def steps_until_pause(self, step: int) -> int | None:
        """Before each call of the compiled loop: the maximum number of its steps; None for any."""
        del step
        return None

    def before_steps(self, step: int) -> None:
        """Directly before each call of the compiled loop, after `step` steps."""

    def recorded(self, step: int, values: Mapping[str, float]) -> None:
        """After each record of the log: of steps, or of an evaluation, whose names begin with eval_."""

    def evaluated(self, step: int) -> None:
        """After each evaluation. What is written to TensorBoard's default writer goes to that of the run."""

    def end(self, failed: bool) -> None:
        """At the end, also that of an interrupted training; `failed` after any other exception."""


class Histograms(TrainingObserver):
    """Histograms of the trained weights in TensorBoard, after each evaluation.

    Args:
        variables: Keras variables.
    """

    def __init__(self, variables: Iterable[Any]) -> None:
        self._variables = list(variables)

    def evaluated(self, step: int) -> None:
        """Writes one for each variable."""
        for variable in self._variables:
            tf.summary.histogram(f"weights/{variable.path}", variable.value, step=step)


class Profile(TrainingObserver):
    """A profile of some steps by TensorFlow's profiler, in the folder `plugins/profile` of TensorBoard's files.

    Args:
        steps: "FIRST:LAST", such as "100:110" for the ten steps from 101 to 110.
        workdir: folder of the run.
        num_steps: int, the last step of the training; None if unknown.
    Raises:
        UsageError: `steps` is something else, or the training ends before.
    """

    def __init__(self, steps: str, workdir: str, num_steps: int | None = None) -> None:
        self.first, self.last = parse_profile(steps, num_steps)
        self._folder, self._is_on = os.path.join(workdir, TENSORBOARD), False
        self._note_fn: Callable[[str], None] = lambda text: None

    def begin(self, step: int, past: Iterable[Mapping[str, Any]], note_fn: Callable[[str], None]) -> None:
        """Says so where it is too late."""
        self._note_fn = note_fn
        if step >= self.last:
            note_fn(f"no profile: the steps {self.first:,} to {self.last:,} are done.")

    def steps_until_pause(self, step: int) -> int | None:
        """Up to the first and the last step of the profile."""
        return next((end - step for end in (self.first, self.last) if step < end), None)

    def before_steps(self, step: int) -> None:
        """Starts or ends the profile."""
        if self._is_on and step >= self.last:
            self._stop()
        elif not self._is_on and self.first <= step < self.last:
            tf.profiler.experimental.start(self._folder)
            self._is_on = True

    def recorded(self, step: int, values: Mapping[str, float]) -> None:
        """Ends the profile after its last step: an evaluation that follows is not in it."""
        if self._is_on and step >= self.last:
            self._stop()

    def end(self, failed: bool) -> None:
        """Ends a profile whose training ended before."""
        if self._is_on:
            self._stop()

    def _stop(self) -> None:
        self._is_on = False
        tf.profiler.experimental.stop()
        self._note_fn(f"profile of the steps {self.first:,} to {self.last:,}: {self._folder}")


def parse_profile(steps: str, num_steps: int | None = None) -> tuple[int, int]:
    """The first and the last step.

    >>> parse_profile("100:110")
    (100, 110)

    Args:
        steps: "FIRST:LAST".
        num_steps: int, the last step of the training; None if unknown.
    Raises:
        UsageError: `steps` is something else, or the training ends before.
    """
    found = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", steps)
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    if first >= last:
        raise UsageError(f"--profile is FIRST:LAST, such as 100:110 for the steps 101 to 110; got {steps!r}.")
    if num_steps is not None and last > num_steps:
        raise UsageError(
            f"--profile={steps}: the training has {num_steps:,} steps. Choose earlier ones, such as "
            f"--profile={max(0, num_steps - 10)}:{num_steps}."
        )
    return first, last
