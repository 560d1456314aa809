"""Beam search: approximate search for the most likely text by following `beam_size` hypotheses at a time."""

from typing import Any, NamedTuple

import tensorflow as tf

from tflm.generation.beam_step import BeamInvariants, Hypotheses, expand
from tflm.generation.generator import Generator
from tflm.generation.loop import SegmentedLoop
from tflm.generation.sampling import LoopInvariants
from tflm.generation.settings import Settings, check_beam_settings, clip_beam_settings, repeat_rows
from tflm.generation.state import GenerativeModel
from tflm.generation.window import pad_left

_NEG_INF = float("-inf")


class BeamResult(NamedTuple):
    """What `beam_search` returns: the N best texts of each row, the best first; N is the largest beam_size of the
    batch."""

    token_ids: tf.Tensor
    """int32 [B, N, T]: the generated tokens without the end token, padded with pad_id. T is the largest num_tokens."""
    num_tokens: tf.Tensor
    """int32 [B, N]: generated tokens, without the end token."""
    log_probability: tf.Tensor
    """float32 [B, N]: natural logarithm of the model's own probability of these tokens and, if it was generated, the
    end token. It does not depend on the settings, so it equals the score of the same text. -inf where a row has fewer
    texts."""
    score: tf.Tensor
    """float32 [B, N]: the score that ranks the texts. -inf where a row has fewer texts."""


def search_beams(
    generator: Generator,
    prompts: tf.RaggedTensor,
    settings: Settings,
    context: Any = None,
    choice_ids: tf.Tensor | None = None,
) -> BeamResult:
    """The best continuations of every prompt that beam search finds.

    With a model that after 3 gives 5 with probability 0.6 and 4 with 0.4, after 5 gives 6 or 7 with 0.5 each, and after
    all others the end token, the greedy text is 5, 6 with 0.3. Two beams and a length penalty of 0 find a more likely
    one:

    >>> search_beams(Generator(model, end_id=2, pad_id=0), [[1, 3]], settings)
    BeamResult(token_ids=[[[4, 0], [5, 6]]], num_tokens=[[1, 2]], log_probability=[[log(0.4), log(0.3)]], ...)

    The score of a text is the sum of its tokens' scores, normalized by `score_at_length`; the length includes an end
    token. The score of a token is its log-probability after penalties and constraints (see `process_logits`; as in the
    transformers library, which also applies them after the log-softmax), minus `diversity_penalty` for each time that
    an earlier group chose it at this step. So a repetition penalty multiplies the log-probability of a seen token,
    where `generate` changes its logit.

    Each step considers the 2 * W best continuations of a row's W beams. Those that end and are among the first W become
    finished hypotheses, of which the W best by score are kept. The W best others keep running. At its limit every
    hypothesis is finished. A row stops when no running hypothesis can enter the finished ones (see
    `best_possible_score`; where frequency or presence penalties below 0 let scores grow, at its limit). This is
    `early_stopping="never"` of transformers. One beam is greedy search and stops at its first end token.

    Groups (Vijayakumar et al., 2016, Diverse Beam Search) are separate searches of beam_size // num_groups beams, which
    choose one after the other at every step; their texts are sorted by score at the end. Without a diversity penalty
    all groups are equal.

    A row's texts do not depend on its neighbours or their settings; a row of fewer beams than N is padded with empty
    texts of score -inf. The prompts are read once, then each step reads the newest token of all beams. Parts of the
    model's state that a step returns unchanged, such as an encoder's output, are not copied between beams; if every
    beam continues itself nothing is copied. No value in `settings` raises: see `clip_beam_settings`. No row slides.

    Args:
        generator: the model, its special tokens and its limits; stop strings are ignored.
        prompts: int32 [B, (P)], no row empty.
        settings: a dict of tensors, see `beam_settings_tensors`.
        context: output of the model's encoder, passed to `initial_state`.
        choice_ids: int32 [B, C, L], padded with -1: every text is one of these, see `keep_choices`.
    Raises:
        UserError: settings are missing or have the wrong dtype.
        tf.errors.InvalidArgumentError: a prompt is empty (when the graph runs).
    """
    check_beam_settings(settings)
    prompts = generator.checked(prompts)
    limits = generator.limits(prompts, settings, can_slide=False)
    logits, model_state = generator.read(prompts, context)
    if choice_ids is None:
        choice_ids = tf.fill([tf.size(limits), 1, 1], -1)
    vocabulary = generator.vocabulary
    rows = LoopInvariants(
        settings=settings,
        limits=limits,
        prompt_ids=pad_left(prompts, -1, to_power_of_two=generator.compiled)[0],
        choice_ids=choice_ids,
        suppressed_ids=(vocabulary.pad_id, *vocabulary.suppressed_ids),
        end_ids=vocabulary.end_ids,
        pad_id=vocabulary.pad_id,
    )
    search = _beam_invariants(rows)
    end = _BeamLoop(generator, search).run(_first_step(logits, model_state, search))
    return _result(end.finished, vocabulary.pad_id)


def beam_search(
    model: GenerativeModel,
    prompts: tf.RaggedTensor,
    settings: Settings,
    *,
    context: Any = None,
    choice_ids: tf.Tensor | None = None,
    **arguments: Any,
) -> BeamResult:
    """`search_beams(Generator(model, **arguments), prompts, settings, context, choice_ids)`."""
    return search_beams(Generator(model, **arguments), prompts, settings, context, choice_ids)


def _beam_invariants(rows: LoopInvariants) -> BeamInvariants:
    """The invariants of the search from those of its B rows."""
    beams = clip_beam_settings(rows.settings)
    width = tf.reduce_max(beams["beam_size"])
    sizes = beams["beam_size"] // beams["num_groups"]
    group_ids = tf.range(width)[None] // sizes[:, None]
    frequency, presence = rows.settings["frequency_penalty"], rows.settings["presence_penalty"]
    settings, limits, prompt_ids, choice_ids = repeat_rows(
        (rows.settings, rows.limits, rows.prompt_ids, rows.choice_ids), width
    )
    return BeamInvariants(
        beams=rows._replace(settings=settings, limits=limits, prompt_ids=prompt_ids, choice_ids=choice_ids),
        limits=rows.limits,
        group_ids=tf.where(group_ids < beams["num_groups"][:, None], group_ids, -1),
        group_sizes=sizes,
        diversity_penalty=beams["diversity_penalty"],
        length_penalty=beams["length_penalty"],
        length_offset=beams["length_offset"],
        has_rewards=(frequency < 0.0) | (presence < 0.0),
    )


class _BeamState(NamedTuple):
    """The loop state."""

    model_state: Any
    """Of B * W rows, after all tokens but the newest."""
    running: Hypotheses
    finished: Hypotheses
    num_tokens: tf.Tensor
    """int32 scalar: tokens of the running hypotheses; further columns are room."""


class _BeamLoop(SegmentedLoop):
    """The search after the first step. A segment is the number of tokens at its end, int32 scalar."""

    def __init__(self, generator: Generator, search: BeamInvariants) -> None:
        self.model, self.search = generator.model, search
        self.segment_length, self.compiled = generator.segment_length, generator.compiled
        self.end = tf.reduce_max(search.limits)

    def is_running(self, state: _BeamState) -> tf.Tensor:
        return tf.reduce_any(state.running.score > _NEG_INF)

    def with_room(self, state: _BeamState, count: tf.Tensor | int) -> _BeamState:
        def widen(hypotheses: Hypotheses) -> Hypotheses:
            right = [[0, 0], [0, 0], [0, count]]
            return hypotheses._replace(token_ids=tf.pad(hypotheses.token_ids, right, constant_values=-1))

        return state._replace(
            model_state=self.model.extend_state(state.model_state, count),
            running=widen(state.running),
            finished=widen(state.finished),
        )

    def begin_segment(self, state: _BeamState) -> tuple[_BeamState, tf.Tensor]:
        length = tf.minimum(self.segment_length, self.end - state.num_tokens)
        room = self.segment_length if self.compiled else length
        return self.with_room(state, room), state.num_tokens + length

    def has_steps(self, state: _BeamState, segment: tf.Tensor) -> tf.Tensor:
        return (state.num_tokens < segment) & self.is_running(state)

    def step(self, state: _BeamState, segment: tf.Tensor) -> _BeamState:
        newest = tf.gather(state.running.token_ids, state.num_tokens - 1, axis=2)
        newest = tf.reshape(tf.where(newest < 0, self.search.beams.pad_id, newest), [-1, 1])
        logits, model_state = self.model.step(newest, state.model_state, last_only=True)
        running, finished, parents = expand(
            logits[:, -1], state.running, state.finished, state.num_tokens, self.search
        )
        model_state = _reorder(state.model_state, model_state, parents)
        return _BeamState(model_state, running, finished, state.num_tokens + 1)


def _first_step(logits: tf.Tensor, model_state: Any, search: BeamInvariants) -> _BeamState:
    """The first token of every beam, from logits float32 [B, V] and the model's state of B rows after the prompts.

    Each group starts with one beam, the prompt. A row with a limit of 0 has one finished hypothesis, the empty one.
    """
    shape = tf.shape(search.group_ids)
    width = shape[1]
    token_ids, zeros = tf.fill(tf.concat([shape, [1]], axis=0), -1), tf.zeros(shape)
    is_first = (tf.range(width)[None] % search.group_sizes[:, None] == 0) & (search.group_ids >= 0)
    is_running = (search.limits > 0)[:, None]
    running = Hypotheses(token_ids, tf.where(is_first & is_running, 0.0, _NEG_INF), zeros)
    is_empty = (tf.range(width) == 0)[None] & ~is_running
    finished = Hypotheses(token_ids, tf.where(is_empty, 0.0, _NEG_INF), zeros)
    # All beams of a row have the same state here, so it does not matter which one is continued.
    logits, model_state = repeat_rows((logits, model_state), width)
    running, finished, _ = expand(logits, running, finished, tf.constant(0), search)
    return _BeamState(model_state, running, finished, tf.constant(1))


def _reorder(old_state: Any, model_state: Any, parents: tf.Tensor) -> Any:
    """The model's state with each beam's rows taken from the beam that it continues: `parents` int32 [B, W].

    What all beams of a row share is not copied: scalars, and tensors that a step returned unchanged.
    """
    leaves = tf.nest.flatten(model_state)
    moves = [
        bool(new.shape.rank) and new is not old
        for new, old in zip(leaves, tf.nest.flatten(old_state), strict=True)
    ]
    num_rows, width = tf.unstack(tf.shape(parents))
    beams = tf.reshape(parents + width * tf.range(num_rows)[:, None], [-1])
    moved = [leaf for leaf, does in zip(leaves, moves, strict=True) if does]
    stay = tf.reduce_all(parents == tf.range(width))
    reordered = iter(tf.cond(stay, lambda: moved, lambda: [tf.gather(leaf, beams) for leaf in moved]))
    leaves = [next(reordered) if does else leaf for leaf, does in zip(leaves, moves, strict=True)]
    return tf.nest.pack_sequence_as(model_state, leaves)


def _result(finished: Hypotheses, pad_id: int) -> BeamResult:
    """The hypotheses of all groups, sorted by score."""
    best = tf.math.top_k(finished.score, tf.shape(finished.score)[1])
    is_text = best.values > _NEG_INF
    token_ids = tf.gather(finished.token_ids, best.indices, batch_dims=1)
    is_token = (token_ids >= 0) & is_text[:, :, None]
    num_tokens = tf.math.count_nonzero(is_token, axis=2, dtype=tf.int32)
    log_probability = tf.gather(finished.log_probability, best.indices, batch_dims=1)
    return BeamResult(
        token_ids=tf.where(is_token, token_ids, pad_id)[:, :, : tf.reduce_max(num_tokens)],
        num_tokens=num_tokens,
        log_probability=tf.where(is_text, log_probability, _NEG_INF),
        score=best.values,
    )
