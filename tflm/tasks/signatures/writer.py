"""Functions that the signatures of one generative model share, each traced once."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tflm.generation import GenerationState, Generator, open_specs, settings_specs
from tflm.layers.quantized import compiled_by_xla
from tflm.models import LanguageModel
from tflm.tasks.signatures.streaming import StateCodec, stable_prefix
from tflm.tasks.text_task import TextTask
from tflm.text import Tokenizer

Settings = dict[str, tf.Tensor]
Signature = Any
"""A `tf.function` with an `input_signature`, from tensors to a dict of tensors."""


class Writer:
    """`begin` and `advance` of a `Generator` for a task, as functions that all its signatures call.

    Args:
        task: converts texts to prompts and tokens to texts.
        model: the generative model.
        compiled: whether XLA compiles the steps.
    """

    def __init__(self, task: TextTask, model: LanguageModel, compiled: bool = False) -> None:
        tokenizer = task.tokenizer

        def text_fn(token_ids: tf.Tensor, finished: tf.Tensor) -> tf.Tensor:
            return stable_prefix(tokenizer.detokenize(token_ids), finished)

        self.task, self.model = task, model
        self.generator = Generator(
            _Compiled(model) if compiled else model,
            end_id=tokenizer.end_id,
            other_end_ids=tokenizer.end_ids[1:],
            pad_id=tokenizer.pad_id,
            suppressed_ids=task.suppressed_ids(),
            max_total_length=task.max_length,
            text_fn=text_fn if task.streams else None,
            choice_fn=task.choice_ids,
            compiled=compiled,
        )
        self.begin = tf.function(self._begin, autograph=False)
        """(prompts ragged int32 [B, (P)], settings, context or None) to a GenerationState."""
        self._specs: GenerationState | None = None
        self._advance: Signature = None

    def advance(self, state: GenerationState, num_tokens: tf.Tensor) -> GenerationState:
        """Generates up to `num_tokens` more tokens, int32 scalar."""
        if self._advance is None:
            self._advance = self._make_advance(self._specs_of(state))
        return self._advance(state, num_tokens)

    def write(self, prompts: tf.RaggedTensor, settings: Settings, context: Any = None) -> GenerationState:
        """The state after complete texts."""
        state = self.begin(prompts, settings, context)
        return self.advance(state, tf.reduce_max(state.limits))

    def codec(self, state: GenerationState) -> StateCodec:
        """The codec of this state and of every other state of this writer."""
        return StateCodec(self._specs_of(state))

    def known_codec(self) -> StateCodec:
        """`codec`, after `begin` was traced."""
        assert self._specs is not None
        return StateCodec(self._specs)

    def _specs_of(self, state: GenerationState) -> GenerationState:
        if self._specs is None:
            self._specs = open_specs(self.model, state)
        return self._specs

    def _begin(self, prompts: tf.RaggedTensor, settings: Settings, context: Any) -> GenerationState:
        return self.generator.begin(prompts, settings, context)

    def _make_advance(self, specs: GenerationState) -> Signature:
        can_slide = not self.model.has_encoder

        @tf.function(input_signature=[specs, tf.TensorSpec([], tf.int32)], autograph=False)
        def advance(state: GenerationState, num_tokens: tf.Tensor) -> GenerationState:
            return self.generator.advance(state, num_tokens, can_slide)

        return advance


class _Compiled:
    """A model in functions that XLA compiles."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def step(self, token_ids: tf.Tensor, *arguments: Any, **options: Any) -> Any:
        """See `LanguageModel`."""
        with compiled_by_xla(in_loop=token_ids.shape[1] == 1):
            return self._model.step(token_ids, *arguments, **options)


def signature(specs: list[tf.TensorSpec], function: Callable[[dict[str, tf.Tensor]], Any]) -> Signature:
    """A `tf.function` with named inputs, of a function that takes them as one dict."""

    def call(*inputs: tf.Tensor) -> Any:
        return function({spec.name: value for spec, value in zip(specs, inputs, strict=True)})

    return tf.function(call, input_signature=specs, autograph=False)


def call_by_name(function: Signature, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Calls a signature with its inputs from a dict, which may hold others too."""
    return function(*(inputs[spec.name] for spec in function.input_signature))


def settings_of(inputs: dict[str, tf.Tensor], tokenizer: Tokenizer) -> Settings:
    """The settings among the inputs of a signature."""
    settings = {name: inputs[name] for name in settings_specs()}
    return {**settings, "stop": as_written(settings["stop"], tokenizer)}


def as_written(stop: tf.Tensor, tokenizer: Tokenizer) -> tf.Tensor:
    """Stop strings string [B, S] in the case and the Unicode normalization form of the generated text, without which
    they could not match."""
    config = tokenizer.config
    if not (config.case_fold or config.normalization_form):
        return stop
    with tf.device("CPU:0"):
        return tf.reshape(tokenizer._clean(tf.reshape(stop, [-1])), tf.shape(stop))
