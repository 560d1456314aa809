"""The files of one checkpoint: tensors in TensorFlow's format, their shapes, and the checksums of both.

step_00000500/state.index, state.data-00000-of-00001     read by tf.train.load_checkpoint and tf.train.Checkpoint
step_00000500/shapes.json                                names and shapes
step_00000500/SHA256SUMS                                 for `sha256sum --check`, and for `verify_files`
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tflm.errors import UserError

STATE, SHAPES_FILE, CHECKSUMS_FILE = "state", "shapes.json", "SHA256SUMS"
READ_ERRORS = (OSError, ValueError, IndexError, KeyError, AssertionError, TypeError, tf.errors.OpError)
"""What reading a damaged checkpoint may raise."""
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.EPERM)


def write_files(folder: str, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Writes a checkpoint to a new folder, and returns when the disk has it (fsync).

    Args:
        folder: created; it must not exist.
        tensors: name to array or tensor.
        facts: of the checkpoint, for `shapes.json`, such as its step.
    Raises:
        OSError, tf.errors.OpError: the files cannot be written.
    """
    os.makedirs(folder)
    keys = {name: tensor_key(name) for name in tensors}
    with tf.device("CPU:0"):
        tf.raw_ops.SaveV2(
            prefix=os.path.join(folder, STATE),
            tensor_names=[*keys.values(), _OBJECT_GRAPH],
            shape_and_slices=[""] * (len(keys) + 1),
            tensors=[*map(tf.convert_to_tensor, tensors.values()), tf.constant(_object_graph(keys))],
        )
    shapes = {name: list(np.shape(tensor)) for name, tensor in tensors.items()}
    with open(os.path.join(folder, SHAPES_FILE), "w", encoding="utf-8") as file:
        json.dump({**facts, "shapes": shapes, "checksums": CHECKSUMS_FILE}, file)
    with open(os.path.join(folder, CHECKSUMS_FILE), "w", encoding="utf-8") as file:
        file.write(_checksums(folder))
    for name in os.listdir(folder):
        sync(os.path.join(folder, name))
    sync(folder)


def verify_files(folder: str) -> dict[str, Any]:
    """Checks that a checkpoint is what was written, and returns what its `shapes.json` holds. One of an earlier
    version, without checksums of its files, is read whole: TensorFlow verifies a checksum of each tensor.

    Raises:
        READ_ERRORS: it is not; the message names the file.
    """
    with open(os.path.join(folder, SHAPES_FILE), encoding="utf-8") as file:
        facts = json.load(file)
    if not isinstance(facts, dict) or not isinstance(facts.get("shapes"), dict):
        raise ValueError(f"{SHAPES_FILE} holds no shapes")
    path = os.path.join(folder, CHECKSUMS_FILE)
    if "checksums" not in facts and not os.path.exists(path):
        for _ in stored_tensors(folder):
            pass
        return facts
    with open(path, encoding="utf-8") as file:
        expected = file.read()
    found = _checksums(folder)
    if found != expected:
        lines = set(expected.splitlines())
        changed = [line.split()[1] for line in found.splitlines() if line not in lines]
        raise ValueError(
            f"{', '.join(changed) or CHECKSUMS_FILE} is not what was written (SHA-256), or a file is missing"
        )
    return facts


def stored_tensors(folder: str) -> Iterator[tuple[str, np.ndarray]]:
    """Each tensor of a checkpoint with its key, one at a time."""
    reader = tf.train.load_checkpoint(os.path.join(folder, STATE))
    for key in reader.get_variable_to_shape_map():
        yield key, reader.get_tensor(key)


class StoredWeight:
    """A variable in a checkpoint, read when it is converted to an array."""

    def __init__(self, reader: Any, key: str, shape: list[int]) -> None:
        self._reader, self._key, self.shape = reader, key, tuple(shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # it is always a new one
        return np.asarray(self._reader.get_tensor(self._key), dtype)


def stored_weights(folder: str, prefix: str = "model/") -> dict[str, StoredWeight]:
    """The model's variables in a checkpoint by their paths, verified, of which none is kept in memory.

    Args:
        folder: of the checkpoint, such as "runs/a/checkpoints/step_00000500".
        prefix: of the names, which is left out; "" for everything.
    Raises:
        UserError: it is damaged.
    """
    try:
        shapes = verify_files(folder)["shapes"]
        reader = tf.train.load_checkpoint(os.path.join(folder, STATE))
    except READ_ERRORS as error:
        raise UserError(f"the checkpoint {folder!r} is damaged: {first_line(error)}") from error
    return {
        name.removeprefix(prefix): StoredWeight(reader, tensor_key(name), shape)
        for name, shape in shapes.items()
        if name.startswith(prefix)
    }


def sync(path: str) -> None:
    """Waits until the disk has a file or a folder, where the file system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def first_line(error: BaseException) -> str:
    """Of its message, or its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def tensor_key(name: str) -> str:
    """Where TensorFlow keeps the variable; it doubles the dots of an attribute."""
    return f"{_attribute(name).replace('.', '..')}/.ATTRIBUTES/VARIABLE_VALUE"


def _attribute(name: str) -> str:
    """An injective map from a variable path to an attribute name."""
    return name.replace("_", "__").replace("/", "_.")


def _object_graph(keys: Mapping[str, str]) -> bytes:
    """What `tf.train.Checkpoint(**variables)` would store of its objects, so that it can read the checkpoint, too."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    root = graph.nodes.add()
    for number, (name, key) in enumerate(keys.items(), start=1):
        root.children.add(node_id=number, local_name=_attribute(name))
        node = graph.nodes.add()
        node.attributes.add(name="VARIABLE_VALUE", full_name=name, checkpoint_key=key)
        node.has_checkpoint_values.value = True
    root.has_checkpoint_values.value = True
    return graph.SerializeToString(deterministic=True)


def _checksums(folder: str) -> str:
    """The content of SHA256SUMS."""
    lines = []
    for name in sorted(os.listdir(folder)):
        if name != CHECKSUMS_FILE:
            with open(os.path.join(folder, name), "rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)
