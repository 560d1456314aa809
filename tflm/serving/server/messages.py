"""What the requests and answers of the gRPC services have in common: which model, which examples, which results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, input_pb2, model_pb2, regression_pb2

from tflm.serving.server.servable import Servable


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
