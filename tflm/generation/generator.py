"""Text generation with one model: the prompts are read at once, then one token per step.

`Generator.generate` is `begin` and `advance`; between the two, and after any number of tokens, there is a
`GenerationState`, so a text can be streamed. `resume` continues a state after further input, such as the next message
of a conversation.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.errors import UserError
from tflm.generation.loop import TokenLoop
from tflm.generation.rows import append_token, start_rows
from tflm.generation.sampling import step_uniforms
from tflm.generation.settings import Settings, check_settings
from tflm.generation.state import GenerationState, GenerativeModel, TextFn, Vocabulary
from tflm.generation.stop import stop_rows
from tflm.generation.window import pad_left


class Generation(NamedTuple):
    """What `generate` returns."""

    token_ids: tf.Tensor
    """int32 [B, N]: the generated tokens without the end token, padded with pad_id. N is the largest num_tokens."""
    num_tokens: tf.Tensor
    """int32 [B]: generated tokens, without the end token."""
    log_probability: tf.Tensor
    """float32 [B]: natural logarithm of the model's own probability of these tokens and, if it was generated, the end
    token. It does not depend on the settings, so it equals the score of the same text."""
    is_complete: tf.Tensor
    """bool [B]: whether the end token or a stop string ended the text; False at a length limit."""


class Generator:
    """Continues prompts with one model. The ids and limits below are Python numbers; everything else is tensors.

    Args:
        model: a GenerativeModel.
        end_id: the token that ends a text.
        other_end_ids: further tokens that end one.
        pad_id: padding. Never generated.
        suppressed_ids: further tokens that are never generated, such as start, unknown and separators.
        max_total_length: context length: tokens of prompt and generated text together, row by row; None is unlimited.
            A longer prompt is truncated on the right, and nothing is generated. A row that has stopped is still
            stepped, as padding, while others run: `step` must accept positions beyond this limit.
        segment_length: steps between two extensions of the cache.
        text_fn: see `TextFn`; without it stop strings are ignored.
        choice_fn: from `choices` string [B, C] to `choice_ids` int32 [B, C, L], the tokens of each with the end token,
            padded with -1, and -1 for ""; without it choices are ignored.
        compiled: whether XLA compiles the steps. The texts are the same; there are fewer shapes: prompts are padded to
            a power of two.
    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        model: GenerativeModel,
        *,
        end_id: int,
        pad_id: int,
        other_end_ids: Sequence[int] = (),
        suppressed_ids: Sequence[int] = (),
        max_total_length: int | None = None,
        segment_length: int = 64,
        text_fn: TextFn | None = None,
        choice_fn: Callable[[tf.Tensor], tf.Tensor] | None = None,
        compiled: bool = False,
    ) -> None:
        _check_arguments(
            (end_id, *other_end_ids), {pad_id, *suppressed_ids}, max_total_length, segment_length
        )
        self.model, self.max_total_length = model, max_total_length
        self.segment_length, self.choice_fn, self.compiled = segment_length, choice_fn, compiled
        self.vocabulary = Vocabulary((end_id, *other_end_ids), pad_id, tuple(suppressed_ids), text_fn)

    def generate(self, prompts: tf.RaggedTensor, settings: Settings, context: Any = None) -> Generation:
        """Continues every prompt until its end token, a stop string or its limit.

        With a model that counts up by one and ends after 9:

        >>> Generator(model, end_id=2, pad_id=0).generate([[1, 5], [1, 8]], settings)
        Generation(token_ids=[[6, 7, 8, 9], [9, 0, 0, 0]], num_tokens=[4, 1], ...)

        The model reads the prompts once and then one token per step until every row has stopped: n steps for n tokens
        and an end token. A segment of steps begins with `extend_state`; its shapes are fixed, so that XLA can compile
        it. No value in `settings` raises: a value out of range acts like the nearest in range (a repetition penalty of
        0 or less is off), and NaN is greedy or off. Batch size and prompt length may be unknown when this is traced;
        every op is one of TensorFlow's own.

        Args:
            prompts: int32 [B, (P)], no row empty: a task adds at least the start token.
            settings: a dict of tensors, see `settings_tensors`.
            context: output of the model's encoder, passed to `initial_state`.
        Raises:
            UserError: settings are missing or have the wrong dtype.
            tf.errors.InvalidArgumentError: a prompt is empty (when the graph runs).
        """
        state = self.begin(prompts, settings, context)
        return self.result(self.advance(state, tf.reduce_max(state.limits), can_slide=context is None))

    def begin(self, prompts: tf.RaggedTensor, settings: Settings, context: Any = None) -> GenerationState:
        """Reads the prompts and chooses the first token of each row. Arguments and errors as of `generate`."""
        check_settings(settings)
        prompts = self.checked(prompts)
        limits = self.limits(prompts, settings, can_slide=context is None)
        token_ids, num_padding = self._padded(prompts)
        logits, model_state = self._read(token_ids, num_padding, context)
        width = tf.shape(token_ids)[1]
        state = self._start(
            model_state=model_state,
            settings=settings,
            limits=limits,
            num_read=width - num_padding,
            prompt_ids=tf.where(tf.range(width)[None] < num_padding[:, None], -1, token_ids),
        )
        return self._first_token(state, logits)

    def advance(
        self, state: GenerationState, num_tokens: int | tf.Tensor, can_slide: bool = True
    ) -> GenerationState:
        """Generates up to `num_tokens` more tokens in each row. However the steps are divided into calls, the texts are
        those of `generate`.

        Args:
            state: from `begin` or an earlier `advance` of the same model and ids.
            num_tokens: int32 scalar.
            can_slide: False for a model with an encoder.
        """
        loop = TokenLoop(
            self.model,
            state,
            self.vocabulary,
            end=tf.minimum(state.num_steps + num_tokens, tf.reduce_max(state.limits)),
            segment_length=self.segment_length,
            max_total_length=self.max_total_length if can_slide else None,
            compiled=self.compiled,
        )
        return state.with_variables(loop.run(state.variables()))

    def result(self, state: GenerationState) -> Generation:
        """The generated texts of a state."""
        rows = state.rows
        return Generation(
            token_ids=self.generated_ids(state),
            num_tokens=rows.num_tokens,
            log_probability=rows.log_probability,
            is_complete=rows.has_ended | rows.has_stopped,
        )

    def generated_ids(self, state: GenerationState) -> tf.Tensor:
        """The generated tokens, int32 [B, N], padded with pad_id; N is the largest number of them."""
        token_ids = state.token_ids[:, : tf.reduce_max(state.rows.num_tokens)]
        return tf.where(token_ids < 0, self.vocabulary.pad_id, token_ids)

    def generated_ids_with_end(self, state: GenerationState) -> tf.Tensor:
        """The generated tokens and, where it was generated, the end token: int32 [B, N], padded with -1."""
        rows = state.rows
        counts = rows.num_tokens + tf.cast(rows.has_ended, tf.int32)
        token_ids = tf.pad(state.token_ids, [[0, 0], [0, 1]], constant_values=-1)[:, : tf.reduce_max(counts)]
        places = tf.range(tf.shape(token_ids)[1])[None]
        is_end = rows.has_ended[:, None] & (places == rows.num_tokens[:, None])
        return tf.where(is_end, self.vocabulary.end_ids[0], token_ids)

    def read(self, prompts: tf.RaggedTensor, context: Any = None) -> tuple[tf.Tensor, Any]:
        """Logits float32 [B, V] after prompts int32 [B, (P)], and the model's state."""
        return self._read(*self._padded(prompts), context)

    def limits(self, prompts: tf.RaggedTensor, settings: Settings, can_slide: bool) -> tf.Tensor:
        """The largest number of tokens to generate in each row, int32 [B]."""
        limits = tf.maximum(settings["max_new_tokens"], 0)
        if self.max_total_length is None:
            return limits
        left = self.max_total_length - tf.cast(prompts.row_lengths(), tf.int32)
        fitting = tf.minimum(limits, tf.maximum(left, 0))
        return tf.where(settings["slide"], limits, fitting) if can_slide else fitting

    def checked(self, prompts: tf.RaggedTensor) -> tf.RaggedTensor:
        """The prompts, truncated to the context length; fails where one is empty."""
        tf.debugging.assert_positive(
            prompts.row_lengths(),
            "A prompt is empty, expected at least one token. Begin it with the start token.",
        )
        return prompts if self.max_total_length is None else prompts[:, : self.max_total_length]

    def _padded(self, prompts: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
        return pad_left(prompts, self.vocabulary.pad_id, to_power_of_two=self.compiled)

    def _read(self, token_ids: tf.Tensor, num_padding: tf.Tensor, context: Any) -> tuple[tf.Tensor, Any]:
        """Logits float32 [B, V] after padded prompts int32 [B, P], and the model's state."""

        def read(token_ids: tf.Tensor, num_padding: tf.Tensor, context: Any) -> tuple[tf.Tensor, Any]:
            num_rows, width = tf.unstack(tf.shape(token_ids))
            given = {} if context is None else {"context": context}
            model_state = self.model.initial_state(num_rows, width, num_padding=num_padding, **given)
            logits, model_state = self.model.step(token_ids, model_state, last_only=True)
            return logits[:, -1], model_state

        if self.compiled:
            read = tf.function(read, autograph=False, jit_compile=True)
        return read(token_ids, num_padding, context)

    def _start(
        self,
        model_state: Any,
        settings: Settings,
        limits: tf.Tensor,
        num_read: tf.Tensor,
        prompt_ids: tf.Tensor,
    ) -> GenerationState:
        """A state without generated tokens."""
        num_rows = tf.shape(prompt_ids)[0]
        return GenerationState(
            model_state=model_state,
            rows=start_rows(limits, self.vocabulary.pad_id),
            settings=dict(settings),
            limits=limits,
            num_read=num_read,
            prompt_ids=prompt_ids,
            choice_ids=self._choice_ids(settings),
            token_ids=tf.zeros([num_rows, 0], tf.int32),
            log_probabilities=tf.zeros([num_rows, 0]),
            num_steps=tf.constant(0),
        )

    def _first_token(self, state: GenerationState, logits: tf.Tensor) -> GenerationState:
        """Adds the token chosen from logits float32 [B, V] to a state without generated tokens."""
        uniform = step_uniforms(state.settings, 0, 1)[0]
        invariants = state.invariants(self.vocabulary)
        rows, new_ids, log_probabilities = append_token(
            state.rows, state.token_ids, logits, uniform, invariants
        )
        state = state._replace(
            rows=rows,
            token_ids=new_ids[:, None],
            log_probabilities=log_probabilities[:, None],
            num_steps=tf.constant(1),
        )
        return stop_rows(state, self.vocabulary, tf.constant(0))

    def _choice_ids(self, settings: Settings) -> tf.Tensor:
        """int32 [B, C, L]; see `keep_choices`."""
        if self.choice_fn is not None:
            return self.choice_fn(settings["choices"])
        return tf.fill([tf.size(settings["seed"]), 1, 1], -1)


def generate(
    model: GenerativeModel,
    prompts: tf.RaggedTensor,
    settings: Settings,
    *,
    context: Any = None,
    **arguments: Any,
) -> Generation:
    """`Generator(model, **arguments).generate(prompts, settings, context)`."""
    return Generator(model, **arguments).generate(prompts, settings, context)


def resume(
    generator: Generator,
    state: GenerationState,
    added: tf.RaggedTensor,
    settings: Settings,
    fits: tf.Tensor,
) -> GenerationState:
    """Continues after further input: prompt, generated text and `added` become the prompt; only new tokens are read.

    After a text [5, 6] that continued [1, 4] and ended, with `added` [[2, 9]] the next token is the one that `begin`
    chooses after [1, 4, 5, 6, 2, 9].

    While other rows run, a model also reads padding in stopped rows, and tokens after a stop string; these are taken
    back first (`rewind`). The stop string itself remains part of the text.

    Args:
        generator: its model can rewind.
        state: from `begin`, `advance` or `resume` of this generator.
        added: int32 [B, (A)], no row empty. It includes the end token of the text, which was not read.
        settings: for the text that follows.
        fits: bool [B]; in the other rows nothing is generated.
    Returns:
        GenerationState, with the first token chosen.
    """
    check_settings(settings)
    steps, count = state.num_steps, state.rows.num_tokens
    num_beyond = steps - 1 - tf.minimum(count, steps - 1)
    model_state = generator.model.rewind(state.model_state, num_beyond)
    # Where a limit ended the text, the newest token is not read yet.
    newest = tf.gather(state.token_ids, tf.maximum(count - 1, 0)[:, None], batch_dims=1)
    unread = tf.RaggedTensor.from_tensor(newest, lengths=tf.cast(count == steps, tf.int64))
    logits, model_state, num_new = _read_more(generator, model_state, tf.concat([unread, added], axis=1))
    history = tf.concat([state.prompt_ids, state.token_ids], axis=1)
    prompts = tf.concat([tf.ragged.boolean_mask(history, history >= 0), added], axis=1)
    start = generator._start(
        model_state=model_state,
        settings=settings,
        limits=tf.where(fits, generator.limits(prompts, settings, can_slide=True), 0),
        num_read=state.num_read - num_beyond + num_new,
        prompt_ids=pad_left(prompts, -1)[0],
    )
    return generator._first_token(start, logits)


def _read_more(
    generator: Generator, model_state: Any, tokens: tf.RaggedTensor
) -> tuple[tf.Tensor, Any, tf.Tensor]:
    """Reads int32 [B, (A)]; returns the logits float32 [B, V] after the last token, the model's state, and the number
    of tokens int32 [B].

    All but the last are read in one step, padded on the right; the padding is taken back.
    """
    model = generator.model
    counts = tf.cast(tokens.row_lengths(), tf.int32)
    earlier, last = tokens[:, :-1].to_tensor(generator.vocabulary.pad_id), tokens[:, -1:].to_tensor()
    width = tf.shape(earlier)[1]
    model_state = model.extend_state(model_state, width + 1)

    def read_earlier() -> Any:
        _, after = model.step(earlier, model_state, last_only=True)
        return model.rewind(after, width - (counts - 1))

    model_state = tf.cond(width > 0, read_earlier, lambda: model_state)
    logits, model_state = model.step(last, model_state, last_only=True)
    return logits[:, -1], model_state, counts


def _check_arguments(
    end_ids: Sequence[int], never_generated: set[int], max_total_length: int | None, segment_length: int
) -> None:
    for end_id in never_generated.intersection(end_ids):
        raise UserError(
            f"end_id {end_id} is pad_id or in suppressed_ids, {sorted(never_generated)} together, "
            "so no text could end. Give the end token an id of its own."
        )
    if segment_length < 1:
        raise UserError(f"segment_length is {segment_length}, expected at least 1. 64 suits most models.")
    if max_total_length is not None and max_total_length < 1:
        raise UserError(
            f"max_total_length is {max_total_length}, expected at least 1. "
            "Give the model's context length, or None."
        )
