"""A SavedModel folder as something that answers requests. It loads the graph alone: no Keras."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_shape_pb2

from tflm.errors import UserError
from tflm.export import version_numbers
from tflm.export.signatures import read_meta_graph, user_signatures
from tflm.serving.runtime.graph_session import GraphSession
from tflm.serving.signature import Shape, Signature, find_signature


class LocalModel:
    """A loaded export.

        model = LocalModel("saved_models/chat")
        model.predict("serving_default", {"text": ["Hello", "你好"]})
        # {'text': array([b'Hi there.', b'你好！'], dtype=object)}

    Attributes:
        path: the version folder that was loaded.
        signatures: name to `Signature`: dtypes and shapes of its inputs and outputs.
        config: what `config.json` holds; empty without one.
        card: the text of `model_card.md`; empty without one.
    """

    def __init__(self, path: str) -> None:
        """Loads `saved_models/NAME` (its highest version) or `saved_models/NAME/VERSION`.

        Raises:
            UserError: no SavedModel there, or a damaged one; the message says what was found.
        """
        self.path = find_version(path)
        self.signatures: dict[str, Signature] = signatures_of(self.path)
        try:
            self.config: dict[str, Any] = json.loads(
                _read_text(os.path.join(self.path, "config.json")) or "{}"
            )
            self.card: str = _read_text(os.path.join(self.path, "model_card.md"))
            self._session = GraphSession(self.path)
        except UserError:
            raise
        except (OSError, ValueError, IndexError, RecursionError, tf.errors.OpError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.path!r} is damaged: {first_line}. `tflm.export.verify_checksums` names the files that "
                "are not as they were written."
            ) from error

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs a signature on a batch.

        Args:
            signature: its name.
            inputs: input name to values of the declared rank, such as `[B]` or `[B, L, H]`, as lists or an array:
                strings (or UTF-8 bytes), integers, floats or booleans.
        Returns:
            Output name to array, batch first; strings come as bytes in an object array.
        Raises:
            UserError: unknown signature, missing or unknown inputs, values of the wrong type or shape,
                unequal numbers of rows.
        """
        arrays = find_signature(self.signatures, signature, self.path).arrays(signature, inputs)
        return self._session.run(signature, arrays)

    def close(self) -> None:
        """Gives the memory back. Nothing may be running."""
        self._session.close()


def signatures_of(path: str) -> dict[str, Signature]:
    """The signatures of a SavedModel folder with their shapes, without loading the graph."""
    meta_graph = read_meta_graph(path)
    return {name: signature_of(meta_graph.signature_def[name]) for name in user_signatures(meta_graph)}


def signature_of(definition: Any) -> Signature:
    """A `SignatureDef` message, read."""
    sides = (definition.inputs, definition.outputs)
    dtypes = [{key: tf.as_dtype(side[key].dtype).name for key in sorted(side)} for side in sides]
    shapes = [{key: _shape(side[key].tensor_shape) for key in sorted(side)} for side in sides]
    return Signature(*dtypes, *shapes)


def find_version(path: str) -> str:
    """The folder of a SavedModel: `path` itself, or its highest version. Unfinished `.tmp` folders never
    count.

    Raises:
        UserError: neither.
    """
    path = os.path.normpath(path)
    if path.endswith(".tmp"):
        raise UserError(
            f"{path!r} is an unfinished export. Give {os.path.dirname(path)!r} or a version in it."
        )
    if os.path.isfile(os.path.join(path, "saved_model.pb")):
        return path
    if numbers := version_numbers(path):
        return os.path.join(path, str(numbers[-1]))
    if not os.path.isdir(path):
        raise UserError(f"no folder {path!r}. A model is saved_models/NAME or saved_models/NAME/VERSION.")
    found = ", ".join(sorted(os.listdir(path))[:8]) or "nothing"
    raise UserError(
        f"{path!r} has neither saved_model.pb nor a version folder such as 1/. Found there: {found}."
    )


def _shape(shape: tensor_shape_pb2.TensorShapeProto) -> Shape:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def _read_text(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()
