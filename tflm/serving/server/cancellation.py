"""Running a function of a SavedModel so that it can be ended from another thread.

`tensorflow.python.eager.cancellation.CancellationManagerContext` is meant for this, but in TensorFlow 2.21 what it
sets is one variable for the whole process: with several requests at once, one is ended in place of another. So the
manager is handed to the call itself, as that context has it done (`Context.call_function`).
"""

import itertools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import cancellation, context, execute


class Cancellation:
    """Ends what runs under it: for deadlines, and for clients that have left."""

    def __init__(self) -> None:
        self._manager = cancellation.CancellationManager()

    def cancel(self) -> None:
        """From any thread; again does no harm."""
        self._manager.start_cancel()

    def call(self, function: Any, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Calls a signature of a loaded SavedModel.

        Args:
            function: from `tf.saved_model.load(path).signatures`.
            inputs: a tensor for each input.
        Returns:
            Output name to tensor.
        Raises:
            tf.errors.CancelledError: it was ended.
            tf.errors.OpError: it failed.
        """
        tensors = [inputs[name] for name in function._arg_keywords]
        eager = context.context()
        options = itertools.chain(*eager.function_call_options.as_attrs().items())
        outputs = execute.execute_with_cancellation(
            function.name.decode("utf-8") if isinstance(function.name, bytes) else function.name,
            num_outputs=len(function.outputs),
            inputs=[*tensors, *function.captured_inputs],
            attrs=tuple(options),
            ctx=eager,
            cancellation_manager=self._manager,
        )
        return tf.nest.pack_sequence_as(function.structured_outputs, list(outputs))
