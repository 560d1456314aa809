"""A task's model as something that writes: the functions that its signatures share, each traced once."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tflm.decoding import Generator, Progress, open_specs, settings_specs
from tflm.models import LanguageModel
from tflm.tasks.streaming import ProgressWire, settled

if TYPE_CHECKING:
    from tflm.tasks.text_task import TextTask

Settings = dict[str, tf.Tensor]
Signature = Any
"""A `tf.function` with an `input_signature`, from tensors to a dict of tensors."""


class Writer:
    """`begin` and `advance` of a `Generator` for a task, as functions that all its signatures call.

    Args:
        task: says what a prompt looks like and what a text.
        model: writes.
        compiled: whether XLA compiles the steps.
    """

    def __init__(self, task: "TextTask", model: LanguageModel, compiled: bool = False) -> None:
        tokenizer = task.tokenizer

        def text_fn(token_ids: tf.Tensor, finished: tf.Tensor) -> tf.Tensor:
            return settled(tokenizer.detokenize(token_ids), finished)

        self.task, self.model = task, model
        self.generator = Generator(
            model,
            end_id=tokenizer.end_id,
            pad_id=tokenizer.pad_id,
            suppressed_ids=task.suppressed_ids(),
            max_total_length=task.max_length,
            text_fn=text_fn if task.streams else None,
            choice_fn=task.choice_ids,
            compiled=compiled,
        )
        self.begin = tf.function(self._begin, autograph=False)
        """(prompts ragged int32 [B, (P)], settings, context or None) to a Progress."""
        self._specs: Progress | None = None
        self._advance: Signature = None

    def advance(self, progress: Progress, num_tokens: tf.Tensor) -> Progress:
        """Goes on for `num_tokens` tokens, int32 scalar."""
        if self._advance is None:
            self._advance = self._make_advance(self._specs_of(progress))
        return self._advance(progress, num_tokens)

    def write(self, prompts: tf.RaggedTensor, settings: Settings, context: Any = None) -> Progress:
        """Whole texts."""
        progress = self.begin(prompts, settings, context)
        return self.advance(progress, tf.reduce_max(progress.limits))

    def wire(self, progress: Progress) -> ProgressWire:
        """How this Progress, and every one of this writer, crosses the wire."""
        return ProgressWire(self._specs_of(progress))

    def known_wire(self) -> ProgressWire:
        """`wire`, once a text was begun."""
        assert self._specs is not None
        return ProgressWire(self._specs)

    def _specs_of(self, progress: Progress) -> Progress:
        if self._specs is None:
            self._specs = open_specs(self.model, progress)
        return self._specs

    def _begin(self, prompts: tf.RaggedTensor, settings: Settings, context: Any) -> Progress:
        return self.generator.begin(prompts, settings, context)

    def _make_advance(self, specs: Progress) -> Signature:
        can_slide = not self.model.has_encoder

        @tf.function(input_signature=[specs, tf.TensorSpec([], tf.int32)], autograph=False)
        def advance(progress: Progress, num_tokens: tf.Tensor) -> Progress:
            return self.generator.advance(progress, num_tokens, can_slide)

        return advance


def signature(specs: list[tf.TensorSpec], function: Callable[[dict[str, tf.Tensor]], Any]) -> Signature:
    """A `tf.function` with named inputs, of a function that takes them as one dict."""

    def call(*inputs: tf.Tensor) -> Any:
        return function({spec.name: value for spec, value in zip(specs, inputs, strict=True)})

    return tf.function(call, input_signature=specs, autograph=False)


def settings_of(inputs: dict[str, tf.Tensor]) -> Settings:
    """The settings among the inputs of a signature."""
    return {name: inputs[name] for name in settings_specs()}
