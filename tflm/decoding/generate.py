"""The generation loop: the prompts at once, then one token a step, in segments that grow the cache."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

import tensorflow as tf

from tflm.decoding.config import check_settings
from tflm.decoding.pad_left import pad_left
from tflm.decoding.rows import Rows, Rules, append_token, start_rows
from tflm.decoding.uniforms import uniforms
from tflm.errors import UserError


class LanguageModel(Protocol):
    """What `generate` asks of a model; docs/architecture.md, "Model". A state is a nest of tensors."""

    def initial_state(
        self, batch_size: Any, max_length: Any, num_padding: Any = None, context: Any = None
    ) -> Any:
        """A state for `max_length` positions; `num_padding` int32 [B] of the first hold no token."""

    def step(self, token_ids: Any, state: Any, last_only: bool = False) -> tuple[Any, Any]:
        """Reads int32 [B, K]; returns logits float32 [B, K or 1, V] and a state of the same shapes."""

    def extend_state(self, state: Any, num_positions: Any) -> Any:
        """The state with room for `num_positions` (int32 scalar) more."""


class Progress(NamedTuple):
    """Texts on their way: what `begin` returns and `advance` goes on from. All tensors, so it can cross the wire."""

    model_state: Any
    """The model's own state, after all tokens but the newest."""
    rows: Rows
    settings: Mapping[str, tf.Tensor]
    limits: tf.Tensor
    """int32 [B]: tokens that a row may produce."""
    token_ids: tf.Tensor
    """int32 [B, N]: what was produced so far, without the end token, then pad_id."""


class Generation(NamedTuple):
    """What `generate` returns."""

    token_ids: tf.Tensor
    """int32 [B, N]: the produced tokens without the end token, then pad_id. N is the largest num_tokens."""
    num_tokens: tf.Tensor
    """int32 [B]: tokens produced, without the end token."""
    log_probability: tf.Tensor
    """float32 [B]: natural logarithm of the model's own probability of these tokens and, if it came, the end
    token. The settings do not enter it, so it is what scoring the text gives."""


def generate(
    model: LanguageModel,
    prompts: tf.RaggedTensor,
    settings: Mapping[str, tf.Tensor],
    *,
    end_id: int,
    pad_id: int,
    suppressed_ids: Sequence[int] = (),
    context: Any = None,
    max_total_length: int | None = None,
    segment_length: int = 64,
) -> Generation:
    """Continues every prompt until its end token or its limit.

    With a model that always counts on by one and ends after 9:

    >>> generate(model, [[1, 5], [1, 8]], settings, end_id=2, pad_id=0)
    Generation(token_ids=[[6, 7, 8, 9], [9, 0, 0, 0]], num_tokens=[4, 1], ...)

    The model reads the prompts once and then one token a step, until every row has stopped: for n tokens and
    an end token, n steps. A segment of steps begins with `extend_state`; within it shapes are fixed, so that
    TensorFlow can update a cache in place. No value of `settings` fails: one outside its range acts like the
    nearest one inside (a repetition penalty of 0 or less is off), and NaN is greedy or off. The sizes of the
    batch and of the prompts may be unknown when this is traced; every op is one of TensorFlow's own.

    Args:
        model: a LanguageModel.
        prompts: int32 [B, (P)], no row empty: a task puts at least the start token.
        settings: a dict of [B] tensors, see `settings_tensors`.
        end_id: the token that ends a text.
        pad_id: fills rows up. Never produced.
        suppressed_ids: further tokens that are never produced, such as start, unknown and separators.
        context: what the model's encoder gave; goes to `initial_state`.
        max_total_length: tokens of prompt and text together, counted row by row; None is no limit. A longer
            prompt is cut at its end, and nothing is produced. A row that has stopped goes on being read, as
            padding, while others run: `step` must bear positions beyond this limit.
        segment_length: steps between two extensions of the cache.
    Returns:
        Generation.
    Raises:
        UserError: settings are missing or of the wrong dtype, or an argument is out of range.
        tf.errors.InvalidArgumentError: a prompt is empty (found when the graph runs).
    """
    _check_arguments(end_id, {pad_id, *suppressed_ids}, max_total_length, segment_length)
    ids: _Ids = {"end_id": end_id, "pad_id": pad_id, "suppressed_ids": suppressed_ids}
    progress = begin(model, prompts, settings, context=context, max_total_length=max_total_length, **ids)
    everything = tf.reduce_max(progress.limits)
    progress = advance(model, progress, everything, segment_length=segment_length, **ids)
    rows = progress.rows
    token_ids = progress.token_ids[:, : tf.reduce_max(rows.num_tokens)]
    return Generation(token_ids, rows.num_tokens, rows.log_probability)


class _Ids(TypedDict):
    end_id: int
    pad_id: int
    suppressed_ids: Sequence[int]


def begin(
    model: LanguageModel,
    prompts: tf.RaggedTensor,
    settings: Mapping[str, tf.Tensor],
    *,
    end_id: int,
    pad_id: int,
    suppressed_ids: Sequence[int] = (),
    context: Any = None,
    max_total_length: int | None = None,
) -> Progress:
    """Reads the prompts and chooses the first token of each row. Arguments and errors as of `generate`."""
    check_settings(dict(settings))
    prompts, limits = _fit(prompts, settings["max_new_tokens"], max_total_length)
    token_ids, num_padding = pad_left(prompts, pad_id)
    batch_size, width = tf.unstack(tf.shape(token_ids))
    given = {} if context is None else {"context": context}
    state = model.initial_state(batch_size, width, num_padding=num_padding, **given)
    logits, state = model.step(token_ids, state, last_only=True)
    suppressed = _token_mask([pad_id, *suppressed_ids], tf.shape(logits)[-1])
    rules = Rules(settings, limits, suppressed, end_id, pad_id)
    rows = append_token(start_rows(prompts, rules), logits[:, -1], _draw(settings, 0, 1)[0], rules)
    return Progress(state, rows, settings, limits, rows.token_ids[:, None])


def advance(
    model: LanguageModel,
    progress: Progress,
    num_tokens: int | tf.Tensor,
    *,
    end_id: int,
    pad_id: int,
    suppressed_ids: Sequence[int] = (),
    segment_length: int = 64,
) -> Progress:
    """Goes on for `num_tokens` tokens a row, fewer when all rows stop. However the steps are parted, the texts are
    those of `generate`.

    Args:
        model: a LanguageModel.
        progress: from `begin` or an earlier `advance` with the same model and ids.
        num_tokens: int32 scalar.
    """
    suppressed = _token_mask([pad_id, *suppressed_ids], tf.shape(progress.rows.seen)[1])
    rules = Rules(progress.settings, progress.limits, suppressed, end_id, pad_id)
    # The last token that a limit allows is not read.
    end = tf.minimum(tf.shape(progress.token_ids)[1] + num_tokens, tf.reduce_max(progress.limits)) - 1
    return _run_segments(model, progress, rules, end, segment_length)


def progress_specs(model: LanguageModel, progress: Progress) -> Progress:
    """A Progress of TensorSpecs that fit this one and all that `advance` makes of it: what grows is open."""
    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), progress)
    extended = model.extend_state(progress.model_state, 1)
    state = tf.nest.map_structure(
        lambda old, new: tf.TensorSpec(_common_shape(old, new), old.dtype), progress.model_state, extended
    )
    return specs._replace(model_state=state, token_ids=tf.TensorSpec([None, None], tf.int32))


def _run_segments(
    model: LanguageModel, progress: Progress, rules: Rules, end: tf.Tensor, segment_length: int
) -> Progress:
    """Steps up to number `end`, counted from the first token after the prompt."""

    def body(start: tf.Tensor, token_ids: tf.Tensor, rows: Rows, state: Any) -> tuple:
        length = tf.minimum(segment_length, end - start)
        state = model.extend_state(state, length)
        numbers = _draw(rules.settings, start + 1, length)
        new_ids, rows, state = _run_segment(model, state, rows, rules, numbers)
        return start + length, tf.concat([token_ids, new_ids], axis=1), rows, state

    token_ids, rows, state = progress.token_ids, progress.rows, progress.model_state
    start = tf.shape(token_ids)[1] - 1
    # Which dimensions grow: the loop must know while it is traced. Of this extension only the shape is used,
    # so the graph drops it.
    shapes = (
        start.shape,
        tf.TensorShape([token_ids.shape[0], None]),
        tf.nest.map_structure(lambda x: x.shape, rows),
        tf.nest.map_structure(_common_shape, state, model.extend_state(state, 1)),
    )
    _, token_ids, rows, state = tf.while_loop(
        lambda start, token_ids, rows, state: (start < end) & tf.reduce_any(rows.is_running),
        body,
        (start, token_ids, rows, state),
        shape_invariants=shapes,
    )
    return Progress(state, rows, progress.settings, progress.limits, token_ids)


def _run_segment(
    model: LanguageModel, state: Any, rows: Rows, rules: Rules, numbers: tf.Tensor
) -> tuple[tf.Tensor, Rows, Any]:
    """One step for each of `numbers` float64 [N, B], fewer when all stop. The tokens are int32 [B, N]."""
    length = tf.shape(numbers)[0]

    def body(index: tf.Tensor, token_ids: tf.Tensor, rows: Rows, state: Any) -> tuple:
        logits, state = model.step(rows.token_ids[:, None], state, last_only=True)
        rows = append_token(rows, logits[:, -1], numbers[index], rules)
        token_ids = tf.tensor_scatter_nd_update(token_ids, [[index]], rows.token_ids[None])
        return index + 1, token_ids, rows, state

    token_ids = tf.fill([length, tf.size(rows.token_ids)], rules.pad_id)
    _, token_ids, rows, state = tf.while_loop(
        lambda index, token_ids, rows, state: (index < length) & tf.reduce_any(rows.is_running),
        body,
        (tf.constant(0), token_ids, rows, state),
    )
    return tf.transpose(token_ids), rows, state


def _draw(settings: Mapping[str, tf.Tensor], start: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """Random numbers for tokens `start` and on: float64 [count, B], zeros when every row is greedy."""
    seed = settings["seed"]
    return tf.cond(
        tf.reduce_any(settings["temperature"] > 0.0),
        lambda: tf.transpose(uniforms(seed, start, count)),
        lambda: tf.zeros([count, tf.size(seed)], tf.float64),
    )


def _fit(
    prompts: tf.RaggedTensor, max_new_tokens: tf.Tensor, max_total_length: int | None
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Prompts no longer than the limit, and the number of tokens that each row may produce, int32 [B]."""
    tf.debugging.assert_positive(
        prompts.row_lengths(),
        "A prompt is empty, expected at least one token. Begin it with the start token.",
    )
    limits = tf.maximum(max_new_tokens, 0)
    if max_total_length is None:
        return prompts, limits
    prompts = prompts[:, :max_total_length]
    return prompts, tf.minimum(limits, max_total_length - tf.cast(prompts.row_lengths(), tf.int32))


def _token_mask(token_ids: Sequence[int], vocab_size: tf.Tensor) -> tf.Tensor:
    """bool [V], True at the given ids."""
    return tf.reduce_any(tf.range(vocab_size) == tf.constant(token_ids, tf.int32)[:, None], axis=0)


def _common_shape(first: tf.Tensor, second: tf.Tensor) -> tf.TensorShape:
    """The static shape of both: a dimension that `extend_state` changes is unknown."""
    pairs = zip(first.shape, second.shape, strict=True)
    return tf.TensorShape([one if one == other else None for one, other in pairs])


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
