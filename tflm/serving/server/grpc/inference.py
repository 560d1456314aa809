"""MultiInference: several classify and regress signatures of one model on the same examples.

After TensorFlow Serving's `servables/tensorflow/multi_inference.cc`, whose order of checks and messages are kept.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, model_pb2, regression_pb2

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core import examples
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.servable import DEFAULT_SIGNATURE, Servable
from tflm.serving.server.core.status import ServingError, invalid


def which(spec: model_pb2.ModelSpec) -> dict[str, Any]:
    """The arguments of `ModelManager.use` and `.status`."""
    choice = spec.WhichOneof("version_choice")
    return {
        "name": spec.name,
        "version": spec.version.value if choice == "version" else None,
        "label": spec.version_label if choice == "version_label" else None,
    }


def spec_of(servable: Servable, signature: str) -> model_pb2.ModelSpec:
    """Who answered."""
    spec = model_pb2.ModelSpec(name=servable.name, signature_name=signature)
    spec.version.value = servable.version
    return spec


def serialised(data: input_pb2.Input) -> list[bytes]:
    """The examples of a request, each merged with the context that they share, if any: its own features win."""
    if data.WhichOneof("kind") == "example_list_with_context":
        context = data.example_list_with_context.context.SerializeToString()
        merged = []
        for example in data.example_list_with_context.examples:
            whole = tf.train.Example.FromString(context)
            for name, feature in example.features.feature.items():
                whole.features.feature[name].CopyFrom(feature)
            merged.append(whole.SerializeToString())
        return merged
    return [example.SerializeToString() for example in data.example_list.examples]


def add_classes(
    result: classification_pb2.ClassificationResult, rows: Sequence[tuple[list[bytes], np.ndarray]]
) -> None:
    """Writes what `examples.run_classify` gave."""
    for labels, scores in rows:
        classes = result.classifications.add().classes
        for label, score in zip(labels, scores, strict=True):
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def add_values(result: regression_pb2.RegressionResult, values: np.ndarray) -> None:
    """Writes what `examples.run_regress` gave."""
    for value in values:
        result.regressions.add(value=value)


CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def multi_inference(
    manager: ModelManager, request: inference_pb2.MultiInferenceRequest, cancellation: Cancellation
) -> inference_pb2.MultiInferenceResponse:
    """A result for each task, in their order.

        tasks: [(probe, "classify", tensorflow/serving/classify)], input: [{"age": 0.25}]
        ->     [classification_result: [("young", 0.75), ("老", 0.25)]]

    The version is that of the first task. All signatures must read the same tensor of the graph. Those that
    `tf.saved_model.save` writes have a tensor each, so of such a model a request can name one at a time; this is so
    in TensorFlow Serving too.

    Raises:
        ServingError: INVALID_ARGUMENT for tasks that do not go together, or for what a task alone would be refused
            for; UNIMPLEMENTED for a method that is neither classify nor regress; NOT_FOUND.
    """
    first = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
    if not first.name:
        raise invalid("ModelSpec has no name specified.")
    response = inference_pb2.MultiInferenceResponse()
    with manager.use(**which(first)) as servable:
        _check(request, servable)
        rows = serialised(request.input)
        for task in request.tasks:
            signature = task.model_spec.signature_name
            result = response.results.add(model_spec=spec_of(servable, signature))
            arguments = (servable, signature or DEFAULT_SIGNATURE, rows, cancellation)
            if task.method_name == CLASSIFY:
                result.classification_result.SetInParent()
                add_classes(result.classification_result, examples.run_classify(*arguments))
            else:
                add_values(result.regression_result, examples.run_regress(*arguments))
    return response


def _check(request: inference_pb2.MultiInferenceRequest, servable: Servable) -> None:
    """Whether the tasks go together.

    Raises:
        ServingError: they do not.
    """
    signatures: set[str] = set()
    tensors: set[str] = set()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != servable.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in signatures:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        signatures.add(name)
        if name not in servable.signature_defs:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise ServingError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        definition = servable.signature_defs[name]
        tensors |= {definition.inputs["inputs"].name} if "inputs" in definition.inputs else set()
        if len(tensors) > 1:
            raise invalid("Input tensor must be the same for all Signatures.")
