"""Checkpoints: everything that decides the next step, written aside and renamed; a damaged one is passed over."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from tflm.errors import UserError

_NAME = re.compile(r"step_(\d+)$")


class Checkpoints:
    """The checkpoints of one run: `FOLDER/step_00000500/`, the newest few of them.

    Args:
        folder: where they stand; made when the first one is written.
        variables: name to `tf.Variable`: weights, optimizer, loss scale, every random generator, the step.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: str, variables: Mapping[str, Any], keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        self._shapes = {name: list(variable.shape) for name, variable in variables.items()}
        self._checkpoint = tf.train.Checkpoint(**{_attribute(name): v for name, v in variables.items()})

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        if not os.path.isdir(self.folder):
            return []
        matches = (_NAME.match(name) for name in os.listdir(self.folder))
        return sorted(int(match.group(1)) for match in matches if match)

    def save(self, step: int) -> str:
        """Writes a checkpoint for `step` and removes those that are no longer kept. Returns its folder."""
        final = self.path(step)
        aside = f"{final}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(aside)
        self._checkpoint.write(os.path.join(aside, "state"))
        with open(os.path.join(aside, "shapes.json"), "w", encoding="utf-8") as file:
            json.dump({"step": step, "shapes": self._shapes}, file)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(old), ignore_errors=True)
        return final

    def restore(self, step: int | None = None, partial: bool = False) -> int | None:
        """Loads the checkpoint of `step`, or the newest that is whole.

        Args:
            step: which; the newest when None.
            partial: these variables are a part of those in the checkpoint: the weights without the optimizer.
        Returns:
            The step that was loaded; None when there is none at all.
        Raises:
            UserError: the one asked for is not there, all are damaged, or they belong to another model.
        """
        steps = self.steps() if step is None else [s for s in self.steps() if s == step]
        if step is not None and not steps:
            have = ", ".join(map(str, self.steps())) or "none"
            raise UserError(f"no checkpoint of step {step} in {self.folder!r}; there are: {have}.")
        for candidate in reversed(steps):
            try:
                self._load(self.path(candidate), partial)
                return candidate
            except (OSError, ValueError, IndexError, KeyError, AssertionError, tf.errors.OpError) as error:
                if isinstance(error, UserError):
                    raise
                first_line = (str(error).splitlines() or [type(error).__name__])[0]
                logging.warning("checkpoint %s is damaged, passed over: %s", self.path(candidate), first_line)
        if steps:
            raise UserError(
                f"every checkpoint in {self.folder!r} is damaged. Remove the folder (or use --overwrite) to begin "
                "again."
            )
        return None

    def path(self, step: int) -> str:
        """Where the checkpoint of `step` stands."""
        return os.path.join(self.folder, f"step_{step:08d}")

    def _load(self, folder: str, partial: bool) -> None:
        with open(os.path.join(folder, "shapes.json"), encoding="utf-8") as file:
            shapes = json.load(file)["shapes"]
        names = self._shapes.keys() if partial else shapes.keys() | self._shapes.keys()
        for name in sorted(names):
            if shapes.get(name) != self._shapes.get(name):
                raise UserError(
                    f"the checkpoint {folder!r} is of another model: {name} is {shapes.get(name, 'absent')} there "
                    f"and {self._shapes.get(name, 'absent')} here. Give its own config, or another workdir."
                )
        prefix = os.path.join(folder, "state")
        # Reads every tensor once before any variable changes: damage is found by the stored checksums.
        reader = tf.train.load_checkpoint(prefix)
        for key in reader.get_variable_to_shape_map():
            reader.get_tensor(key)
        status = self._checkpoint.read(prefix)
        if partial:
            status.assert_existing_objects_matched().expect_partial()
        else:
            status.assert_consumed()


def _attribute(name: str) -> str:
    """A variable's path as an attribute's name, without collisions."""
    return name.replace("_", "__").replace("/", "_.")
