"""Training checkpoints: the complete training state, written atomically; damaged checkpoints are skipped."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tflm.errors import UserError
from tflm.files.writing import writing

_NAME = re.compile(r"step_(\d+)$")


class Checkpoints:
    """The newest checkpoints of one run, in folders such as `FOLDER/step_00000500/`.

    Args:
        folder: the folder of the checkpoints; created by the first `save`.
        variables: name to `tf.Variable`: weights, optimizer, every random generator, the step.
        keep: int, number of checkpoints to keep.
    """

    def __init__(self, folder: str, variables: Mapping[str, Any], keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        self._shapes = {name: list(variable.shape) for name, variable in variables.items()}
        self._checkpoint = tf.train.Checkpoint(**{_attribute(name): v for name, v in variables.items()})

    def steps(self) -> list[int]:
        """Steps with a checkpoint, in ascending order."""
        if not os.path.isdir(self.folder):
            return []
        matches = (_NAME.match(name) for name in os.listdir(self.folder))
        return sorted(int(match.group(1)) for match in matches if match)

    def kept_note(self) -> str:
        """A sentence for error messages about the latest checkpoint: "The checkpoint of step 20 was kept." """
        steps = self.steps()
        return (
            f"The checkpoint of step {steps[-1]:,} was kept." if steps else "There is no earlier checkpoint."
        )

    def save(self, step: int) -> str:
        """Writes a checkpoint for `step`, removes old checkpoints and returns the new checkpoint's folder.

        Raises:
            UserError: the checkpoint cannot be written, such as on a full disk. Earlier checkpoints are kept, and the
                partial one is removed.
        """
        final = self.path(step)
        aside = f"{final}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            with writing(f"the checkpoint {final!r}", self.kept_note()):
                os.makedirs(aside)
                self._checkpoint.write(os.path.join(aside, "state"))
                with open(os.path.join(aside, "shapes.json"), "w", encoding="utf-8") as file:
                    json.dump({"step": step, "shapes": self._shapes}, file)
                shutil.rmtree(final, ignore_errors=True)
                os.replace(aside, final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(old), ignore_errors=True)
        return final

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
        steps = self.steps() if step is None else [s for s in self.steps() if s == step]
        if step is not None and not steps:
            have = ", ".join(map(str, self.steps())) or "none"
            raise UserError(f"no checkpoint of step {step} in {self.folder!r}; available steps: {have}.")
        for candidate in reversed(steps):
            try:
                self._load(self.path(candidate), partial)
                return candidate
            except (OSError, ValueError, IndexError, KeyError, AssertionError, tf.errors.OpError) as error:
                if isinstance(error, UserError):
                    raise
                first_line = (str(error).splitlines() or [type(error).__name__])[0]
                logging.warning("checkpoint %s is damaged and skipped: %s", self.path(candidate), first_line)
        if steps:
            raise UserError(
                f"every checkpoint in {self.folder!r} is damaged. Remove the folder (or use --overwrite) to restart "
                "training."
            )
        return None

    def path(self, step: int) -> str:
        """Folder of the checkpoint of `step`."""
        return os.path.join(self.folder, f"step_{step:08d}")

    def _load(self, folder: str, partial: bool) -> None:
        with open(os.path.join(folder, "shapes.json"), encoding="utf-8") as file:
            shapes = json.load(file)["shapes"]
        names = self._shapes.keys() if partial else shapes.keys() | self._shapes.keys()
        for name in sorted(names):
            if shapes.get(name) != self._shapes.get(name):
                raise UserError(
                    f"the checkpoint {folder!r} belongs to another model: the shape of {name} is "
                    f"{shapes.get(name, 'absent')} in the checkpoint and {self._shapes.get(name, 'absent')} in the "
                    "model. Use the config of the checkpoint, or another workdir."
                )
        prefix = os.path.join(folder, "state")
        # Reads every tensor before any variable is assigned; TensorFlow verifies the stored checksums.
        reader = tf.train.load_checkpoint(prefix)
        for key in reader.get_variable_to_shape_map():
            reader.get_tensor(key)
        status = self._checkpoint.read(prefix)
        if partial:
            status.assert_existing_objects_matched().expect_partial()
        else:
            status.assert_consumed()


class StoredWeight:
    """A variable in a checkpoint, read when it is converted to an array."""

    def __init__(self, reader: Any, key: str, shape: list[int]) -> None:
        self._reader, self._key, self.shape = reader, key, tuple(shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # it is always a new one
        return np.asarray(self._reader.get_tensor(self._key), dtype)


def stored_weights(folder: str) -> dict[str, StoredWeight]:
    """The model's variables in a checkpoint by their paths, verified, of which none is kept in memory.

    Args:
        folder: of the checkpoint, such as "runs/a/checkpoints/step_00000500".
    Raises:
        UserError: it is damaged.
    """
    try:
        with open(os.path.join(folder, "shapes.json"), encoding="utf-8") as file:
            shapes = json.load(file)["shapes"]
        reader = tf.train.load_checkpoint(os.path.join(folder, "state"))
        for key in reader.get_variable_to_shape_map():  # TensorFlow verifies the stored checksums
            reader.get_tensor(key)
    except (OSError, ValueError, IndexError, KeyError, tf.errors.OpError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the checkpoint {folder!r} is damaged: {first_line}") from error
    return {
        name.removeprefix("model/"): StoredWeight(reader, _key(name), shape)
        for name, shape in shapes.items()
        if name.startswith("model/")
    }


def _key(name: str) -> str:
    """Where TensorFlow keeps the variable; it doubles the dots of an attribute."""
    return f"{_attribute(name).replace('.', '..')}/.ATTRIBUTES/VARIABLE_VALUE"


def _attribute(name: str) -> str:
    """An injective map from a variable path to an attribute name."""
    return name.replace("_", "__").replace("/", "_.")
