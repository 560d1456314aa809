"""Speculative sampling: a small draft model proposes tokens, and the target model verifies them all in one step.

The text has the target model's own distribution, whatever the draft is; a good draft makes it faster. Sources:
Leviathan et al., 2023, Fast Inference from Transformers via Speculative Decoding, algorithm 1; Chen et al., 2023,
Accelerating Large Language Model Decoding with Speculative Sampling, algorithm 2.

A round: the draft generates k tokens one by one; the target model reads the newest token and these in one step, which
costs about as much as reading one. From the left, each draft token is accepted with probability min(1, p / q). The
first rejected one is resampled from the normalized positive part of p - q; if none was rejected, one more token is
sampled from p. Here p and q are the distributions of target and draft under the settings. The number of accepted tokens
differs by row; `rewind` removes the rejected ones from the models' states.
"""

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tflm.errors import UserError
from tflm.generation.constraints import is_end
from tflm.generation.generator import Generation, Generator
from tflm.generation.loop import SegmentedLoop
from tflm.generation.sampling import Distribution, sample, step_uniforms
from tflm.generation.settings import Settings
from tflm.generation.state import GenerationState, GenerativeModel, LoopVariables, Vocabulary
from tflm.generation.stop import stop_rows

MAX_DRAFT_TOKENS = 32
"""The largest `num_draft_tokens`, to which larger ones are clipped."""

_ACCEPT, _DRAFT = 2**29, 2**30
"""Offsets, in a row's sequence of random numbers, of those that accept and of those that draft."""


class RewindableModel(GenerativeModel, Protocol):
    """A GenerativeModel that can remove tokens from its state; see `LanguageModel` of tflm.models."""

    can_rewind: bool

    def rewind(self, state: Any, num_positions: Any) -> Any:
        """The state without the last int32 [B] tokens of each row."""


class Speculation(NamedTuple):
    """What `speculate` returns."""

    state: GenerationState
    num_accepted: tf.Tensor
    """int32 [B]: tokens of the text, including an end token, that the draft proposed."""
    num_drafted: tf.Tensor
    """int32 [B]: tokens that it proposed."""


class SpeculativeGeneration(NamedTuple):
    """What `speculative_generate` returns: a `Generation` and acceptance counts."""

    generation: Generation
    num_accepted: tf.Tensor
    """int32 [B]: tokens of the text, including an end token, that the draft proposed. Each other token took one step of
    the target model: `num_tokens / (num_tokens - num_accepted)` tokens per step."""
    num_drafted: tf.Tensor
    """int32 [B]: tokens that it proposed."""


def speculative_generate(
    model: RewindableModel,
    draft: RewindableModel,
    prompts: tf.RaggedTensor,
    settings: Settings,
    *,
    num_draft_tokens: int | tf.Tensor = 4,
    **arguments: Any,
) -> SpeculativeGeneration:
    """`generate`, with a draft. Greedy rows give the same tokens; sampled ones others of the same distribution.

    Args:
        model, prompts, settings, arguments: as of `generate`. `slide` is off.
        draft: a model of the same vocabulary.
        num_draft_tokens: int, or int32 [B]: tokens drafted per round, at most 32; 0 is `generate`, token for token.
    Raises:
        UserError: as `generate`, and if a model cannot rewind.
    """
    generator = Generator(model, **arguments)
    state = generator.begin(prompts, without_slide(settings))
    found = speculate(generator, draft, state, num_draft_tokens)
    return SpeculativeGeneration(generator.result(found.state), found.num_accepted, found.num_drafted)


def without_slide(settings: Settings) -> dict[str, tf.Tensor]:
    """The settings with `slide` off: a draft cannot follow a model that re-reads half of its context."""
    off = {"slide": tf.zeros_like(settings["slide"])} if "slide" in settings else {}
    return {**settings, **off}


def speculate(
    generator: Generator,
    draft: RewindableModel,
    state: GenerationState,
    num_draft_tokens: int | tf.Tensor,
) -> Speculation:
    """Continues every row to its end.

    Random numbers: of a row's sequence (see `uniforms`), number n samples the token at position n, as in `generate`;
    number 2^29 + n accepts the draft token at position n, and 2^30 + n samples it. A position may be drafted again
    after an earlier token was rejected; the first draft token there is then part of nothing that was kept, so its
    random number can be reused. So a row's text depends on its seed, prompt, settings and `num_draft_tokens`, and not
    on its neighbours.

    Args:
        generator: of the target model.
        draft: the draft model.
        state: from `generator.begin`, with `slide` off.
        num_draft_tokens: int, or int32 [B].
    Raises:
        UserError: a model cannot rewind.
    """
    for name, each in (("model", generator.model), ("draft", draft)):
        if not getattr(each, "can_rewind", False):
            raise UserError(
                f"Speculative generation: the {name}, a {type(each).__name__}, cannot take back what it has read. "
                "Both models are Transformers."
            )
    loop = _SpeculativeLoop(generator, draft, state, num_draft_tokens)
    end = loop.run(loop.start())
    return Speculation(state.with_variables(end.target), end.num_accepted, end.num_drafted)


class _RoundState(NamedTuple):
    """The loop state."""

    target: LoopVariables
    """The target model's state holds all tokens but the newest."""
    draft_state: Any
    """All tokens but the two newest: the draft never reads the last token that it proposes."""
    previous_ids: tf.Tensor
    """int32 [B]: the token before the newest."""
    uniforms: tf.Tensor
    """float64 [B, N, 3]: for each position of the text, to sample, to accept, to draft."""
    num_accepted: tf.Tensor
    num_drafted: tf.Tensor


class _SpeculativeLoop(SegmentedLoop):
    """The rounds. A segment is the number of columns of the text, int32 scalar."""

    def __init__(
        self,
        generator: Generator,
        draft: RewindableModel,
        state: GenerationState,
        num_draft_tokens: int | tf.Tensor,
    ) -> None:
        self.model: Any = generator.model
        self.draft, self.state, self.vocabulary = draft, state, generator.vocabulary
        self.segment_length = generator.segment_length
        self.distribution = Distribution(state.invariants(generator.vocabulary))
        num_draft = tf.clip_by_value(num_draft_tokens, 0, MAX_DRAFT_TOKENS)
        self.num_draft = tf.zeros_like(state.limits) + num_draft
        self.most_read = tf.maximum(tf.reduce_max(self.num_draft), 1) + 1
        """int32 scalar: K + 1 of the longest round."""

    def start(self) -> _RoundState:
        """The draft reads the prompts too."""
        state = self.state
        is_padding = state.prompt_ids < 0
        token_ids = tf.where(is_padding, self.vocabulary.pad_id, state.prompt_ids)
        num_rows, width = tf.unstack(tf.shape(token_ids))
        num_padding = tf.math.count_nonzero(is_padding, axis=1, dtype=tf.int32)
        draft_state = self.draft.initial_state(num_rows, width, num_padding=num_padding)
        _, draft_state = self.draft.step(token_ids, draft_state, last_only=True)
        zeros = tf.zeros_like(state.limits)
        return _RoundState(
            target=state.variables(),
            draft_state=self.draft.rewind(draft_state, zeros + 1),
            previous_ids=token_ids[:, -1],
            uniforms=self._uniforms(0, tf.shape(state.token_ids)[1]),
            num_accepted=zeros,
            num_drafted=zeros,
        )

    def is_running(self, state: _RoundState) -> tf.Tensor:
        return tf.reduce_any(state.target.rows.is_running)

    def with_room(self, state: _RoundState, count: tf.Tensor | int) -> _RoundState:
        return state._replace(
            target=state.target.with_room(self.model, count),
            draft_state=self.draft.extend_state(state.draft_state, count),
            uniforms=tf.pad(state.uniforms, [[0, 0], [0, count], [0, 0]]),
        )

    def begin_segment(self, state: _RoundState) -> tuple[_RoundState, tf.Tensor]:
        """Room for the longest round and a segment more."""
        longest, width = tf.reduce_max(state.target.rows.num_tokens), tf.shape(state.target.token_ids)[1]
        left = tf.minimum(self.segment_length, tf.reduce_max(self.state.limits) - longest)
        more = tf.maximum(longest + left + self.most_read - width, 0)
        uniforms = tf.concat([state.uniforms, self._uniforms(width, more)], axis=1)
        return self.with_room(state, more)._replace(uniforms=uniforms), width + more

    def has_steps(self, state: _RoundState, segment: tf.Tensor) -> tf.Tensor:
        fits = tf.reduce_max(state.target.rows.num_tokens) + self.most_read <= segment
        return self.is_running(state) & fits

    def step(self, state: _RoundState, segment: tf.Tensor) -> _RoundState:
        """One round."""
        now = self.state.with_variables(state.target)
        rows = now.rows
        # The last token of a row need not be drafted: each round gives one token more than it accepts.
        left = tf.where(rows.is_running, now.limits - rows.num_tokens - 1, 0)
        num_draft = tf.minimum(self.num_draft, left)
        count = tf.maximum(tf.reduce_max(num_draft), 1)  # K
        places = rows.num_tokens[:, None] + tf.range(count + 1)
        uniforms = tf.gather(state.uniforms, places, batch_dims=1)  # [B, K + 1, 3]
        draft_ids, proposed, draft_state = self._propose(state, uniforms[:, :, 2])
        read = tf.concat([rows.token_ids[:, None], draft_ids], axis=1)
        logits, model_state = self.model.step(read, now.model_state)
        target = self.distribution.after_each(logits, now.token_ids, rows.num_tokens, draft_ids)
        tokens, num_accepted = accept(
            target, proposed, draft_ids, num_draft, uniforms[:, :-1, 1], uniforms[:, :, 0]
        )
        now, num_kept = _append_accepted(now, tokens, num_accepted, logits, self.vocabulary)
        num_seen = tf.reduce_min(tf.where(rows.is_running, rows.num_tokens, tf.int32.max))
        now = stop_rows(now, self.vocabulary, num_seen)
        # A row's model state grows with its text, also after it has stopped, so that room does not run out.
        num_rejected = count + 1 - (now.rows.num_tokens - rows.num_tokens)
        now = now._replace(
            model_state=self.model.rewind(model_state, num_rejected),
            num_read=now.num_read + count + 1 - num_rejected,
        )
        return _RoundState(
            target=now.variables(),
            draft_state=self.draft.rewind(draft_state, num_rejected),
            previous_ids=tf.gather(read, num_accepted, batch_dims=1),
            uniforms=state.uniforms,
            num_accepted=state.num_accepted + tf.minimum(num_accepted, num_kept),
            num_drafted=state.num_drafted + num_draft,
        )

    def _uniforms(self, start: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
        settings = self.state.settings
        streams = [step_uniforms(settings, start + first, count) for first in (0, _ACCEPT, _DRAFT)]
        return tf.transpose(tf.stack(streams), [2, 1, 0])

    def _propose(self, state: _RoundState, uniforms: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """K draft tokens.

        Args:
            state: the loop state.
            uniforms: float64 [B, K + 1].
        Returns:
            Tokens int32 [B, K]; the distributions that they were sampled from, float32 [B, K, V]; the draft's state
            after the two newest tokens and all draft tokens but the last.
        """
        rows, token_ids = state.target.rows, state.target.token_ids
        num_tokens, count = rows.num_tokens, tf.shape(uniforms)[1] - 1
        columns = tf.range(tf.shape(token_ids)[1])[None]

        def choose(place: tf.Tensor | int, logits: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            probabilities = self.distribution.next(logits[:, -1], text, num_tokens + place)
            return sample(tf.math.log(probabilities), uniforms[:, place]), probabilities

        def body(
            place: tf.Tensor, ids: tf.Tensor, text: tf.Tensor, draft_state: Any, proposed: tf.TensorArray
        ) -> Any:
            is_here = columns == (num_tokens + place - 1)[:, None]
            text = tf.where(is_here, ids[:, None], text)
            logits, draft_state = self.draft.step(ids[:, None], draft_state, last_only=True)
            ids, probabilities = choose(place, logits, text)
            return place + 1, ids, text, draft_state, proposed.write(place, probabilities)

        newest = tf.stack([state.previous_ids, rows.token_ids], axis=1)
        logits, draft_state = self.draft.step(newest, state.draft_state, last_only=True)
        ids, probabilities = choose(0, logits, token_ids)
        proposed = tf.TensorArray(tf.float32, size=count, element_shape=probabilities.shape)
        _, ids, text, draft_state, proposed = tf.while_loop(
            lambda place, *_: place < count,
            body,
            (tf.constant(1), ids, token_ids, draft_state, proposed.write(0, probabilities)),
        )
        drafted = tf.gather(text, num_tokens[:, None] + tf.range(count - 1), batch_dims=1)
        drafted = tf.concat([drafted, ids[:, None]], axis=1)
        return drafted, tf.transpose(proposed.stack(), [1, 0, 2]), draft_state


def accept(
    target: tf.Tensor,
    proposed: tf.Tensor,
    draft_ids: tf.Tensor,
    num_draft: tf.Tensor,
    accept_uniforms: tf.Tensor,
    sample_uniforms: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The number of draft tokens that each row accepts, and these with the token that follows them.

    A row drafted token 1 with certainty, and then 0; the target gives them probability 0.5 and 0. The first is
    accepted, as 0.4 is below 0.5 / 1; the second is not, and 0.9 samples from the positive part of [0., 1.] - [1., 0.]:

    >>> accept([[[0.5, 0.5], [0., 1.], [1., 0.]]], [[[0., 1.], [1., 0.]]], [[1, 0]], [2], [[0.4, 0.4]], [[0.9] * 3])
    [[1, 1, ...]], [1]

    Args:
        target: float32 [B, K + 1, V], the target model's distribution at each position.
        proposed: float32 [B, K, V], the distribution that each draft token was sampled from.
        draft_ids: int32 [B, K].
        num_draft: int32 [B], how many of these are in use.
        accept_uniforms: float64 [B, K], in [0, 1).
        sample_uniforms: float64 [B, K + 1], in [0, 1).
    Returns:
        int32 [B, K + 1], of which the first `num_accepted` + 1 are in use, and num_accepted int32 [B].
    """
    count = tf.shape(draft_ids)[1]
    places = tf.range(count + 1)[None]
    p, q = (
        tf.cast(tf.gather(each[:, :count], draft_ids[:, :, None], batch_dims=2)[:, :, 0], tf.float64)
        for each in (target, proposed)
    )
    is_accepted = (places[:, :-1] < num_draft[:, None]) & (accept_uniforms * q < p)
    num_accepted = tf.reduce_sum(tf.math.cumprod(tf.cast(is_accepted, tf.int32), axis=1), axis=1)
    target = tf.gather(target, num_accepted, batch_dims=1)
    proposed = tf.gather(proposed, tf.minimum(num_accepted, count - 1), batch_dims=1)
    is_rejected = (num_accepted < num_draft)[:, None]
    residual = tf.maximum(target - tf.where(is_rejected, proposed, 0.0), 0.0)
    # The residual of two distributions that are equal up to rounding may be 0 throughout.
    residual = tf.where(tf.reduce_sum(residual, axis=1, keepdims=True) > 0.0, residual, target)
    sampled = sample(tf.math.log(residual), tf.gather(sample_uniforms, num_accepted, batch_dims=1))
    tokens = tf.pad(draft_ids, [[0, 0], [0, 1]])
    return tf.where(places == num_accepted[:, None], sampled[:, None], tokens), num_accepted


def _append_accepted(
    state: GenerationState,
    tokens: tf.Tensor,
    num_accepted: tf.Tensor,
    logits: tf.Tensor,
    vocabulary: Vocabulary,
) -> tuple[GenerationState, tf.Tensor]:
    """Appends the first `num_accepted` + 1 of int32 [B, K + 1], up to an end token or a row's limit.

    Args:
        logits: float32 [B, K + 1, V], the target model's.
    Returns:
        The state, and the number of tokens kept, int32 [B], including an end token.
    """
    rows, places = state.rows, tf.range(tf.shape(tokens)[1])[None]
    at_most = tf.where(rows.is_running, tf.minimum(num_accepted + 1, state.limits - rows.num_tokens), 0)
    ends = is_end(tokens, vocabulary.end_ids) & (places < at_most[:, None])
    num_new = tf.reduce_min(tf.where(ends, places, at_most[:, None]), axis=1)
    has_ended = tf.reduce_any(ends, axis=1)
    num_kept = num_new + tf.cast(has_ended, tf.int32)
    chosen = tf.gather(logits, tokens[:, :, None], batch_dims=2)[:, :, 0]
    log_probabilities = chosen - tf.reduce_logsumexp(logits, axis=-1)
    log_probabilities = tf.where(places < num_kept[:, None], log_probabilities, 0.0)

    # The index in `tokens` of what belongs in each column of the text.
    source = tf.range(tf.shape(state.token_ids)[1])[None] - rows.num_tokens[:, None]
    inside = tf.clip_by_value(source, 0, tf.shape(tokens)[1] - 1)

    def put(old: tf.Tensor, new: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        is_new = (source >= 0) & (source < count[:, None])
        return tf.where(is_new, tf.gather(new, inside, batch_dims=1), old)

    num_tokens = rows.num_tokens + num_new
    is_running = rows.is_running & ~has_ended & (num_tokens < state.limits)
    newest = tf.gather(tokens, num_accepted, batch_dims=1)
    rows = rows._replace(
        token_ids=tf.where(is_running, newest, vocabulary.pad_id),
        is_running=is_running,
        has_ended=rows.has_ended | has_ended,
        num_tokens=num_tokens,
        log_probability=rows.log_probability + tf.reduce_sum(log_probabilities, axis=1),
    )
    state = state._replace(
        rows=rows,
        token_ids=put(state.token_ids, tokens, num_new),
        log_probabilities=put(state.log_probabilities, log_probabilities, num_kept),
        num_steps=tf.reduce_max(num_tokens),
    )
    return state, num_kept
