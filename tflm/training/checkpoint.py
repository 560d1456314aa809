"""Training checkpoints: the complete training state, written atomically, also in the background; damaged checkpoints
are skipped."""

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from tflm.errors import UserError
from tflm.files.writing import whole_file, writing
from tflm.training.checkpoint_files import (
    READ_ERRORS,
    STATE,
    first_line,
    sync,
    tensor_key,
    verify_files,
    write_files,
)

BEST_FILE = "best.json"
_NAME = re.compile(r"step_(\d+)$")
_UNFINISHED = re.compile(r"step_\d+\.(tmp|old)$")


class Checkpoints:
    """The checkpoints of one run, in folders such as `FOLDER/step_00000500/`.

    Args:
        folder: the folder of the checkpoints; created by the first `save`.
        variables: name to `tf.Variable`: weights, optimizer, every random generator, the step.
        keep: int, number of checkpoints to keep: the newest ones, and besides them the best one.
        keep_every: int, steps between two checkpoints that are kept for good; 0 for none.
        background: bool, write in a thread. `save` then returns as soon as the variables are copied.
    """

    def __init__(
        self,
        folder: str,
        variables: Mapping[str, Any],
        keep: int = 2,
        *,
        keep_every: int = 0,
        background: bool = False,
    ) -> None:
        self.folder, self.keep, self.keep_every = folder, keep, keep_every
        self._variables = dict(variables)
        self._shapes = {name: list(variable.shape) for name, variable in variables.items()}
        self._threads = concurrent.futures.ThreadPoolExecutor(1, "checkpoint") if background else None
        self._pending: concurrent.futures.Future[None] | None = None

    def steps(self) -> list[int]:
        """Steps with a checkpoint, in ascending order, after the end of a write in the background."""
        if self._pending is not None:
            concurrent.futures.wait([self._pending])
        return self._steps()

    def kept_note(self) -> str:
        """A sentence for error messages about the latest checkpoint: "The checkpoint of step 20 was kept." """
        return _kept_note(self.steps())

    def best(self) -> dict[str, Any] | None:
        """The best checkpoint by a held-out measure: {"step": 500, "measure": "loss", "value": 2.5}; None if none was
        recorded, or the record is damaged."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            with open(os.path.join(self.folder, BEST_FILE), encoding="utf-8") as file:
                best = json.load(file)
            return {"step": int(best["step"]), "measure": str(best["measure"]), "value": float(best["value"])}
        return None

    def save(self, step: int, best: Mapping[str, Any] | None = None) -> str:
        """Writes a checkpoint of `step`, removes old checkpoints and returns the new checkpoint's folder.

        In the background, the variables are copied now and written later; see `wait`. A write waits for the one before.

        Args:
            step: int, of the variables' values.
            best: {"measure": ..., "value": ...} if this checkpoint is the best so far; then it is kept until a better
                one is saved.
        Raises:
            UserError: the checkpoint cannot be written, such as on a full disk; or, in the background, the one before.
                Earlier checkpoints are kept, and the partial one is removed.
        """
        self.wait()
        if self._threads is None:
            self._write(step, self._variables, best)
        else:
            self._pending = self._threads.submit(self._write, step, _copies(self._variables), best)
        return self.path(step)

    def wait(self) -> None:
        """Waits for the end of a write in the background.

        Raises:
            UserError: the checkpoint could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """A context at whose end the write in the background is complete. After an error in the context, an error of
        the write is only logged."""
        try:
            yield
        except BaseException:
            try:
                self.wait()
            except UserError as error:
                logging.warning("%s", error)
            raise
        self.wait()

    def restore(self, step: int | None = None, partial: bool = False) -> int | None:
        """Loads the checkpoint of `step`, or the newest intact one.

        Args:
            step: int, or None for the newest.
            partial: bool, load a subset of the checkpoint's variables, such as the weights without the optimizer.
        Returns:
            The restored step, or None if there is no checkpoint.
        Raises:
            UserError: the requested checkpoint is missing, all checkpoints are damaged, or they belong to another
                model.
        """
        have = self.steps()
        steps = have if step is None else [s for s in have if s == step]
        if step is not None and not steps:
            shown = ", ".join(map(str, have)) or "none"
            raise UserError(f"no checkpoint of step {step} in {self.folder!r}; available steps: {shown}.")
        for candidate in reversed(steps):
            try:
                self._load(self.path(candidate), partial)
                return candidate
            except READ_ERRORS as error:
                if isinstance(error, UserError):
                    raise
                path = self.path(candidate)
                logging.warning("checkpoint %s is damaged and skipped: %s", path, first_line(error))
        if steps:
            raise UserError(
                f"every checkpoint in {self.folder!r} is damaged. Remove the folder (or use --overwrite) to restart "
                "training."
                if step is None
                else f"the checkpoint {self.path(step)!r} is damaged. Choose another step, or train again."
            )
        return None

    def restore_from(self, folder: str) -> int | None:
        """Loads a checkpoint that is not one of a step, such as an average, which may hold more variables.

        Returns:
            The step that it records; None if there is no such folder.
        Raises:
            UserError: it is damaged or belongs to another model.
        """
        if not os.path.isdir(folder):
            return None
        try:
            return int(self._load(folder, partial=True)["step"])
        except READ_ERRORS as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"the checkpoint {folder!r} is damaged: {first_line(error)}") from error

    def path(self, step: int) -> str:
        """Folder of the checkpoint of `step`."""
        return os.path.join(self.folder, f"step_{step:08d}")

    def _steps(self) -> list[int]:
        if not os.path.isdir(self.folder):
            return []
        matches = (_NAME.match(name) for name in os.listdir(self.folder))
        return sorted(int(match.group(1)) for match in matches if match)

    def _write(self, step: int, tensors: Mapping[str, Any], best: Mapping[str, Any] | None) -> None:
        final = self.path(step)
        aside, old = f"{final}.tmp", f"{final}.old"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            with writing(f"the checkpoint {final!r}", _kept_note(self._steps())):
                write_files(aside, tensors, {"step": step})
                if os.path.isdir(final):
                    shutil.rmtree(old, ignore_errors=True)
                    os.rename(final, old)
                os.replace(aside, final)
                sync(self.folder)
                if best is not None:
                    path = os.path.join(self.folder, BEST_FILE)
                    with whole_file(path) as new, open(new, "w", encoding="utf-8") as file:
                        json.dump({"step": step, **best}, file)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self._remove_old()

    def _remove_old(self) -> None:
        """Removes what is not to be kept, and what killed processes left behind."""
        steps, best = self._steps(), self.best()
        kept = {*steps[-self.keep :], best["step"] if best else -1}
        for step in steps:
            if step not in kept and not (self.keep_every and step and step % self.keep_every == 0):
                shutil.rmtree(self.path(step), ignore_errors=True)
        for name in os.listdir(self.folder):
            if _UNFINISHED.match(name):
                shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)

    def _load(self, folder: str, partial: bool) -> dict[str, Any]:
        """Loads a checkpoint and returns what its `shapes.json` holds."""
        facts = verify_files(folder)
        shapes = facts["shapes"]
        names = self._shapes.keys() if partial else shapes.keys() | self._shapes.keys()
        for name in sorted(names):
            if shapes.get(name) != self._shapes.get(name):
                raise UserError(
                    f"the checkpoint {folder!r} belongs to another model: the shape of {name} is "
                    f"{shapes.get(name, 'absent')} in the checkpoint and {self._shapes.get(name, 'absent')} in the "
                    "model. Use the config of the checkpoint, or another workdir."
                )
        reader = tf.train.load_checkpoint(os.path.join(folder, STATE))
        stored = reader.get_variable_to_shape_map()
        for name in names:  # before any variable is assigned
            if list(stored[tensor_key(name)]) != shapes[name]:
                raise ValueError(f"{name} does not have the shape that is recorded")
        for name, variable in self._variables.items():
            variable.assign(reader.get_tensor(tensor_key(name)))
        return facts


def _kept_note(steps: list[int]) -> str:
    return f"The checkpoint of step {steps[-1]:,} was kept." if steps else "There is no earlier checkpoint."


def _copies(variables: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Tensors in host memory that later assignments leave alone: an eager tensor of a variable may share its buffer."""
    with tf.device("CPU:0"):
        return {name: tf.raw_ops.DeepCopy(x=variable.read_value()) for name, variable in variables.items()}
