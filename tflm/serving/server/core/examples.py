"""classify and regress: signatures that take serialised `tf.train.Example` messages.

After TensorFlow Serving's `servables/tensorflow/classifier.cc` and `regressor.cc`.
"""

from collections.abc import Sequence

import numpy as np

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core.servable import Servable
from tflm.serving.server.core.status import ServingError, invalid

_APIS = {"classification": "Classify", "regression": "Regress"}


def run_classify(
    servable: Servable, signature: str, examples: Sequence[bytes], cancellation: Cancellation
) -> list[tuple[list[bytes], np.ndarray]]:
    """For each example its labels and scores; labels are empty where the signature gives scores alone."""
    outputs = _outputs(servable, signature, examples, ("classes", "scores"), "classification", cancellation)
    labels, scores = outputs.get("classes"), outputs.get("scores")
    for name, array in outputs.items():
        if array.ndim != 2 or len(array) != len(examples):
            raise ServingError(
                "INVALID_ARGUMENT",
                f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)} for {name}",
            )
    shape = next(iter(outputs.values())).shape
    if labels is None:
        labels = np.full(shape, b"", object)
    if scores is None:
        scores = np.zeros(shape, np.float32)
    return [(list(row), values) for row, values in zip(labels, scores, strict=True)]


def run_regress(
    servable: Servable, signature: str, examples: Sequence[bytes], cancellation: Cancellation
) -> np.ndarray:
    """A number for each example, float32 `[B]`."""
    outputs = _outputs(servable, signature, examples, ("outputs",), "regression", cancellation)
    values = outputs["outputs"]
    if values.size != len(examples):
        raise invalid(f"Expected output batch size to be {len(examples)}; got shape {list(values.shape)}")
    return values.reshape(-1)


def _outputs(
    servable: Servable,
    signature: str,
    examples: Sequence[bytes],
    names: tuple[str, ...],
    kind: str,
    cancellation: Cancellation,
) -> dict[str, np.ndarray]:
    definition = servable.signature_defs.get(signature)
    if definition is None:
        raise invalid(f"No signature was found with the name: {signature}")
    if list(definition.inputs) != ["inputs"]:
        raise invalid(f"No {kind} inputs found in SignatureDef: {signature}")
    present = [name for name in names if name in definition.outputs]
    if not present:
        raise invalid(f"Expected {kind} signature outputs to contain at least one of {', '.join(names)}")
    if not examples:
        raise invalid("Input is empty.")
    inputs = {"inputs": np.array(list(examples), object)}
    return servable.run(signature, inputs, present, cancellation, _APIS[kind])
