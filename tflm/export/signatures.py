"""Inputs and outputs of signatures: validation of functions, and reading from a SavedModel."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tflm.errors import UserError

_INTERNAL_PREFIX = "__saved_model_"  # TensorFlow stores its initializer as a signature
_COMPILED_SUFFIX = "_xla"


@dataclasses.dataclass(frozen=True)
class SignatureDtypes:
    """Names and dtypes, such as `SignatureDtypes({"text": "string"}, {"text": "string", "lengths": "int32"})`."""

    inputs: dict[str, str]
    """Input name to dtype name; the batch is the first axis of each input."""
    outputs: dict[str, str]
    """Output name to dtype name; the batch is the first axis of each output."""


def read_meta_graph(path: str) -> meta_graph_pb2.MetaGraphDef:
    """Reads the graph and the signatures of a SavedModel, without the weights.

    Raises:
        UserError: the folder has no `saved_model.pb`, or it cannot be parsed.
    """
    file_path = os.path.join(path, "saved_model.pb")
    saved_model = saved_model_pb2.SavedModel()
    try:
        with open(file_path, "rb") as file:
            content = file.read()
        saved_model.ParseFromString(content)
        if not saved_model.meta_graphs:
            raise ValueError("it has no graph" if content else "it is empty")
        return saved_model.meta_graphs[0]
    except OSError as error:
        raise UserError(
            f"{path!r} is not a SavedModel: cannot read saved_model.pb ({error.strerror})."
        ) from error
    except Exception as error:  # protobuf's DecodeError has no common place to import it from
        raise UserError(f"{file_path!r} is damaged: {error}.") from error


def user_signatures(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Sorted names of the signatures for clients, without internal ones."""
    return sorted(name for name in meta_graph.signature_def if not name.startswith(_INTERNAL_PREFIX))


def compiled_twin(name: str) -> str:
    """The name of the XLA-compiled variant of signature `name`."""
    return f"{name}{_COMPILED_SUFFIX}"


def is_compiled(name: str) -> bool:
    """Whether a signature is compiled by XLA, by the suffix of its name: `generate_xla`.

    A stock server runs it only if started with XLA compilation enabled; see `audit_ops`.
    """
    return name.endswith(_COMPILED_SUFFIX)


def read_signatures(path: str) -> dict[str, SignatureDtypes]:
    """Reads the signatures of a SavedModel folder, without loading the graph."""
    meta_graph = read_meta_graph(path)
    return {
        name: SignatureDtypes(
            _dtype_names(meta_graph.signature_def[name].inputs),
            _dtype_names(meta_graph.signature_def[name].outputs),
        )
        for name in user_signatures(meta_graph)
    }


def input_specs(name: str, function: Any) -> dict[str, tf.TensorSpec]:
    """Validates a signature function and returns the specs of its inputs by name, in order.

    Args:
        name: name of the signature, for messages.
        function: a `tf.function` with an `input_signature` of `tf.TensorSpec([None, ...], dtype, name)` that returns a
            dict of tensors, batch axis first.
    Raises:
        UserError: any other function. SavedModel has no output names for ragged outputs, and no nested outputs.
    """
    if getattr(function, "input_signature", None) is None:
        raise UserError(
            f"signature {name!r} is {type(function).__name__}; expected a tf.function with an "
            "input_signature of tf.TensorSpec([None], dtype, name)."
        )
    concrete = function.get_concrete_function()
    args, kwargs = concrete.structured_input_signature
    specs = list(args) + list(kwargs.values())
    for spec in specs:
        if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank or spec.shape[0] is not None:
            raise UserError(
                f"signature {name!r}: input {spec} must be tf.TensorSpec([None, ...], dtype, name): the batch comes "
                "first."
            )
    _check_outputs(name, concrete.structured_outputs)
    names = concrete._arg_keywords  # the names that tf.saved_model.save uses
    return dict(zip(names, specs))


def _check_outputs(name: str, outputs: Any) -> None:
    if not isinstance(outputs, Mapping):
        raise UserError(
            f"signature {name!r} returns {type(outputs).__name__}; expected a dict of name to tensor."
        )
    for key, value in outputs.items():
        if isinstance(value, tf.RaggedTensor | tf.RaggedTensorSpec):
            raise UserError(
                f"signature {name!r}: output {key!r} is ragged. Return value.to_tensor() and the lengths."
            )
        if not tf.is_tensor(value) or isinstance(value, tf.SparseTensor):
            raise UserError(
                f"signature {name!r}: output {key!r} is {type(value).__name__}; an output is a plain tensor."
            )
        if value.shape.rank == 0 or (value.shape.rank is not None and value.shape[0] is not None):
            raise UserError(
                f"signature {name!r}: output {key!r} has shape {value.shape}; the batch comes first."
            )


def _dtype_names(tensors: Mapping[str, Any]) -> dict[str, str]:
    return {name: tf.as_dtype(tensors[name].dtype).name for name in sorted(tensors)}
