"""Contrastive search: the likely token that repeats least what the text already says.

Source: Su et al. 2022, A Contrastive Framework for Neural Text Generation, section 4.2 (equation 5). For each of the k
likeliest tokens v, with probability p(v) and hidden state h(v) when the model reads it next,

    score(v) = (1 - alpha) p(v) - alpha max over j of cosine(h(v), h(x_j))

where x_j are all tokens before, those of the prompt too; the highest score wins. Hidden states are those that the head
reads. Nothing is drawn.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tflm.decoding.generator import Generation, Generator
from tflm.decoding.min_new_tokens import forbid_early_end
from tflm.decoding.pad_left import pad_left
from tflm.decoding.progress import LanguageModel
from tflm.decoding.rows import Rows, start_rows
from tflm.errors import UserError

MOST_CANDIDATES = 64
"""A larger `top_k` is taken as this: each candidate is a copy of the model's state."""

_DTYPES = {
    "penalty_alpha": tf.float32,
    "top_k": tf.int32,
    "min_new_tokens": tf.int32,
    "max_new_tokens": tf.int32,
}


class OpenModel(LanguageModel, Protocol):
    """A LanguageModel that shows its hidden states; the `LanguageModel` of tflm.models says how."""

    def step_hidden_states(self, token_ids: Any, state: Any) -> tuple[Any, Any]:
        """`step` before the head: float [B, K, D]."""

    def logits(self, hidden_states: Any) -> Any:
        """The head: float32 [..., V]."""


class _Moving(NamedTuple):
    """What changes from token to token."""

    state: Any
    """The model's, after all tokens."""
    logits: tf.Tensor
    """float32 [B, V] of the next token."""
    rows: Rows
    past: tf.Tensor
    """float32 [B, P + N, D]: the hidden state of each token, of length 1."""
    token_ids: tf.Tensor
    """int32 [B, N]: what was produced; -1 where nothing was."""
    num_steps: tf.Tensor
    """int32 scalar: columns of `token_ids` that are behind us; the rest is room."""


def contrastive_specs() -> dict[str, tf.TensorSpec]:
    """The settings: `penalty_alpha` float32 [B] from 0 (greedy) to 1, `top_k` int32 [B], how many candidates (1 is
    greedy), `min_new_tokens` and `max_new_tokens` int32 [B]. Su et al. use 0.6 and 4 to 8."""
    return {name: tf.TensorSpec([None], dtype, name) for name, dtype in _DTYPES.items()}


def contrastive_search(
    generator: Generator, prompts: tf.RaggedTensor, settings: Mapping[str, tf.Tensor], context: Any = None
) -> Generation:
    """Continues every prompt by contrastive search until its end token or its limit.

    A value outside its range acts like the nearest one in range; NaN is 0. All rows read as many candidates as the row
    with the most, 64 at most. `is_complete` tells whether the end token came.

    Args:
        generator: of an `OpenModel`.
        prompts: int32 [B, (P)], no row empty.
        settings: a dict of tensors, see `contrastive_specs`.
        context: what the model's encoder gave.
    Raises:
        UserError: settings are missing or unknown.
        tf.errors.InvalidArgumentError: a prompt is empty (found when the graph runs).
    """
    if settings.keys() != _DTYPES.keys():
        raise UserError(
            f"Settings of contrastive search are {sorted(settings)}, expected {sorted(_DTYPES)}. Give exactly these, "
            "each a tensor with a value for every row."
        )
    prompts = generator.checked(prompts)
    limits = generator.limits(prompts, settings, can_slide=False)
    return _Search(generator, settings, limits).run(prompts, context)


class _Search:
    """The loop."""

    def __init__(self, generator: Generator, settings: Mapping[str, tf.Tensor], limits: tf.Tensor) -> None:
        self.model: Any = generator.model
        self.vocabulary, self.segment_length = generator.vocabulary, generator.segment_length
        self.settings, self.limits = settings, limits
        alpha = settings["penalty_alpha"]
        self.alpha = tf.where(alpha > 0.0, tf.minimum(alpha, 1.0), 0.0)
        # Without a penalty the likeliest wins, however many others there are.
        top_k = tf.clip_by_value(settings["top_k"], 1, MOST_CANDIDATES)
        self.top_k = tf.where(self.alpha > 0.0, top_k, 1)

    def run(self, prompts: tf.RaggedTensor, context: Any) -> Generation:
        """Whole texts: in segments of fixed shapes, between which room is made."""
        start, is_prompt = self._begin(prompts, context)
        shapes = self._open_shapes(start)

        def running(now: _Moving) -> tf.Tensor:
            return tf.reduce_any(now.rows.is_running)

        def segment(now: _Moving) -> tuple[_Moving]:
            return tf.while_loop(
                lambda now: running(now) & (now.num_steps < tf.shape(now.token_ids)[1]),
                lambda now: (self._step(now, is_prompt),),
                (self._with_room(now),),
                shape_invariants=(shapes,),
            )

        end = tf.while_loop(running, segment, (start,), shape_invariants=(shapes,))[0]
        rows = end.rows
        token_ids = end.token_ids[:, : tf.reduce_max(rows.num_tokens)]
        token_ids = tf.where(token_ids < 0, self.vocabulary.pad_id, token_ids)
        return Generation(token_ids, rows.num_tokens, rows.log_probability, rows.has_ended)

    def _begin(self, prompts: tf.RaggedTensor, context: Any) -> tuple[_Moving, tf.Tensor]:
        """The prompts read; and which places of them, bool [B, P], are no padding."""
        pad_id = self.vocabulary.pad_id
        token_ids, num_padding = pad_left(prompts, pad_id)
        num_rows, width = tf.unstack(tf.shape(token_ids))
        given = {} if context is None else {"context": context}
        state = self.model.initial_state(num_rows, width, num_padding=num_padding, **given)
        hidden_states, state = self.model.step_hidden_states(token_ids, state)
        start = _Moving(
            state=state,
            logits=self.model.logits(hidden_states[:, -1]),
            rows=start_rows(self.limits, pad_id),
            past=_of_length_1(hidden_states),
            token_ids=tf.zeros([num_rows, 0], tf.int32),
            num_steps=tf.constant(0),
        )
        return start, tf.range(width)[None] >= num_padding[:, None]

    def _open_shapes(self, start: _Moving) -> _Moving:
        """The shapes of all that `start` may become."""
        # Of these only the shapes are used, so the graph drops them.
        extended = start._replace(state=self.model.extend_state(start.state, 1))
        shapes = tf.nest.map_structure(
            lambda old, new: tf.TensorShape(
                [one if one == other else None for one, other in zip(old.shape, new.shape, strict=True)]
            ),
            start,
            extended,
        )
        num_rows, _, dim = start.past.shape
        return shapes._replace(
            past=tf.TensorShape([num_rows, None, dim]), token_ids=tf.TensorShape([num_rows, None])
        )

    def _with_room(self, now: _Moving) -> _Moving:
        more = tf.minimum(self.segment_length, tf.reduce_max(self.limits) - now.num_steps)
        return now._replace(
            state=self.model.extend_state(now.state, more),
            past=tf.pad(now.past, [[0, 0], [0, more], [0, 0]]),
            token_ids=tf.pad(now.token_ids, [[0, 0], [0, more]], constant_values=-1),
        )

    def _step(self, now: _Moving, is_prompt: tf.Tensor) -> _Moving:
        """One token more: every candidate is read behind its text, and of the states the best one's stays."""
        possible = self._possible(now)
        count = tf.minimum(tf.reduce_max(self.top_k), tf.shape(possible)[1])
        likeliest = tf.math.top_k(possible, count)  # in falling order, the first among equals first
        is_candidate = (tf.range(count)[None] < self.top_k[:, None]) & (likeliest.values > float("-inf"))
        copies = tf.nest.map_structure(
            lambda leaf: tf.repeat(leaf, count, axis=0) if leaf.shape.rank else leaf, now.state
        )
        read = tf.reshape(likeliest.indices, [-1, 1])
        hidden_states, copies = self.model.step_hidden_states(read, copies)
        num_rows, width = tf.unstack(tf.shape(now.past)[:2])
        candidates = tf.reshape(_of_length_1(hidden_states), [num_rows, count, now.past.shape[2]])

        columns = tf.range(width - tf.shape(is_prompt)[1])[None]
        is_produced = tf.repeat(columns < now.num_steps, num_rows, axis=0)
        is_past = tf.concat([is_prompt, is_produced], axis=1)[:, None]
        cosines = tf.matmul(candidates, now.past, transpose_b=True)  # [B, K, P + N]
        repetition = tf.reduce_max(tf.where(is_past, cosines, -2.0), axis=2)
        probabilities = tf.exp(likeliest.values - tf.reduce_logsumexp(possible, axis=1, keepdims=True))
        alpha = self.alpha[:, None]
        scores = (1.0 - alpha) * probabilities - alpha * repetition
        best = tf.math.top_k(tf.where(is_candidate, scores, float("-inf")), 1).indices[:, 0]

        tokens = tf.gather(likeliest.indices, best, batch_dims=1)
        tokens = tf.where(is_candidate[:, 0], tokens, self.vocabulary.end_id)
        rows, new_ids = self._append(now, tokens)
        place = tf.range(num_rows) * count + best
        state = tf.nest.map_structure(
            lambda leaf: tf.gather(leaf, place) if leaf.shape.rank else leaf, copies
        )
        chosen = tf.gather(candidates, best, batch_dims=1)[:, None]
        is_here = (tf.range(width) == tf.shape(is_prompt)[1] + now.num_steps)[None, :, None]
        return _Moving(
            state=state,
            logits=self.model.logits(tf.gather(hidden_states[:, 0], place)),
            rows=rows,
            past=tf.where(is_here, chosen, now.past),
            token_ids=tf.where(columns == now.num_steps, new_ids[:, None], now.token_ids),
            num_steps=now.num_steps + 1,
        )

    def _possible(self, now: _Moving) -> tf.Tensor:
        """The logits, -inf where a token cannot come."""
        never = tf.constant([self.vocabulary.pad_id, *self.vocabulary.suppressed_ids])
        is_never = tf.reduce_any(tf.range(tf.shape(now.logits)[1]) == never[:, None], axis=0)
        logits = tf.where(tf.math.is_finite(now.logits) & ~is_never, now.logits, float("-inf"))
        minimum = self.settings["min_new_tokens"]
        return forbid_early_end(logits, now.rows.num_tokens, minimum, self.vocabulary.end_id)

    def _append(self, now: _Moving, tokens: tf.Tensor) -> tuple[Rows, tf.Tensor]:
        """int32 [B] behind the texts: the rows, and the new tokens, -1 in rows that produced none."""
        rows, vocabulary = now.rows, self.vocabulary
        chosen = tf.gather(now.logits, tokens[:, None], batch_dims=1)[:, 0]
        log_probability = chosen - tf.reduce_logsumexp(now.logits, axis=1)
        is_produced = rows.is_running & (tokens != vocabulary.end_id)
        num_tokens = rows.num_tokens + tf.cast(is_produced, tf.int32)
        rows = rows._replace(
            token_ids=tf.where(is_produced, tokens, vocabulary.pad_id),
            is_running=is_produced & (num_tokens < self.limits),
            has_ended=rows.has_ended | (rows.is_running & ~is_produced),
            num_tokens=num_tokens,
            log_probability=rows.log_probability + tf.where(rows.is_running, log_probability, 0.0),
        )
        return rows, tf.where(is_produced, tokens, -1)


def _of_length_1(hidden_states: tf.Tensor) -> tf.Tensor:
    """float32, so that a product of two is their cosine."""
    return tf.math.l2_normalize(tf.cast(hidden_states, tf.float32), axis=-1)
