"""One step of beam search: which continuations run on, which have finished, and which of those are kept."""

from typing import NamedTuple

import tensorflow as tf

from tflm.decoding.beam_score import best_possible_score, score_at_length
from tflm.decoding.choose import possible_logits
from tflm.decoding.count_penalties import count_tokens
from tflm.decoding.rows import Rules

_NONE = float("-inf")
_OPEN = tf.TensorShape([None, None])
_LOWEST = -1e9
"""The score of an end that has none of its own."""


class Texts(NamedTuple):
    """W texts for each of B rows, those of a group side by side, the best first."""

    token_ids: tf.Tensor
    """int32 [B, W, T]: what was produced, without the end token; -1 where nothing was."""
    score: tf.Tensor
    """float32 [B, W]: while a text runs the sum of its tokens' scores, afterwards `score_at_length` of it; -inf where
    there is no text."""
    log_probability: tf.Tensor
    """float32 [B, W]: the model's own."""


class BeamRules(NamedTuple):
    """What stays the same from step to step."""

    each: Rules
    """Of every beam as a row of its own: B * W rows."""
    limits: tf.Tensor
    """int32 [B]: tokens that a row may produce, the end token counted."""
    group_ids: tf.Tensor
    """int32 [B, W]: the group of each place; -1 where the row has no beam."""
    group_sizes: tf.Tensor
    """int32 [B]: how many beams each group of the row has."""
    diversity_penalty: tf.Tensor
    """float32 [B]; so are the following."""
    length_penalty: tf.Tensor
    length_offset: tf.Tensor
    has_rewards: tf.Tensor
    """bool [B]: whether a setting can make a token's score positive."""


class _Choice(NamedTuple):
    """What comes to each place: int32 and float32 [B, W]."""

    index: tf.Tensor
    """Beam * V + token of the continuation that runs on."""
    score: tf.Tensor
    source: tf.Tensor
    """Of the finished texts: the place of an old one, or W + beam * V + token of a new one."""
    finished_score: tf.Tensor


def grow(
    logits: tf.Tensor, running: Texts, finished: Texts, num_tokens: tf.Tensor, rules: BeamRules
) -> tuple[Texts, Texts, tf.Tensor]:
    """Every running text with one more token.

    Args:
        logits: float32 [B * W, V], the model's, for each running text.
        running, finished: Texts with room for a token at place `num_tokens`.
        num_tokens: int32 scalar, how many the running ones have.
        rules: BeamRules.
    Returns:
        The running and the finished Texts afterwards, and int32 [B, W], which beam each running one continues. A place
        without a running text names itself.
    """
    shape = tf.concat([tf.shape(running.score), [-1]], axis=0)
    width, vocab_size = tf.shape(running.score)[1], tf.shape(logits)[1]
    own = tf.nn.log_softmax(logits)
    totals = running.score[:, :, None] + tf.reshape(_token_scores(own, running, num_tokens, rules), shape)
    choice = _choose(totals, finished.score, num_tokens + 1, rules)

    own = tf.reshape(own, [-1, width * vocab_size])
    longer = _continue(running, choice.index, own, num_tokens, rules)._replace(score=choice.score)
    kept = tf.nest.map_structure(
        lambda x: tf.gather(x, tf.minimum(choice.source, width - 1), batch_dims=1), finished
    )
    index = tf.maximum(choice.source - width, 0)
    added = _continue(running, index, own, num_tokens, rules)
    is_new = choice.source >= width
    finished = Texts(
        token_ids=tf.where(is_new[:, :, None], added.token_ids, kept.token_ids),
        score=choice.finished_score,
        log_probability=tf.where(is_new, added.log_probability, kept.log_probability),
    )
    parents = tf.where(choice.score > _NONE, choice.index // vocab_size, tf.range(width))
    return longer, finished, parents


def _token_scores(own: tf.Tensor, running: Texts, num_tokens: tf.Tensor, rules: BeamRules) -> tf.Tensor:
    """What each token adds to its beam's score: float32 [B * W, V], from the model's log-probabilities.

    Where no token is possible the end is, as in `choose`.
    """
    each, shape = rules.each, tf.shape(running.token_ids)
    possible = possible_logits(
        own,
        each.settings,
        prompt_ids=each.prompt_ids,
        token_ids=tf.reshape(running.token_ids, [-1, shape[2]]),
        num_tokens=tf.fill([shape[0] * shape[1]], num_tokens),
        choice_ids=each.choice_ids,
        suppressed_ids=each.suppressed_ids,
        end_id=each.end_id,
    )
    is_stuck = tf.reduce_max(possible, axis=1, keepdims=True) <= _NONE
    is_end = tf.range(tf.shape(own)[1]) == each.end_id
    end = own[:, each.end_id, None]
    return tf.where(is_stuck & is_end, tf.where(tf.math.is_finite(end), end, _LOWEST), possible)


def _choose(totals: tf.Tensor, finished_score: tf.Tensor, length: tf.Tensor, rules: BeamRules) -> _Choice:
    """Group after group, from the scores of all continuations float32 [B, W, V].

    `used` counts how often each token was chosen by the groups before, of those that run on as of those that end.
    """

    def body(group: tf.Tensor, used: tf.Tensor, choice: _Choice) -> tuple[tf.Tensor, tf.Tensor, _Choice]:
        choice, tokens = _choose_in_group(group, used, choice, totals, length, rules)
        return group + 1, used + count_tokens(tokens, tf.shape(used)[1]), choice

    zeros = tf.zeros_like(rules.group_ids)
    start = _Choice(zeros, tf.fill(tf.shape(zeros), _NONE), zeros, finished_score)
    num_groups = tf.reduce_max(rules.group_ids) + 1
    return tf.while_loop(
        lambda group, *_: group < num_groups,
        body,
        (tf.constant(0), tf.zeros_like(totals[:, 0]), start),
        shape_invariants=(tf.TensorShape([]), _OPEN, _Choice(_OPEN, _OPEN, _OPEN, _OPEN)),
    )[2]


def _choose_in_group(
    group: tf.Tensor, used: tf.Tensor, choice: _Choice, totals: tf.Tensor, length: tf.Tensor, rules: BeamRules
) -> tuple[_Choice, tf.Tensor]:
    """The choice with the places of one group filled in, and the tokens chosen int32 [B, 3 * W], -1 is none."""
    width, vocab_size = tf.shape(totals)[1], tf.shape(totals)[2]
    is_own = rules.group_ids == group
    sizes = rules.group_sizes[:, None]
    penalty = rules.diversity_penalty[:, None] * used
    scores = tf.where(is_own[:, :, None], totals - penalty[:, None], _NONE)
    # Each beam can end once, so among twice as many as there are beams enough run on.
    best = tf.math.top_k(tf.reshape(scores, [-1, width * vocab_size]), 2 * width)
    tokens = best.indices % vocab_size
    ends = (tokens == rules.each.end_id) | (length >= rules.limits)[:, None]
    is_first = tf.range(2 * width) < sizes

    worth = score_at_length(best.values, length, rules.length_penalty, rules.length_offset)
    worth = tf.where(ends & is_first, worth, _NONE)
    before = tf.where(is_own, choice.finished_score, _NONE)
    pool = tf.math.top_k(tf.concat([before, worth], axis=1), width)
    sources = tf.concat([tf.zeros_like(rules.group_ids) + tf.range(width), best.indices + width], axis=1)

    runs = tf.math.top_k(tf.where(ends, _NONE, best.values), width)
    worst = tf.gather(pool.values, sizes - 1, batch_dims=1)
    score = tf.where(_can_win(runs.values[:, :1], worst, length, rules), runs.values, _NONE)

    ranks = tf.clip_by_value(tf.range(width) - group * sizes, 0, width - 1)

    def put(old: tf.Tensor, ranked: tf.Tensor) -> tf.Tensor:
        return tf.where(is_own, tf.gather(ranked, ranks, batch_dims=1), old)

    is_running = (score > _NONE) & is_first[:, :width]
    running_tokens = tf.where(is_running, tf.gather(tokens, runs.indices, batch_dims=1), -1)
    ended_tokens = tf.where(worth > _NONE, tokens, -1)
    choice = _Choice(
        index=put(choice.index, tf.gather(best.indices, runs.indices, batch_dims=1)),
        score=put(choice.score, score),
        source=put(choice.source, tf.gather(sources, pool.indices, batch_dims=1)),
        finished_score=put(choice.finished_score, pool.values),
    )
    return choice, tf.concat([running_tokens, ended_tokens], axis=1)


def _can_win(best: tf.Tensor, worst: tf.Tensor, num_tokens: tf.Tensor, rules: BeamRules) -> tf.Tensor:
    """Whether a group goes on: bool [B, 1], from its best running and its worst kept score, float32 [B, 1].

    A worst score of -inf is a free place. A group of one beam is greedy, so its first end is its text.
    """
    bound = best_possible_score(best, num_tokens, rules.limits, rules.length_penalty, rules.length_offset)
    bound = tf.where(rules.has_rewards[:, None], float("inf"), bound)
    is_greedy = (rules.group_sizes == 1)[:, None]
    return (bound > worst) & ~(is_greedy & (worst > _NONE))


def _continue(running: Texts, index: tf.Tensor, own: tf.Tensor, place: tf.Tensor, rules: BeamRules) -> Texts:
    """Running texts with a token more, for `index` int32 [B, W], beam * V + token; without a score.

    Args:
        own: float32 [B, W * V], the model's log-probabilities.
    """
    width = tf.shape(index)[1]
    vocab_size = tf.shape(own)[1] // width
    parents, tokens = index // vocab_size, index % vocab_size
    token_ids = tf.gather(running.token_ids, parents, batch_dims=1)
    tokens = tf.where(tokens == rules.each.end_id, -1, tokens)
    is_here = tf.range(tf.shape(token_ids)[2]) == place
    log_probability = tf.gather(running.log_probability, parents, batch_dims=1)
    return Texts(
        token_ids=tf.where(is_here, tokens[:, :, None], token_ids),
        score=running.score,
        log_probability=log_probability + tf.gather(own, index, batch_dims=1),
    )
