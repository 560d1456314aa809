"""Speculative sampling: a small model drafts some tokens, the large one reads them all at once and keeps what it may.

The text has the large model's own distribution, whatever the draft is; a good draft makes it come sooner. Source:
Leviathan et al. 2023, Fast Inference from Transformers via Speculative Decoding, algorithm 1; Chen et al. 2023,
Accelerating Large Language Model Decoding with Speculative Sampling, algorithm 2.

A round: the draft writes k tokens one by one; the model reads the newest token and these in one step, which costs about
as much as reading one; from the left, each is accepted with probability min(1, p / q), the first refused one is drawn
anew from what p has over q, and where none was refused one more comes from p. Here p and q are the distributions that
the settings leave of the two models' logits. Each row accepts its own number; `rewind` takes back what was refused.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tflm.decoding.accept import accept, append_accepted
from tflm.decoding.distribution import Distribution
from tflm.decoding.generator import Generation, Generator
from tflm.decoding.progress import LanguageModel, Progress, open_specs
from tflm.decoding.sample import sample
from tflm.decoding.segments import draw, stop_rows
from tflm.errors import UserError

MOST_DRAFT_TOKENS = 32
"""A larger `num_draft_tokens` is taken as this."""

_ACCEPT, _DRAFT = 2**29, 2**30
"""Where in a row's sequence of random numbers those begin that accept and that draft; see `_Rounds`."""


class RewindableModel(LanguageModel, Protocol):
    """A LanguageModel that can take tokens back; the `LanguageModel` of tflm.models says how."""

    can_rewind: bool

    def rewind(self, state: Any, num_positions: Any) -> Any:
        """The state without the last int32 [B] tokens of each row."""


class Speculation(NamedTuple):
    """What `speculate` returns."""

    progress: Progress
    num_accepted: tf.Tensor
    """int32 [B]: tokens of the text (an end token, too) that the draft proposed."""
    num_drafted: tf.Tensor
    """int32 [B]: tokens that it proposed."""


class SpeculativeGeneration(NamedTuple):
    """What `speculative_generate` returns: a `Generation`, and what became of the drafts."""

    generation: Generation
    num_accepted: tf.Tensor
    """int32 [B]: tokens of the text (an end token, too) that the draft proposed. The model made a step for each of the
    others: `num_tokens / (num_tokens - num_accepted)` is what a step gave."""
    num_drafted: tf.Tensor
    """int32 [B]: tokens that it proposed."""


class _Moving(NamedTuple):
    """What changes from round to round."""

    target: dict[str, Any]
    """`Progress.moving()`; the model's state holds all but the newest token."""
    draft_state: Any
    """All but the two newest tokens: it never has to read the last token that it drafts."""
    previous_ids: tf.Tensor
    """int32 [B]: the token before the newest."""
    numbers: tf.Tensor
    """float64 [B, N, 3], for each place of the text: to draw, to accept, to draft."""
    num_accepted: tf.Tensor
    num_drafted: tf.Tensor


def speculative_generate(
    model: RewindableModel,
    draft: RewindableModel,
    prompts: tf.RaggedTensor,
    settings: Mapping[str, tf.Tensor],
    *,
    num_draft_tokens: int | tf.Tensor = 4,
    **arguments: Any,
) -> SpeculativeGeneration:
    """`generate`, with a draft. Greedy rows get the same tokens; sampled ones others of the same distribution.

    Args:
        model, prompts, settings, arguments: as of `generate`. `slide` is off.
        draft: a model of the same vocabulary.
        num_draft_tokens: int, or int32 [B]: tokens drafted in a round, 32 at most; 0 is `generate`, token for token.
    Raises:
        UserError: as `generate`, and if a model cannot rewind.
    """
    generator = Generator(model, **arguments)
    progress = generator.begin(prompts, without_slide(settings))
    progress, num_accepted, num_drafted = speculate(generator, draft, progress, num_draft_tokens)
    rows = progress.rows
    generation = Generation(
        generator.produced(progress),
        rows.num_tokens,
        rows.log_probability,
        rows.has_ended | rows.has_stopped,
    )
    return SpeculativeGeneration(generation, num_accepted, num_drafted)


def without_slide(settings: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The settings with `slide` off: a draft cannot follow a model that reads half of its text anew."""
    off = {"slide": tf.zeros_like(settings["slide"])} if "slide" in settings else {}
    return {**settings, **off}


def speculate(
    generator: Generator, draft: RewindableModel, progress: Progress, num_draft_tokens: int | tf.Tensor
) -> Speculation:
    """Goes on to the end of every row.

    Random numbers: of a row's sequence (see `uniforms`) number n draws the token at place n, as in `generate`; number
    2^29 + n accepts the one that was drafted there, 2^30 + n drafts it. A place may be drafted again after a token
    before it was refused; what was drafted there first is then in nothing that was kept, so its number is as good as
    new. So a row's text depends on its seed, prompt, settings and `num_draft_tokens`, and not on its neighbours.

    Args:
        generator: of the large model.
        draft: the small one.
        progress: from `generator.begin`, with `slide` off.
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
    return _Rounds(generator, draft, progress, num_draft_tokens).run()


class _Rounds:
    """The loop. `progress` says what stays the same."""

    def __init__(
        self,
        generator: Generator,
        draft: RewindableModel,
        progress: Progress,
        num_draft_tokens: int | tf.Tensor,
    ) -> None:
        self.model: Any = generator.model
        self.draft, self.progress, self.vocabulary = draft, progress, generator.vocabulary
        self.segment_length = generator.segment_length
        self.distribution = Distribution(progress.rules(generator.vocabulary))
        wanted = tf.clip_by_value(num_draft_tokens, 0, MOST_DRAFT_TOKENS)
        self.num_draft = tf.zeros_like(progress.limits) + wanted
        self.most_read = tf.maximum(tf.reduce_max(self.num_draft), 1) + 1
        """int32 scalar: the longest round's K + 1."""

    def run(self) -> Speculation:
        """All rounds: in segments of fixed shapes, between which there is room made."""
        start = self._begin()
        shapes = self._open_shapes(start)

        def running(moving: _Moving) -> tf.Tensor:
            return tf.reduce_any(moving.target["rows"].is_running)

        def fits(moving: _Moving) -> tf.Tensor:
            room = tf.shape(moving.target["token_ids"])[1]
            return tf.reduce_max(moving.target["rows"].num_tokens) + self.most_read <= room

        def segment(moving: _Moving) -> tuple[_Moving]:
            return tf.while_loop(
                lambda now: running(now) & fits(now),
                lambda now: (self._round(now),),
                (self._with_room(moving),),
                shape_invariants=(shapes,),
            )

        end = tf.while_loop(running, segment, (start,), shape_invariants=(shapes,))[0]
        return Speculation(self.progress._replace(**end.target), end.num_accepted, end.num_drafted)

    def _begin(self) -> _Moving:
        """The draft reads the prompts too."""
        progress = self.progress
        is_padding = progress.prompt_ids < 0
        token_ids = tf.where(is_padding, self.vocabulary.pad_id, progress.prompt_ids)
        num_rows, width = tf.unstack(tf.shape(token_ids))
        num_padding = tf.math.count_nonzero(is_padding, axis=1, dtype=tf.int32)
        state = self.draft.initial_state(num_rows, width, num_padding=num_padding)
        _, state = self.draft.step(token_ids, state, last_only=True)
        zeros = tf.zeros_like(progress.limits)
        return _Moving(
            target=progress.moving(),
            draft_state=self.draft.rewind(state, zeros + 1),
            previous_ids=token_ids[:, -1],
            numbers=self._draw(0, tf.shape(progress.token_ids)[1]),
            num_accepted=zeros,
            num_drafted=zeros,
        )

    def _open_shapes(self, start: _Moving) -> _Moving:
        """The shapes of all that `start` may become."""
        target = open_specs(self.model, self.progress).moving()
        draft_state = open_specs(
            self.draft, self.progress._replace(model_state=start.draft_state)
        ).model_state
        shapes = tf.nest.map_structure(lambda leaf: leaf.shape, start)
        target, draft_state = tf.nest.map_structure(lambda spec: spec.shape, (target, draft_state))
        numbers = tf.TensorShape([start.numbers.shape[0], None, 3])
        return shapes._replace(target=target, draft_state=draft_state, numbers=numbers)

    def _draw(self, start: tf.Tensor | int, count: tf.Tensor) -> tf.Tensor:
        streams = [draw(self.progress.settings, start + first, count) for first in (0, _ACCEPT, _DRAFT)]
        return tf.transpose(tf.stack(streams), [2, 1, 0])

    def _with_room(self, moving: _Moving) -> _Moving:
        """With places for the longest round and a segment more."""
        now = self.progress._replace(**moving.target)
        longest, room = tf.reduce_max(now.rows.num_tokens), tf.shape(now.token_ids)[1]
        left = tf.minimum(self.segment_length, tf.reduce_max(now.limits) - longest)
        more = tf.maximum(longest + left + self.most_read - room, 0)
        return moving._replace(
            target=now.with_room(self.model, more).moving(),
            draft_state=self.draft.extend_state(moving.draft_state, more),
            numbers=tf.concat([moving.numbers, self._draw(room, more)], axis=1),
        )

    def _round(self, moving: _Moving) -> _Moving:
        now = self.progress._replace(**moving.target)
        rows = now.rows
        # The last token that a row may have need not be drafted: one comes of itself.
        left = tf.where(rows.is_running, now.limits - rows.num_tokens - 1, 0)
        num_draft = tf.minimum(self.num_draft, left)
        count = tf.maximum(tf.reduce_max(num_draft), 1)  # K
        places = rows.num_tokens[:, None] + tf.range(count + 1)
        numbers = tf.gather(moving.numbers, places, batch_dims=1)  # [B, K + 1, 3]
        drafted, proposed, draft_state = self._propose(moving, now, numbers[:, :, 2])
        read = tf.concat([rows.token_ids[:, None], drafted], axis=1)
        logits, state = self.model.step(read, now.model_state)
        wanted = self.distribution.after_each(logits, now.token_ids, rows.num_tokens, drafted)
        tokens, num_accepted = accept(
            wanted, proposed, drafted, num_draft, numbers[:, :-1, 1], numbers[:, :, 0]
        )
        now, num_kept = append_accepted(now, tokens, num_accepted, logits, self.vocabulary)
        num_seen = tf.reduce_min(tf.where(rows.is_running, rows.num_tokens, tf.int32.max))
        now = stop_rows(now, self.vocabulary, num_seen)
        # What the state of a row holds grows as its text does, also where it has stopped: so there is room.
        num_refused = count + 1 - (now.rows.num_tokens - rows.num_tokens)
        now = now._replace(
            model_state=self.model.rewind(state, num_refused),
            num_read=now.num_read + count + 1 - num_refused,
        )
        return _Moving(
            target=now.moving(),
            draft_state=self.draft.rewind(draft_state, num_refused),
            previous_ids=tf.gather(read, num_accepted, batch_dims=1),
            numbers=moving.numbers,
            num_accepted=moving.num_accepted + tf.minimum(num_accepted, num_kept),
            num_drafted=moving.num_drafted + num_draft,
        )

    def _propose(
        self, moving: _Moving, now: Progress, numbers: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """K tokens int32 [B, K] for random numbers float64 [B, K + 1], what each was drawn from float32 [B, K, V], and
        the draft's state after all but the last of them and, before them, the two newest tokens."""
        num_tokens, count = now.rows.num_tokens, tf.shape(numbers)[1] - 1
        columns = tf.range(tf.shape(now.token_ids)[1])[None]

        def choose(place: tf.Tensor | int, logits: tf.Tensor, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            probabilities = self.distribution.next(logits[:, -1], text, num_tokens + place)
            return sample(tf.math.log(probabilities), numbers[:, place]), probabilities

        def body(
            place: tf.Tensor, ids: tf.Tensor, text: tf.Tensor, state: Any, proposed: tf.TensorArray
        ) -> Any:
            is_here = columns == (num_tokens + place - 1)[:, None]
            text = tf.where(is_here, ids[:, None], text)
            logits, state = self.draft.step(ids[:, None], state, last_only=True)
            ids, probabilities = choose(place, logits, text)
            return place + 1, ids, text, state, proposed.write(place, probabilities)

        newest = tf.stack([moving.previous_ids, now.rows.token_ids], axis=1)
        logits, state = self.draft.step(newest, moving.draft_state, last_only=True)
        ids, probabilities = choose(0, logits, now.token_ids)
        proposed = tf.TensorArray(tf.float32, size=count, element_shape=probabilities.shape)
        _, ids, text, state, proposed = tf.while_loop(
            lambda place, *_: place < count,
            body,
            (tf.constant(1), ids, now.token_ids, state, proposed.write(0, probabilities)),
        )
        drafted = tf.gather(text, num_tokens[:, None] + tf.range(count - 1), batch_dims=1)
        drafted = tf.concat([drafted, ids[:, None]], axis=1)
        return drafted, tf.transpose(proposed.stack(), [1, 0, 2]), state
