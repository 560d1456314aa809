"""A SavedModel folder as something that answers requests. It loads the graph alone: no Keras."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.errors import UserError
from tflm.export import Signature, load_text_ops, read_signatures, text_ops_in, version_numbers


class LocalModel:
    """A loaded export.

        model = LocalModel("saved_models/chat")
        model.predict("serving_default", {"text": ["Hello", "你好"]})
        # {'text': array([b'Hi there.', b'你好！'], dtype=object)}

    Attributes:
        path: the version folder that was loaded.
        signatures: name to `Signature(inputs, outputs)`, each a dict of name to dtype.
        config: what `config.json` holds; empty if there is none.
        card: the text of `model_card.md`; empty if there is none.
    """

    def __init__(self, path: str) -> None:
        """Loads `saved_models/NAME` (its highest version) or `saved_models/NAME/VERSION`.

        Raises:
            UserError: no SavedModel there, or a damaged one; the message says what was found.
        """
        self.path = find_version(path)
        self.signatures: dict[str, Signature] = read_signatures(self.path)
        if text_ops_in(self.path):
            load_text_ops()
        try:
            self.config: dict[str, Any] = json.loads(
                _read_text(os.path.join(self.path, "config.json")) or "{}"
            )
            self.card: str = _read_text(os.path.join(self.path, "model_card.md"))
            self._loaded = tf.saved_model.load(self.path)
        except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.path!r} is damaged: {first_line}. `tflm.export.verify_checksums` names the files that "
                "are not as they were written."
            ) from error

    def predict(
        self, signature: str, inputs: Mapping[str, Sequence[Any] | np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs a signature on a batch.

        Args:
            signature: its name.
            inputs: input name to values `[B]`: strings (or UTF-8 bytes), integers or floats.
        Returns:
            Output name to array, batch first; strings come as bytes in an object array.
        Raises:
            UserError: unknown signature, missing or unknown inputs, values of the wrong type, unequal
                lengths.
        """
        if signature not in self.signatures:
            raise UserError(
                f"{self.path!r} has no signature {signature!r}. It has: {', '.join(self.signatures)}."
            )
        takes = self.signatures[signature].inputs
        if sorted(inputs) != sorted(takes):
            missing = sorted(set(takes) - set(inputs))
            unknown = sorted(set(inputs) - set(takes))
            wanted = ", ".join(f"{name} ({dtype})" for name, dtype in takes.items())
            raise UserError(
                f"signature {signature!r} takes {wanted}. Missing: {missing}; unknown: {unknown}."
            )
        arrays = {name: to_array(name, inputs[name], dtype) for name, dtype in takes.items()}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise UserError(f"all inputs have one value a row, and at least one row; got lengths {lengths}.")
        outputs = self._loaded.signatures[signature](
            **{name: tf.constant(array) for name, array in arrays.items()}
        )
        return {name: tensor.numpy() for name, tensor in outputs.items()}


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


def to_array(name: str, values: Sequence[Any] | np.ndarray, dtype: str) -> np.ndarray:
    """The values of one input as an array `[B]` of the dtype that the signature takes.

    >>> to_array("text", ["你"], "string"), to_array("top_k", [40], "int32")
    (array([b'\\xe4\\xbd\\xa0'], dtype=object), array([40], dtype=int32))

    Raises:
        UserError: not a list, or a value that does not fit the dtype.
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise UserError(f"input {name!r} is a list with one value a row; got {values!r}.")
    if dtype == "string":
        return _string_array(name, values)
    try:
        array = np.asarray(values) if len(values) else np.empty(0, dtype)
    except ValueError:  # lists of unequal lengths inside
        array = np.empty((0, 0))
    kinds = {"int": "iu", "uint": "iu", "float": "iuf", "bool": "b"}[dtype.rstrip("0123456789")]
    target = np.dtype(dtype)
    fits = array.ndim == 1 and array.dtype.kind in kinds
    if fits and target.kind in "iu" and len(array):
        limits = np.iinfo(target)
        fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    if not fits:
        raise UserError(f"input {name!r} takes {dtype}, one value a row; got {list(values)!r}.")
    return array.astype(target)


def _string_array(name: str, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    array = np.empty(len(values), object)
    for row, value in enumerate(values):
        if not isinstance(value, str | bytes):
            raise UserError(f"input {name!r} takes strings; row {row} is {value!r}.")
        # A lone surrogate has no UTF-8; passed on as it is, the model's tokenizer replaces it by U+FFFD.
        array[row] = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return array


def _read_text(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()
