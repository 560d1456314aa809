"""The variables and tables that signatures use, held by one plain module with nothing of Keras in it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.trackable import resource

from tflm.errors import UserError


def module_to_save(signatures: Mapping[str, Any], tracked: Iterable[Any]) -> tf.Module:
    """A `tf.Module` with what the signatures capture and no more.

    Saving the Keras model itself would store its classes and settings beside the graph, and every variable it
    has: the states of dropout, of metrics and of an optimizer too.

    Args:
        signatures: name to `tf.function` with an `input_signature`.
        tracked: Keras models, `tf.Module`s, variables or tables, which own all that the functions use.
    Raises:
        UserError: a function uses a variable or table that none of `tracked` owns.
    """
    owners = {id(handle): owner for owner, handle in _owners(tracked)}
    used: dict[int, Any] = {}
    for name, function in signatures.items():
        for tensor in function.get_concrete_function().captured_inputs:
            if tensor.dtype != tf.resource:
                continue
            if id(tensor) not in owners:
                raise UserError(
                    f"signature {name!r} uses a variable or table that none of the tracked objects owns "
                    f"({tensor!r}). Pass the object that holds it in `tracked`."
                )
            used[id(tensor)] = owners[id(tensor)]
    module = tf.Module(name="export")
    module.weights = [owner for owner in used.values() if isinstance(owner, tf.Variable)]
    module.resources = [owner for owner in used.values() if not isinstance(owner, tf.Variable)]
    return module


def _owners(tracked: Iterable[Any]) -> Iterator[tuple[Any, tf.Tensor]]:
    """(variable or table, its handle) for all that is reachable from the tracked objects."""
    for root in tracked:
        # Keras hides some variables (seed generators) from TensorFlow's tracking, but lists them.
        reachable = [*tf.train.TrackableView(root).descendants(), *getattr(root, "variables", ())]
        for item in reachable:
            if isinstance(item, resource.CapturableResource):
                yield item, item.resource_handle
            elif isinstance(item, tf.Variable):
                yield item, item.handle
            elif isinstance(getattr(item, "value", None), tf.Variable):  # a Keras variable
                yield item.value, item.value.handle
