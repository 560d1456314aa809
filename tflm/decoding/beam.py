"""Beam search: the likeliest texts instead of one, found by following several at a time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.decoding.beam_settings import check_beam_settings, in_range
from tflm.decoding.beam_step import BeamRules, Texts, grow
from tflm.decoding.generator import Generator
from tflm.decoding.pad_left import pad_left
from tflm.decoding.progress import LanguageModel
from tflm.decoding.rows import Rules

_NONE = float("-inf")


class BeamResult(NamedTuple):
    """What `beam_search` returns: N texts for each row, the best first; N is the largest beam_size of the batch."""

    token_ids: tf.Tensor
    """int32 [B, N, T]: the produced tokens without the end token, then pad_id. T is the largest num_tokens."""
    num_tokens: tf.Tensor
    """int32 [B, N]: tokens produced, without the end token."""
    log_probability: tf.Tensor
    """float32 [B, N]: natural logarithm of the model's own probability of these tokens and, if it came, the end token.
    No setting enters it, so it is what scoring the text gives. -inf where a row has no text."""
    score: tf.Tensor
    """float32 [B, N]: what the texts are ranked by. -inf where a row has no text."""


class _Moving(NamedTuple):
    """What changes from step to step."""

    model_state: Any
    """For B * W rows, after all tokens but the newest."""
    running: Texts
    finished: Texts
    num_tokens: tf.Tensor
    """int32 scalar: tokens of the running texts; further places of Texts are room."""


def search_beams(
    generator: Generator,
    prompts: tf.RaggedTensor,
    settings: Mapping[str, tf.Tensor],
    context: Any = None,
    choice_ids: tf.Tensor | None = None,
) -> BeamResult:
    """The best continuations of every prompt that a search with `beam_size` beams finds.

    With a model that after 3 gives 5 with probability 0.6 and 4 with 0.4, after 5 gives 6 or 7 with 0.5 each, and after
    all others the end, the greedy text is 5, 6 with 0.3. Two beams and a length penalty of 0 find a likelier one:

    >>> search_beams(Generator(model, end_id=2, pad_id=0), [[1, 3]], settings)
    BeamResult(token_ids=[[[4, 0], [5, 6]]], num_tokens=[[1, 2]], log_probability=[[log(0.4), log(0.3)]], ...)

    A text's score is the sum of its tokens' scores, divided as `score_at_length` says; the length counts the end token
    if it came. A token's score is its log-probability as penalties and prohibitions leave it (see `possible_logits`;
    the order of the transformers library, whose beam search also takes the log-softmax first) less
    `diversity_penalty` for each time that an earlier group chose it at this step. So a repetition penalty multiplies
    the log-probability of a seen token, where `generate` changes its logit.

    At each step the 2 * W best continuations of a row's W beams are looked at. Those that end and are among the
    first W go to the finished texts, of which the W best by score are kept, as they are. The W best others run on.
    At its limit every text has finished. A row stops when no running text can still come among its finished ones
    (see `best_possible_score`; where frequency or presence penalties below 0 make scores grow, at its limit), which
    is `early_stopping="never"` of transformers. One beam is greedy search: its first end is its text.

    Groups (Vijayakumar et al. 2016, Diverse Beam Search) are searches of their own, beam_size // num_groups wide, that
    choose one after the other at every step; their texts are sorted by score at the end. Without a penalty they are all
    the same.

    A row's texts do not depend on its neighbours or their settings; a row of fewer beams than N is filled up with empty
    texts of score -inf. The prompts are read once, then each step reads the newest token of all beams. What a step
    gives back of the state unchanged, such as an encoder's memory, is not copied from beam to beam; if every beam
    goes on from itself nothing is. No value of `settings` fails: see `in_range`. No row slides.

    Args:
        generator: the model, its special tokens and its limits; its stop texts and choices are not looked at.
        prompts: int32 [B, (P)], no row empty.
        settings: a dict of tensors, see `beam_settings_tensors`.
        context: what the model's encoder gave; goes to `initial_state`.
        choice_ids: int32 [B, C, L], -1 is none: every text is one of these, see `keep_choices`.
    Raises:
        UserError: settings are missing or of the wrong dtype.
        tf.errors.InvalidArgumentError: a prompt is empty (found when the graph runs).
    """
    check_beam_settings(settings)
    prompts = generator.checked(prompts)
    limits = generator.limits(prompts, settings, can_slide=False)
    logits, state = generator.read(prompts, context)
    if choice_ids is None:
        choice_ids = tf.fill([tf.size(limits), 1, 1], -1)
    end_id, pad_id, suppressed_ids, _ = generator.vocabulary
    each = Rules(
        settings=settings,
        limits=limits,
        prompt_ids=pad_left(prompts, -1, to_power_of_two=generator.compiled)[0],
        choice_ids=choice_ids,
        suppressed_ids=(pad_id, *suppressed_ids),
        end_id=end_id,
        pad_id=pad_id,
    )
    rules = _beam_rules(each)
    moving = _run_segments(generator, _first_step(logits, state, rules), rules)
    return _result(moving.finished, pad_id)


def beam_search(
    model: LanguageModel,
    prompts: tf.RaggedTensor,
    settings: Mapping[str, tf.Tensor],
    *,
    context: Any = None,
    choice_ids: tf.Tensor | None = None,
    **arguments: Any,
) -> BeamResult:
    """`search_beams(Generator(model, **arguments), prompts, settings, context, choice_ids)`."""
    return search_beams(Generator(model, **arguments), prompts, settings, context, choice_ids)


def _beam_rules(rules: Rules) -> BeamRules:
    """The rules of rows as those of their beams."""
    beams = in_range(rules.settings)
    width = tf.reduce_max(beams["beam_size"])
    sizes = beams["beam_size"] // beams["num_groups"]
    group_ids = tf.range(width)[None] // sizes[:, None]
    frequency, presence = rules.settings["frequency_penalty"], rules.settings["presence_penalty"]
    return BeamRules(
        each=rules._replace(
            settings={name: tf.repeat(value, width, axis=0) for name, value in rules.settings.items()},
            limits=tf.repeat(rules.limits, width),
            prompt_ids=tf.repeat(rules.prompt_ids, width, axis=0),
            choice_ids=tf.repeat(rules.choice_ids, width, axis=0),
        ),
        limits=rules.limits,
        group_ids=tf.where(group_ids < beams["num_groups"][:, None], group_ids, -1),
        group_sizes=sizes,
        diversity_penalty=beams["diversity_penalty"],
        length_penalty=beams["length_penalty"],
        length_offset=beams["length_offset"],
        has_rewards=(frequency < 0.0) | (presence < 0.0),
    )


def _first_step(logits: tf.Tensor, state: Any, rules: BeamRules) -> _Moving:
    """The first token of every beam, from logits float32 [B, V] and the state of B rows after the prompts.

    Each group begins with one beam, the prompt itself. A row that may produce nothing has one text, the empty one.
    """
    shape = tf.shape(rules.group_ids)
    width = shape[1]
    token_ids, zeros = tf.fill(tf.concat([shape, [1]], axis=0), -1), tf.zeros(shape)
    is_first = (tf.range(width)[None] % rules.group_sizes[:, None] == 0) & (rules.group_ids >= 0)
    is_running = (rules.limits > 0)[:, None]
    running = Texts(token_ids, tf.where(is_first & is_running, 0.0, _NONE), zeros)
    is_empty = (tf.range(width) == 0)[None] & ~is_running
    finished = Texts(token_ids, tf.where(is_empty, 0.0, _NONE), zeros)
    running, finished, _ = grow(
        tf.repeat(logits, width, axis=0), running, finished, tf.constant(0), rules
    )  # beams of one row are alike here, so which one is continued does not matter
    state = tf.nest.map_structure(lambda x: tf.repeat(x, width, axis=0) if x.shape.rank else x, state)
    return _Moving(state, running, finished, tf.constant(1))


def _run_segments(generator: Generator, moving: _Moving, rules: BeamRules) -> _Moving:
    """Goes on until no text runs, as `segments.run_segments` does it."""
    model, run = generator.model, _segment(generator, rules)
    end = tf.reduce_max(rules.limits)

    def body(*flat: tf.Tensor) -> list[tf.Tensor]:
        now = tf.nest.pack_sequence_as(moving, flat)
        length = tf.minimum(generator.segment_length, end - now.num_tokens)
        room = generator.segment_length if generator.compiled else length
        return tf.nest.flatten(run(_with_room(model, now, room), length))

    def goes_on(*flat: tf.Tensor) -> tf.Tensor:
        return _is_any_running(tf.nest.pack_sequence_as(moving, flat))

    # Of this extension only the shapes are used, so the graph drops it.
    longer = _with_room(model, moving, 1)
    shapes = [
        one.shape.most_specific_compatible_shape(other.shape)
        for one, other in zip(tf.nest.flatten(moving), tf.nest.flatten(longer), strict=True)
    ]
    flat = tf.while_loop(goes_on, body, tf.nest.flatten(moving), shape_invariants=shapes)
    return tf.nest.pack_sequence_as(moving, flat)


def _segment(generator: Generator, rules: BeamRules) -> Callable[[_Moving, tf.Tensor], _Moving]:
    """A function of a _Moving with room, and how many steps to make at most."""

    def run(moving: _Moving, length: tf.Tensor) -> _Moving:
        last = moving.num_tokens + length

        def goes_on(now: _Moving) -> tf.Tensor:
            return (now.num_tokens < last) & _is_any_running(now)

        def body(now: _Moving) -> tuple[_Moving]:
            newest = tf.gather(now.running.token_ids, now.num_tokens - 1, axis=2)
            newest = tf.reshape(tf.where(newest < 0, rules.each.pad_id, newest), [-1, 1])
            logits, state = generator.model.step(newest, now.model_state, last_only=True)
            running, finished, parents = grow(logits[:, -1], now.running, now.finished, now.num_tokens, rules)
            state = _follow(now.model_state, state, parents)
            after = _Moving(state, running, finished, now.num_tokens + 1)
            return (tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), after, now),)

        return tf.while_loop(goes_on, body, (moving,))[0]

    return tf.function(run, autograph=False, jit_compile=True) if generator.compiled else run


def _follow(old_state: Any, state: Any, parents: tf.Tensor) -> Any:
    """The state with each beam's part taken from the beam that it continues: `parents` int32 [B, W].

    What all beams of a row have in common stays: scalars, and what a step gave back as it was.
    """
    leaves = tf.nest.flatten(state)
    moves = [
        bool(new.shape.rank) and new is not old
        for new, old in zip(leaves, tf.nest.flatten(old_state), strict=True)
    ]
    num_rows, width = tf.unstack(tf.shape(parents))
    beams = tf.reshape(parents + width * tf.range(num_rows)[:, None], [-1])
    moved = [leaf for leaf, does in zip(leaves, moves, strict=True) if does]
    stay = tf.reduce_all(parents == tf.range(width))
    followed = iter(tf.cond(stay, lambda: moved, lambda: [tf.gather(leaf, beams) for leaf in moved]))
    leaves = [next(followed) if does else leaf for leaf, does in zip(leaves, moves, strict=True)]
    return tf.nest.pack_sequence_as(state, leaves)


def _with_room(model: LanguageModel, moving: _Moving, count: tf.Tensor | int) -> _Moving:
    """With `count` places more for tokens, and in the model's state."""

    def widen(texts: Texts) -> Texts:
        right = [[0, 0], [0, 0], [0, count]]
        return texts._replace(token_ids=tf.pad(texts.token_ids, right, constant_values=-1))

    return moving._replace(
        model_state=model.extend_state(moving.model_state, count),
        running=widen(moving.running),
        finished=widen(moving.finished),
    )


def _is_any_running(moving: _Moving) -> tf.Tensor:
    return tf.reduce_any(moving.running.score > _NONE)


def _result(finished: Texts, pad_id: int) -> BeamResult:
    """The texts of all groups together, by score."""
    best = tf.math.top_k(finished.score, tf.shape(finished.score)[1])
    is_text = best.values > _NONE
    token_ids = tf.gather(finished.token_ids, best.indices, batch_dims=1)
    is_token = (token_ids >= 0) & is_text[:, :, None]
    num_tokens = tf.math.count_nonzero(is_token, axis=2, dtype=tf.int32)
    log_probability = tf.gather(finished.log_probability, best.indices, batch_dims=1)
    return BeamResult(
        token_ids=tf.where(is_token, token_ids, pad_id)[:, :, : tf.reduce_max(num_tokens)],
        num_tokens=num_tokens,
        log_probability=tf.where(is_text, log_probability, _NONE),
        score=best.values,
    )
