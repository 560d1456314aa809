"""One step of beam search: expand the running hypotheses, and keep the best finished ones; length-normalized scores."""

from typing import NamedTuple

import tensorflow as tf

from tflm.generation.constraints import is_end
from tflm.generation.penalties import count_tokens
from tflm.generation.sampling import LoopInvariants, process_logits

_NEG_INF = float("-inf")
_OPEN = tf.TensorShape([None, None])
_MIN_SCORE = -1e9
"""The score of an end token that is appended where every token is masked and its own score is not finite."""
_MIN_DIVISOR, _MAX_DIVISOR = 1e-20, 1e20


class Hypotheses(NamedTuple):
    """W hypotheses for each of B rows; those of a group are contiguous, the best first."""

    token_ids: tf.Tensor
    """int32 [B, W, T]: the generated tokens, without the end token, padded with -1."""
    score: tf.Tensor
    """float32 [B, W]: of a running hypothesis the sum of its tokens' scores, of a finished one `score_at_length` of
    that sum; -inf where there is no hypothesis."""
    log_probability: tf.Tensor
    """float32 [B, W]: the model's own."""


class BeamInvariants(NamedTuple):
    """The inputs of every step that stay constant over the search."""

    beams: LoopInvariants
    """Of B * W rows, one for each beam."""
    limits: tf.Tensor
    """int32 [B]: the largest number of tokens, including the end token."""
    group_ids: tf.Tensor
    """int32 [B, W]: the group of each beam; -1 where the row has fewer beams."""
    group_sizes: tf.Tensor
    """int32 [B]: number of beams in each group of the row."""
    diversity_penalty: tf.Tensor
    """float32 [B], as the two that follow."""
    length_penalty: tf.Tensor
    length_offset: tf.Tensor
    has_rewards: tf.Tensor
    """bool [B]: whether a setting can make a token's score positive."""


class _Choice(NamedTuple):
    """The result of a step for each beam: int32 and float32 [B, W]."""

    index: tf.Tensor
    """Beam * V + token of the continuation that keeps running."""
    score: tf.Tensor
    source: tf.Tensor
    """Of the finished hypothesis: index of an old one, or W + beam * V + token of a new one."""
    finished_score: tf.Tensor


def expand(
    logits: tf.Tensor,
    running: Hypotheses,
    finished: Hypotheses,
    num_tokens: tf.Tensor,
    search: BeamInvariants,
) -> tuple[Hypotheses, Hypotheses, tf.Tensor]:
    """Extends every running hypothesis by one token.

    Args:
        logits: float32 [B * W, V], the model's, for each running hypothesis.
        running, finished: Hypotheses with room for a token at index `num_tokens`.
        num_tokens: int32 scalar, tokens of the running hypotheses.
        search: BeamInvariants.
    Returns:
        The running and the finished Hypotheses of the next step, and int32 [B, W], the beam that each running one
        continues; its own index where there is no running hypothesis.
    """
    shape = tf.concat([tf.shape(running.score), [-1]], axis=0)
    width, vocab_size = tf.shape(running.score)[1], tf.shape(logits)[1]
    own = tf.nn.log_softmax(logits)
    totals = running.score[:, :, None] + tf.reshape(_token_scores(own, running, num_tokens, search), shape)
    choice = _choose(totals, finished.score, num_tokens + 1, search)

    own = tf.reshape(own, [-1, width * vocab_size])
    longer = _continue(running, choice.index, own, num_tokens, search)._replace(score=choice.score)
    kept = tf.nest.map_structure(
        lambda x: tf.gather(x, tf.minimum(choice.source, width - 1), batch_dims=1), finished
    )
    index = tf.maximum(choice.source - width, 0)
    added = _continue(running, index, own, num_tokens, search)
    is_new = choice.source >= width
    finished = Hypotheses(
        token_ids=tf.where(is_new[:, :, None], added.token_ids, kept.token_ids),
        score=choice.finished_score,
        log_probability=tf.where(is_new, added.log_probability, kept.log_probability),
    )
    parents = tf.where(choice.score > _NEG_INF, choice.index // vocab_size, tf.range(width))
    return longer, finished, parents


def _token_scores(
    own: tf.Tensor, running: Hypotheses, num_tokens: tf.Tensor, search: BeamInvariants
) -> tf.Tensor:
    """The score of each token: float32 [B * W, V], the model's log-probabilities after penalties and constraints.

    Where every token is masked the hypothesis ends, as in `choose`.
    """
    shape, end_id = tf.shape(running.token_ids), search.beams.end_ids[0]
    scores = process_logits(
        own,
        token_ids=tf.reshape(running.token_ids, [-1, shape[2]]),
        num_tokens=tf.fill([shape[0] * shape[1]], num_tokens),
        invariants=search.beams,
    )
    if len(search.beams.end_ids) > 1:
        scores = _best_end_alone(scores, search.beams.end_ids)
    is_stuck = tf.reduce_max(scores, axis=1, keepdims=True) <= _NEG_INF
    is_end_id = tf.range(tf.shape(own)[1]) == end_id
    end = own[:, end_id, None]
    return tf.where(is_stuck & is_end_id, tf.where(tf.math.is_finite(end), end, _MIN_SCORE), scores)


def _best_end_alone(scores: tf.Tensor, end_ids: tuple[int, ...]) -> tf.Tensor:
    """Masks all end tokens but each row's best: the others would end the same text again."""
    ends = tf.constant(end_ids)
    best = tf.gather(ends, tf.argmax(tf.gather(scores, ends, axis=1), axis=1))
    vocab = tf.range(tf.shape(scores)[1])
    return tf.where(is_end(vocab, end_ids) & (vocab != best[:, None]), _NEG_INF, scores)


def _choose(
    totals: tf.Tensor, finished_score: tf.Tensor, length: tf.Tensor, search: BeamInvariants
) -> _Choice:
    """The choice of all groups in order, from the scores of all continuations float32 [B, W, V].

    `used` counts the choices of each token by earlier groups, in running and in finished hypotheses.
    """

    def body(group: tf.Tensor, used: tf.Tensor, choice: _Choice) -> tuple[tf.Tensor, tf.Tensor, _Choice]:
        choice, tokens = _choose_in_group(group, used, choice, totals, length, search)
        return group + 1, used + count_tokens(tokens, tf.shape(used)[1]), choice

    zeros = tf.zeros_like(search.group_ids)
    start = _Choice(zeros, tf.fill(tf.shape(zeros), _NEG_INF), zeros, finished_score)
    num_groups = tf.reduce_max(search.group_ids) + 1
    return tf.while_loop(
        lambda group, *_: group < num_groups,
        body,
        (tf.constant(0), tf.zeros_like(totals[:, 0]), start),
        shape_invariants=(tf.TensorShape([]), _OPEN, _Choice(_OPEN, _OPEN, _OPEN, _OPEN)),
    )[2]


def _choose_in_group(
    group: tf.Tensor,
    used: tf.Tensor,
    choice: _Choice,
    totals: tf.Tensor,
    length: tf.Tensor,
    search: BeamInvariants,
) -> tuple[_Choice, tf.Tensor]:
    """The choice with the beams of one group filled in, and the chosen tokens int32 [B, 3 * W], padded with -1."""
    width, vocab_size = tf.shape(totals)[1], tf.shape(totals)[2]
    is_own = search.group_ids == group
    sizes = search.group_sizes[:, None]
    penalty = search.diversity_penalty[:, None] * used
    scores = tf.where(is_own[:, :, None], totals - penalty[:, None], _NEG_INF)
    # Each beam can end once, so of 2 * W continuations at least W keep running.
    best = tf.math.top_k(tf.reshape(scores, [-1, width * vocab_size]), 2 * width)
    tokens = best.indices % vocab_size
    ends = is_end(tokens, search.beams.end_ids) | (length >= search.limits)[:, None]
    is_first = tf.range(2 * width) < sizes

    end_score = score_at_length(best.values, length, search.length_penalty, search.length_offset)
    end_score = tf.where(ends & is_first, end_score, _NEG_INF)
    before = tf.where(is_own, choice.finished_score, _NEG_INF)
    pool = tf.math.top_k(tf.concat([before, end_score], axis=1), width)
    sources = tf.concat([tf.zeros_like(search.group_ids) + tf.range(width), best.indices + width], axis=1)

    runs = tf.math.top_k(tf.where(ends, _NEG_INF, best.values), width)
    worst = tf.gather(pool.values, sizes - 1, batch_dims=1)
    score = tf.where(_can_win(runs.values[:, :1], worst, length, search), runs.values, _NEG_INF)

    ranks = tf.clip_by_value(tf.range(width) - group * sizes, 0, width - 1)

    def put(old: tf.Tensor, ranked: tf.Tensor) -> tf.Tensor:
        return tf.where(is_own, tf.gather(ranked, ranks, batch_dims=1), old)

    is_running = (score > _NEG_INF) & is_first[:, :width]
    running_tokens = tf.where(is_running, tf.gather(tokens, runs.indices, batch_dims=1), -1)
    ended_tokens = tf.where(end_score > _NEG_INF, tokens, -1)
    choice = _Choice(
        index=put(choice.index, tf.gather(best.indices, runs.indices, batch_dims=1)),
        score=put(choice.score, score),
        source=put(choice.source, tf.gather(sources, pool.indices, batch_dims=1)),
        finished_score=put(choice.finished_score, pool.values),
    )
    return choice, tf.concat([running_tokens, ended_tokens], axis=1)


def _can_win(best: tf.Tensor, worst: tf.Tensor, num_tokens: tf.Tensor, search: BeamInvariants) -> tf.Tensor:
    """Whether a group keeps running: bool [B, 1], from its best running score and its worst finished score, float32
    [B, 1].

    A worst score of -inf means that there is room for another finished hypothesis. A group of one beam is greedy and
    stops at its first end token.
    """
    bound = best_possible_score(best, num_tokens, search.limits, search.length_penalty, search.length_offset)
    bound = tf.where(search.has_rewards[:, None], float("inf"), bound)
    is_greedy = (search.group_sizes == 1)[:, None]
    return (bound > worst) & ~(is_greedy & (worst > _NEG_INF))


def _continue(
    running: Hypotheses, index: tf.Tensor, own: tf.Tensor, place: tf.Tensor, search: BeamInvariants
) -> Hypotheses:
    """The hypotheses that continue with `index` int32 [B, W], beam * V + token; their scores are not updated.

    Args:
        own: float32 [B, W * V], the model's log-probabilities.
    """
    width = tf.shape(index)[1]
    vocab_size = tf.shape(own)[1] // width
    parents, tokens = index // vocab_size, index % vocab_size
    token_ids = tf.gather(running.token_ids, parents, batch_dims=1)
    tokens = tf.where(is_end(tokens, search.beams.end_ids), -1, tokens)
    is_here = tf.range(tf.shape(token_ids)[2]) == place
    log_probability = tf.gather(running.log_probability, parents, batch_dims=1)
    return Hypotheses(
        token_ids=tf.where(is_here, tokens[:, :, None], token_ids),
        score=running.score,
        log_probability=log_probability + tf.gather(own, index, batch_dims=1),
    )


def score_at_length(
    total: tf.Tensor, length: tf.Tensor, length_penalty: tf.Tensor, length_offset: tf.Tensor
) -> tf.Tensor:
    """Length-normalized score: `total / ((length_offset + length) / (length_offset + 1)) ** length_penalty`.

    With an offset of 5 this is equation 14 of Wu et al., 2016, Google's Neural Machine Translation System; with 0 it is
    `total / length ** length_penalty` of the transformers library.

    >>> score_at_length([[-6.], [-6.], [-6.]], [4, 4, 4], length_penalty=[1., .5, 1.], length_offset=[0., 0., 5.])
    [[-1.5], [-3.], [-4.]]

    Args:
        total: float32 [B, N], the sum of the tokens' scores.
        length: int32 [B] or scalar, generated tokens, including an end token.
        length_penalty: float32 [B]. The divisor is clipped to 1e-20 to 1e20.
        length_offset: float32 [B], 0 or more.
    Returns:
        float32 [B, N].
    """
    ratio = (length_offset + tf.cast(length, tf.float32)) / (length_offset + 1.0)
    return total / tf.clip_by_value(ratio**length_penalty, _MIN_DIVISOR, _MAX_DIVISOR)[:, None]


def best_possible_score(
    total: tf.Tensor,
    num_tokens: tf.Tensor,
    limits: tf.Tensor,
    length_penalty: tf.Tensor,
    length_offset: tf.Tensor,
) -> tf.Tensor:
    """Upper bound of the final score of running hypotheses, if no token's score is above 0.

    Then the total only decreases. It is negative, so a larger divisor gives a better score. A hypothesis of n tokens
    finishes with a length from n + 1 to its limit. With a length penalty above 0 the divisor is largest at the limit,
    otherwise at n + 1: the bound is the present total, divided as there.

    >>> best_possible_score([[-6.], [-6.]], 2, limits=[6, 6], length_penalty=[1., -1.], length_offset=[0., 0.])
    [[-1.], [-18.]]

    Args:
        total: float32 [B, N].
        num_tokens: int32 scalar, tokens generated before.
        limits: int32 [B].
        length_penalty, length_offset: float32 [B].
    Returns:
        float32 [B, N].
    """
    length = tf.where(length_penalty > 0.0, limits, num_tokens + 1)
    return score_at_length(total, length, length_penalty, length_offset)
