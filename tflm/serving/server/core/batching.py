"""Dynamic batching of requests by TensorFlow's own op, `BatchFunction`, with the parameters of a stock server.

What the op runs is the function that the signature runs. Rows of several requests become one batch; each gets its own
rows of the outputs back.
"""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

from tflm.serving.runtime.graph_session import GraphSession
from tflm.serving.server.core.batching_config import BatchingConfig

_MAX_QUEUES = 32
_STATE = "state_"


class Batcher:
    """The signatures of a session that can be batched, batched.

        batcher = Batcher(session, BatchingConfig(max_batch_size=16, batch_timeout_micros=5000))
        if batcher.takes("generate", inputs):
            outputs, size = batcher.run("generate", inputs)

    A signature can be batched if it is one function, as `tf.saved_model.save` writes it, each input and each output
    has the batch for its first axis, and none is the state of a text (`state_...`), in which rows of one answer have a
    place in common.
    """

    def __init__(self, session: GraphSession, config: BatchingConfig) -> None:
        self._session, self._config = session, config
        self._largest = config.max_execution_batch_size or config.max_batch_size
        self._queues: dict[tuple, tuple[list[str], list[str], str]] = {}
        self._lock = threading.Lock()
        self._can_be_batched = {
            name
            for name, definition in session.signature_defs.items()
            if _has_rows_only(definition) and _is_one_call(session.graph, definition)
        }

    def takes(self, signature: str, inputs: Mapping[str, np.ndarray]) -> bool:
        """Whether a request can go into a batch: it has every input, as many rows in each, and not more than a batch
        has. Requests whose lists are of other lengths go into other batches; where there would be too many kinds of
        batches, one goes alone."""
        if signature not in self._can_be_batched:
            return False
        names = self._session.signature_defs[signature].inputs
        if set(names) != set(inputs) or not all(array.ndim for array in inputs.values()):
            return False
        sizes = {len(array) for array in inputs.values()}
        if len(sizes) != 1 or not 1 <= sizes.pop() <= self._largest:
            return False
        return self._key(signature, inputs) in self._queues or len(self._queues) < _MAX_QUEUES

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
        """Runs a request of which `takes` is true.

        Returns:
            The outputs; and the size of the batch for the request that has its first row, 0 for the others.
        Raises:
            tf.errors.UnavailableError: the queue of batches is full.
            tf.errors.OpError: it failed.
        """
        definition = self._session.signature_defs[signature]
        feeds, fetches, first_of = self._queue(signature, inputs)
        call = self._session.call(feeds, [*fetches, first_of])
        *values, sizes = call(*(inputs[name] for name in definition.inputs))
        return dict(zip(definition.outputs, values, strict=True)), int(sizes.max())

    def _key(self, signature: str, inputs: Mapping[str, np.ndarray]) -> tuple:
        names = self._session.signature_defs[signature].inputs
        return signature, *(inputs[name].shape[1:] for name in names)

    def _queue(self, signature: str, inputs: Mapping[str, np.ndarray]) -> tuple[list[str], list[str], str]:
        """Names of the tensors to feed, and to fetch, of the batches of such inputs."""
        key = self._key(signature, inputs)
        with self._lock:
            if key not in self._queues:
                self._queues[key] = self._new_queue(signature)
            return self._queues[key]

    def _new_queue(self, signature: str) -> tuple[list[str], list[str], str]:
        definition, graph = self._session.signature_defs[signature], self._session.graph
        given = [graph.get_tensor_by_name(entry.name) for entry in definition.inputs.values()]
        call = graph.get_tensor_by_name(next(iter(definition.outputs.values())).name).op
        wanted = [graph.get_tensor_by_name(entry.name) for entry in definition.outputs.values()]
        with graph.as_default():
            placeholders = [tf.compat.v1.placeholder(tensor.dtype, tensor.shape) for tensor in given]
            captured = [tensor for tensor in call.inputs if all(tensor is not each for each in given)]
            order = [_place(tensor, given, captured) for tensor in call.inputs]
            function = _with_sizes(call, order, [*given, *captured], [each.value_index for each in wanted])
            outputs = tf.raw_ops.BatchFunction(
                in_tensors=placeholders,
                captured_tensors=captured,
                f=function,
                num_batch_threads=self._config.num_batch_threads,
                max_batch_size=self._largest,
                batch_timeout_micros=self._config.batch_timeout_micros,
                max_enqueued_batches=self._config.max_enqueued_batches,
                allowed_batch_sizes=self._allowed_sizes(),
                Tout=[tensor.dtype for tensor in wanted] + [tf.int32],
                shared_name="tflm_batches",
                batching_queue=f"{signature}/{len(self._queues)}",
            )
        *outputs, sizes = outputs
        return [tensor.name for tensor in placeholders], [tensor.name for tensor in outputs], sizes.name

    def _allowed_sizes(self) -> list[int]:
        """The last must be that of the largest batch."""
        sizes = self._config.allowed_batch_sizes
        return [*(size for size in sizes if size < self._largest), self._largest] if sizes else []


def _with_sizes(call: tf.Operation, order: list[int], like: list[tf.Tensor], wanted: list[int]) -> Any:
    """The function of the op `call`, its arguments in another order, and with one output more: in the first row of a
    batch the size of the batch, elsewhere 0."""

    @tf.function(
        input_signature=[tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in like], autograph=False
    )
    def batched(*tensors: tf.Tensor) -> list[tf.Tensor]:
        outputs = tf.raw_ops.StatefulPartitionedCall(
            args=[tensors[index] for index in order],
            Tout=[output.dtype for output in call.outputs],
            f=attr_value_pb2.NameAttrList(name=call.get_attr("f").name),
        )
        size = tf.shape(tensors[0])[0]
        return [*(outputs[index] for index in wanted), tf.one_hot(0, size, size, 0)]

    return batched.get_concrete_function()


def _place(tensor: tf.Tensor, given: list[tf.Tensor], captured: list[tf.Tensor]) -> int:
    return next(index for index, each in enumerate([*given, *captured]) if each is tensor)


def _is_one_call(graph: tf.Graph, definition: Any) -> bool:
    """Whether all outputs come from one call of one function; not so in models of TensorFlow 1."""
    calls = {graph.get_tensor_by_name(entry.name).op for entry in definition.outputs.values()}
    return len(calls) == 1 and calls.pop().type in ("PartitionedCall", "StatefulPartitionedCall")


def _has_rows_only(definition: Any) -> bool:
    if any(name.startswith(_STATE) for name in definition.inputs):
        return False
    tensors = [*definition.inputs.values(), *definition.outputs.values()]
    if not all(tensor.name for tensor in tensors):  # sparse ones have none
        return False
    shapes = [tensor.tensor_shape for tensor in tensors]
    return all(not shape.unknown_rank and shape.dim and shape.dim[0].size < 0 for shape in shapes)
