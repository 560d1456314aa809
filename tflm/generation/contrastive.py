"""Contrastive search (Su et al., 2022, A Contrastive Framework for Neural Text Generation, section 4.2, equation 5).

For each of the k most likely tokens v, with probability p(v) and hidden state h(v) when the model reads it next,

    score(v) = (1 - alpha) p(v) - alpha max over j of cosine(h(v), h(x_j))

where x_j are all earlier tokens, including the prompt; the highest score wins. Hidden states are those that the output
layer reads. The method is deterministic.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tflm.errors import UserError
from tflm.generation.constraints import forbid_early_end
from tflm.generation.generator import Generation, Generator
from tflm.generation.loop import SegmentedLoop
from tflm.generation.rows import Rows, record_token, start_rows
from tflm.generation.sampling import mask_suppressed
from tflm.generation.settings import Settings, repeat_rows
from tflm.generation.state import GenerativeModel
from tflm.generation.window import pad_left

MAX_CANDIDATES = 64
"""The largest `top_k`, to which larger ones are clipped: each candidate is a copy of the model's state."""

_DTYPES = {
    "penalty_alpha": tf.float32,
    "top_k": tf.int32,
    "min_new_tokens": tf.int32,
    "max_new_tokens": tf.int32,
}


class HiddenStateModel(GenerativeModel, Protocol):
    """A GenerativeModel that exposes its hidden states; see `LanguageModel` of tflm.models."""

    def step_hidden_states(self, token_ids: Any, state: Any) -> tuple[Any, Any]:
        """`step` without the output layer: float [B, K, D]."""

    def logits(self, hidden_states: Any) -> Any:
        """The output layer: float32 [..., V]."""


def contrastive_specs() -> dict[str, tf.TensorSpec]:
    """The settings: `penalty_alpha` float32 [B] from 0 (greedy) to 1; `top_k` int32 [B], the number of candidates (1 is
    greedy); `min_new_tokens` and `max_new_tokens` int32 [B]. Su et al. use 0.6 and 4 to 8."""
    return {name: tf.TensorSpec([None], dtype, name) for name, dtype in _DTYPES.items()}


def contrastive_search(
    generator: Generator, prompts: tf.RaggedTensor, settings: Settings, context: Any = None
) -> Generation:
    """Continues every prompt by contrastive search until its end token or its limit.

    A value out of range acts like the nearest in range; NaN is 0. All rows read as many candidates as the row with the
    most, at most 64. `is_complete` is whether the end token was generated.

    Args:
        generator: of a `HiddenStateModel`.
        prompts: int32 [B, (P)], no row empty.
        settings: a dict of tensors, see `contrastive_specs`.
        context: output of the model's encoder.
    Raises:
        UserError: settings are missing or unknown.
        tf.errors.InvalidArgumentError: a prompt is empty (when the graph runs).
    """
    if settings.keys() != _DTYPES.keys():
        raise UserError(
            f"Settings of contrastive search are {sorted(settings)}, expected {sorted(_DTYPES)}. Give exactly these, "
            "each a tensor with a value for every row."
        )
    prompts = generator.checked(prompts)
    limits = generator.limits(prompts, settings, can_slide=False)
    pad_id = generator.vocabulary.pad_id
    start, is_prompt = _read_prompts(generator.model, prompts, limits, pad_id, context)
    end = _ContrastiveLoop(generator, settings, limits, is_prompt).run(start)
    token_ids = end.token_ids[:, : tf.reduce_max(end.rows.num_tokens)]
    return Generation(
        token_ids=tf.where(token_ids < 0, pad_id, token_ids),
        num_tokens=end.rows.num_tokens,
        log_probability=end.rows.log_probability,
        is_complete=end.rows.has_ended,
    )


class _SearchState(NamedTuple):
    """The loop state."""

    model_state: Any
    """After all tokens."""
    logits: tf.Tensor
    """float32 [B, V] of the next token."""
    rows: Rows
    past: tf.Tensor
    """float32 [B, P + N, D]: the normalized hidden state of each token."""
    token_ids: tf.Tensor
    """int32 [B, N]: the generated tokens, padded with -1."""
    num_steps: tf.Tensor
    """int32 scalar: columns of `token_ids` in use; the others are room."""


def _read_prompts(
    model: Any, prompts: tf.RaggedTensor, limits: tf.Tensor, pad_id: int, context: Any
) -> tuple[_SearchState, tf.Tensor]:
    """The state after the prompts, and which of their positions are no padding, bool [B, P]."""
    token_ids, num_padding = pad_left(prompts, pad_id)
    num_rows, width = tf.unstack(tf.shape(token_ids))
    given = {} if context is None else {"context": context}
    model_state = model.initial_state(num_rows, width, num_padding=num_padding, **given)
    hidden_states, model_state = model.step_hidden_states(token_ids, model_state)
    start = _SearchState(
        model_state=model_state,
        logits=model.logits(hidden_states[:, -1]),
        rows=start_rows(limits, pad_id),
        past=_normalized(hidden_states),
        token_ids=tf.zeros([num_rows, 0], tf.int32),
        num_steps=tf.constant(0),
    )
    return start, tf.range(width)[None] >= num_padding[:, None]


class _ContrastiveLoop(SegmentedLoop):
    """The search after the prompts. A segment is the number of steps at its end, int32 scalar."""

    def __init__(
        self, generator: Generator, settings: Settings, limits: tf.Tensor, is_prompt: tf.Tensor
    ) -> None:
        self.model: Any = generator.model
        self.vocabulary, self.segment_length = generator.vocabulary, generator.segment_length
        self.min_new_tokens, self.limits, self.is_prompt = settings["min_new_tokens"], limits, is_prompt
        alpha = settings["penalty_alpha"]
        self.alpha = tf.where(alpha > 0.0, tf.minimum(alpha, 1.0), 0.0)
        # Without a penalty the most likely token wins, whatever the other candidates.
        top_k = tf.clip_by_value(settings["top_k"], 1, MAX_CANDIDATES)
        self.top_k = tf.where(self.alpha > 0.0, top_k, 1)

    def is_running(self, state: _SearchState) -> tf.Tensor:
        return tf.reduce_any(state.rows.is_running)

    def with_room(self, state: _SearchState, count: tf.Tensor | int) -> _SearchState:
        return state._replace(
            model_state=self.model.extend_state(state.model_state, count),
            past=tf.pad(state.past, [[0, 0], [0, count], [0, 0]]),
            token_ids=tf.pad(state.token_ids, [[0, 0], [0, count]], constant_values=-1),
        )

    def begin_segment(self, state: _SearchState) -> tuple[_SearchState, tf.Tensor]:
        length = tf.minimum(self.segment_length, tf.reduce_max(self.limits) - state.num_steps)
        return self.with_room(state, length), state.num_steps + length

    def has_steps(self, state: _SearchState, segment: tf.Tensor) -> tf.Tensor:
        return (state.num_steps < segment) & self.is_running(state)

    def step(self, state: _SearchState, segment: tf.Tensor) -> _SearchState:
        """Reads every candidate after its text, and keeps the state of the best one."""
        logits = self._masked_logits(state)
        count = tf.minimum(tf.reduce_max(self.top_k), tf.shape(logits)[1])
        top = tf.math.top_k(logits, count)  # in descending order, ties by the smallest id
        is_candidate = (tf.range(count)[None] < self.top_k[:, None]) & (top.values > float("-inf"))
        copies = repeat_rows(state.model_state, count)
        read = tf.reshape(top.indices, [-1, 1])
        hidden_states, copies = self.model.step_hidden_states(read, copies)
        num_rows, width = tf.unstack(tf.shape(state.past)[:2])
        candidates = tf.reshape(_normalized(hidden_states), [num_rows, count, state.past.shape[2]])

        prompt_width = tf.shape(self.is_prompt)[1]
        columns = tf.range(width - prompt_width)[None]
        is_generated = tf.repeat(columns < state.num_steps, num_rows, axis=0)
        is_past = tf.concat([self.is_prompt, is_generated], axis=1)
        probabilities = tf.exp(top.values - tf.reduce_logsumexp(logits, axis=1, keepdims=True))
        alpha = self.alpha[:, None]
        scores = (1.0 - alpha) * probabilities - alpha * _similarity(candidates, state.past, is_past)
        best = tf.math.top_k(tf.where(is_candidate, scores, float("-inf")), 1).indices[:, 0]
        tokens = tf.gather(top.indices, best, batch_dims=1)
        tokens = tf.where(is_candidate[:, 0], tokens, self.vocabulary.end_ids[0])
        rows, new_ids, _ = record_token(
            state.rows, tokens, state.logits, self.limits, self.vocabulary.end_ids, self.vocabulary.pad_id
        )

        place = tf.range(num_rows) * count + best
        chosen = tf.gather(candidates, best, batch_dims=1)[:, None]
        is_here = (tf.range(width) == prompt_width + state.num_steps)[None, :, None]
        return _SearchState(
            model_state=_map_rows(lambda leaf: tf.gather(leaf, place), copies),
            logits=self.model.logits(tf.gather(hidden_states[:, 0], place)),
            rows=rows,
            past=tf.where(is_here, chosen, state.past),
            token_ids=tf.where(columns == state.num_steps, new_ids[:, None], state.token_ids),
            num_steps=state.num_steps + 1,
        )

    def _masked_logits(self, state: _SearchState) -> tf.Tensor:
        vocabulary = self.vocabulary
        logits = mask_suppressed(state.logits, (vocabulary.pad_id, *vocabulary.suppressed_ids))
        return forbid_early_end(logits, state.rows.num_tokens, self.min_new_tokens, vocabulary.end_ids)


def _map_rows(function: Callable[[tf.Tensor], tf.Tensor], model_state: Any) -> Any:
    """Applies a function to every tensor that has a row for each text, which are all but scalars."""
    return tf.nest.map_structure(lambda leaf: function(leaf) if leaf.shape.rank else leaf, model_state)


def _normalized(hidden_states: tf.Tensor) -> tf.Tensor:
    """Unit vectors in float32, whose dot product is the cosine."""
    return tf.math.l2_normalize(tf.cast(hidden_states, tf.float32), axis=-1)


def _similarity(candidates: tf.Tensor, past: tf.Tensor, is_past: tf.Tensor) -> tf.Tensor:
    """The largest cosine of each candidate [B, K, D] with an earlier token [B, P + N, D], of which those in bool
    [B, P + N] are in use: float32 [B, K]."""
    cosines = tf.matmul(candidates, past, transpose_b=True)  # [B, K, P + N]
    return tf.reduce_max(tf.where(is_past[:, None], cosines, -2.0), axis=2)
