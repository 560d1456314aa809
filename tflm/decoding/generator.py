"""Generation: the prompts at once, then one token a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.decoding.pad_left import pad_left
from tflm.decoding.progress import LanguageModel, Progress, TextFn, Vocabulary
from tflm.decoding.rows import append_token, start_rows
from tflm.decoding.segments import draw, run_segments, stop_rows
from tflm.decoding.settings import check_settings
from tflm.errors import UserError


class Generation(NamedTuple):
    """What `generate` returns."""

    token_ids: tf.Tensor
    """int32 [B, N]: the produced tokens without the end token, then pad_id. N is the largest num_tokens."""
    num_tokens: tf.Tensor
    """int32 [B]: tokens produced, without the end token."""
    log_probability: tf.Tensor
    """float32 [B]: natural logarithm of the model's own probability of these tokens and, if it came, the end
    token. The settings do not enter it, so it is what scoring the text gives."""
    is_complete: tf.Tensor
    """bool [B]: whether the end token or a stop text ended it; False where a limit did."""


class Generator:
    """Continues prompts with one model. The ids and limits below are Python numbers; all else are tensors.

    Args:
        model: a LanguageModel.
        end_id: the token that ends a text.
        pad_id: fills rows up. Never produced.
        suppressed_ids: further tokens that are never produced, such as start, unknown and separators.
        max_total_length: tokens of prompt and text together, counted row by row; None is no limit. A longer
            prompt is cut at its end, and nothing is produced. A row that has stopped goes on being read, as
            padding, while others run: `step` must bear positions beyond this limit.
        segment_length: steps between two extensions of the cache.
        text_fn: see `TextFn`; without it no stop text is looked for.
        choice_fn: from `choices` string [B, C] to `choice_ids` int32 [B, C, L], the tokens of each with the end token,
            filled up with -1, and -1 for ""; without it any text may come.
        compiled: whether the steps are compiled by XLA. The texts are the same; the shapes are fewer: prompts are
            padded to a power of two.
    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        end_id: int,
        pad_id: int,
        suppressed_ids: Sequence[int] = (),
        max_total_length: int | None = None,
        segment_length: int = 64,
        text_fn: TextFn | None = None,
        choice_fn: Callable[[tf.Tensor], tf.Tensor] | None = None,
        compiled: bool = False,
    ) -> None:
        _check_arguments(end_id, {pad_id, *suppressed_ids}, max_total_length, segment_length)
        self.model, self.max_total_length = model, max_total_length
        self.segment_length, self.choice_fn, self.compiled = segment_length, choice_fn, compiled
        self.vocabulary = Vocabulary(end_id, pad_id, tuple(suppressed_ids), text_fn)

    def generate(
        self,
        prompts: tf.RaggedTensor,
        settings: Mapping[str, tf.Tensor],
        context: Any = None,
    ) -> Generation:
        """Continues every prompt until its end token, a stop text or its limit.

        With a model that always counts on by one and ends after 9:

        >>> Generator(model, end_id=2, pad_id=0).generate([[1, 5], [1, 8]], settings)
        Generation(token_ids=[[6, 7, 8, 9], [9, 0, 0, 0]], num_tokens=[4, 1], ...)

        The model reads the prompts once and then one token a step, until every row has stopped: for n tokens and
        an end token, n steps. A segment of steps begins with `extend_state`; within it shapes are fixed, so that XLA
        can compile it. No value of `settings` fails: one outside its range acts like the
        nearest one inside (a repetition penalty of 0 or less is off), and NaN is greedy or off. The sizes of the
        batch and of the prompts may be unknown when this is traced; every op is one of TensorFlow's own.

        Args:
            prompts: int32 [B, (P)], no row empty: a task puts at least the start token.
            settings: a dict of tensors, see `settings_tensors`.
            context: what the model's encoder gave; goes to `initial_state`.
        Raises:
            UserError: settings are missing or of the wrong dtype.
            tf.errors.InvalidArgumentError: a prompt is empty (found when the graph runs).
        """
        progress = self.begin(prompts, settings, context)
        progress = self.advance(progress, tf.reduce_max(progress.limits), can_slide=context is None)
        rows, token_ids = progress.rows, self.produced(progress)
        return Generation(token_ids, rows.num_tokens, rows.log_probability, rows.has_ended | rows.has_stopped)

    def begin(
        self, prompts: tf.RaggedTensor, settings: Mapping[str, tf.Tensor], context: Any = None
    ) -> Progress:
        """Reads the prompts and chooses the first token of each row. Arguments and errors as of `generate`."""
        check_settings(settings)
        prompts = self.checked(prompts)
        limits = self.limits(prompts, settings, can_slide=context is None)
        pad_id = self.vocabulary.pad_id
        token_ids, num_padding = pad_left(prompts, pad_id, to_power_of_two=self.compiled)
        logits, state = self._read(token_ids, num_padding, context)
        num_rows, width = tf.unstack(tf.shape(token_ids))
        progress = Progress(
            model_state=state,
            rows=start_rows(limits, pad_id),
            settings=dict(settings),
            limits=limits,
            num_read=width - num_padding,
            prompt_ids=tf.where(tf.range(width)[None] < num_padding[:, None], -1, token_ids),
            choice_ids=self.choice_ids(settings),
            token_ids=tf.zeros([num_rows, 0], tf.int32),
            log_probabilities=tf.zeros([num_rows, 0]),
            num_steps=tf.constant(0),
        )
        return self.first_token(progress, logits)

    def advance(self, progress: Progress, num_tokens: int | tf.Tensor, can_slide: bool = True) -> Progress:
        """Goes on for `num_tokens` tokens a row, fewer when all rows stop. However the steps are parted, the texts are
        those of `generate`.

        Args:
            progress: from `begin` or an earlier `advance` of the same model and ids.
            num_tokens: int32 scalar.
            can_slide: False for a model with an encoder.
        """
        end = tf.minimum(progress.num_steps + num_tokens, tf.reduce_max(progress.limits))
        return run_segments(
            self.model,
            progress,
            self.vocabulary,
            end,
            self.segment_length,
            self.max_total_length if can_slide else None,
            self.compiled,
        )

    def produced(self, progress: Progress) -> tf.Tensor:
        """The tokens so far, int32 [B, N], filled up with pad_id; N is the largest number of them."""
        token_ids = progress.token_ids[:, : tf.reduce_max(progress.rows.num_tokens)]
        return tf.where(token_ids < 0, self.vocabulary.pad_id, token_ids)

    def written(self, progress: Progress) -> tf.Tensor:
        """The tokens so far with the end token of the texts that came to it, int32 [B, N], filled up with -1."""
        rows = progress.rows
        counts = rows.num_tokens + tf.cast(rows.has_ended, tf.int32)
        token_ids = tf.pad(progress.token_ids, [[0, 0], [0, 1]], constant_values=-1)[
            :, : tf.reduce_max(counts)
        ]
        places = tf.range(tf.shape(token_ids)[1])[None]
        is_end = rows.has_ended[:, None] & (places == rows.num_tokens[:, None])
        return tf.where(is_end, self.vocabulary.end_id, token_ids)

    def read(self, prompts: tf.RaggedTensor, context: Any = None) -> tuple[tf.Tensor, Any]:
        """Logits float32 [B, V] after prompts int32 [B, (P)], and the model's state."""
        return self._read(*pad_left(prompts, self.vocabulary.pad_id, to_power_of_two=self.compiled), context)

    def _read(self, token_ids: tf.Tensor, num_padding: tf.Tensor, context: Any) -> tuple[tf.Tensor, Any]:
        """Logits float32 [B, V] after prompts int32 [B, P], and the model's state."""

        def read(token_ids: tf.Tensor, num_padding: tf.Tensor, context: Any) -> tuple[tf.Tensor, Any]:
            num_rows, width = tf.unstack(tf.shape(token_ids))
            given = {} if context is None else {"context": context}
            state = self.model.initial_state(num_rows, width, num_padding=num_padding, **given)
            logits, state = self.model.step(token_ids, state, last_only=True)
            return logits[:, -1], state

        if self.compiled:
            read = tf.function(read, autograph=False, jit_compile=True)
        return read(token_ids, num_padding, context)

    def first_token(self, progress: Progress, logits: tf.Tensor) -> Progress:
        """The token that comes after logits float32 [B, V], in a Progress without any."""
        rows, new_ids, log_probabilities = append_token(
            progress.rows,
            progress.token_ids,
            logits,
            draw(progress.settings, 0, 1)[0],
            progress.rules(self.vocabulary),
        )
        progress = progress._replace(
            rows=rows,
            token_ids=new_ids[:, None],
            log_probabilities=log_probabilities[:, None],
            num_steps=tf.constant(1),
        )
        return stop_rows(progress, self.vocabulary, tf.constant(0))

    def choice_ids(self, settings: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """int32 [B, C, L]; see `keep_choices`."""
        if self.choice_fn is not None:
            return self.choice_fn(settings["choices"])
        return tf.fill([tf.size(settings["seed"]), 1, 1], -1)

    def limits(
        self, prompts: tf.RaggedTensor, settings: Mapping[str, tf.Tensor], can_slide: bool
    ) -> tf.Tensor:
        """How many tokens each row may produce, int32 [B]."""
        limits = tf.maximum(settings["max_new_tokens"], 0)
        if self.max_total_length is None:
            return limits
        left = self.max_total_length - tf.cast(prompts.row_lengths(), tf.int32)
        fitting = tf.minimum(limits, tf.maximum(left, 0))
        return tf.where(settings["slide"], limits, fitting) if can_slide else fitting

    def checked(self, prompts: tf.RaggedTensor) -> tf.RaggedTensor:
        """Prompts that are not empty and no longer than the limit."""
        tf.debugging.assert_positive(
            prompts.row_lengths(),
            "A prompt is empty, expected at least one token. Begin it with the start token.",
        )
        return prompts if self.max_total_length is None else prompts[:, : self.max_total_length]


def generate(
    model: LanguageModel,
    prompts: tf.RaggedTensor,
    settings: Mapping[str, tf.Tensor],
    *,
    context: Any = None,
    **arguments: Any,
) -> Generation:
    """`Generator(model, **arguments).generate(prompts, settings, context)`."""
    return Generator(model, **arguments).generate(prompts, settings, context)


def _check_arguments(
    end_id: int, never_produced: set[int], max_total_length: int | None, segment_length: int
) -> None:
    if end_id in never_produced:
        raise UserError(
            f"end_id {end_id} is pad_id or in suppressed_ids, {sorted(never_produced)} together, "
            "so no text could end. Give the end token an id of its own."
        )
    if segment_length < 1:
        raise UserError(f"segment_length is {segment_length}, expected at least 1. 64 suits most models.")
    if max_total_length is not None and max_total_length < 1:
        raise UserError(
            f"max_total_length is {max_total_length}, expected at least 1. "
            "Give the model's context length, or None."
        )
