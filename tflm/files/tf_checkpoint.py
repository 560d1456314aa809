"""Checkpoints of TensorFlow (name-based, such as Google's BERT), read one tensor at a time."""

import os

import numpy as np

from tflm.errors import UserError


class TensorFlowCheckpoint:
    """The variables of a checkpoint by name.

    Args:
        path: prefix of its files, `FOLDER/bert_model.ckpt`.
    Raises:
        UserError: a file is missing or damaged.
    """

    def __init__(self, path: str) -> None:
        import tensorflow as tf

        if not os.path.isfile(f"{path}.index"):
            raise UserError(
                f"there is no {path + '.index'!r}. Unpack the whole checkpoint: an index and its data files."
            )
        self.path = path
        try:
            self._reader = tf.train.load_checkpoint(path)
            shapes = self._reader.get_variable_to_shape_map()
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise UserError(f"cannot read the checkpoint {path!r}: {error}. Download it again.") from error
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}

    def read(self, name: str) -> np.ndarray:
        """One variable.

        Raises:
            UserError: its data are missing or damaged.
        """
        import tensorflow as tf

        try:
            return self._reader.get_tensor(name)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise UserError(
                f"the checkpoint {self.path!r} is damaged at {name!r}: {error}. Download it again."
            ) from error
