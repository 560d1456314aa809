"""Attribution: how much each input contributes to a score. In graph, with plain ops for forward and backward passes.

An input is a token's embedding, or the value of an n-gram, times a scale: 1 in the text as it is, 0 where the input is
left out. With F(s) the score at the scales s of a row:

    gradient_x_input        dF/ds at s = 1, which is the gradient of the input times the input, summed over its width
    integrated_gradients    the mean of dF/ds along the path from s = 0 to s = 1 (Sundararajan et al., 2017)
    occlusion               F(1) - F(s with one input at 0); no gradient

Integrated gradients are complete: they sum up to F(1) - F(0), but for the error of the midpoint rule, which falls with
the square of the number of steps.

The scale 0 leaves the positions of a text as they are: the embedding of the token is zero, as word dropout has it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

Tensor = Any

METHODS = ("integrated_gradients", "gradient_x_input", "occlusion")
_BLOCK = 32  # rows that are explained together: memory does not grow with the number of rows
MOST_STEPS = 1000
_GRADING = 4
"""The path is cut into cells that end at (n / num_steps)^4, and are narrow near the baseline: norms make the score of a
Transformer change fast there, where embeddings are as small as the epsilon of its norms."""

ScoreFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From scales float32 [r, W] and the numbers of rows int32 [r] to their scores, float32 [r]."""
OccludedFn = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From the number of a place, int32 scalar, and the numbers of rows int32 [r] to the scales float32 [r or 1, W] without
that place."""


class Attributions(NamedTuple):
    """Of R rows."""

    values: tf.Tensor
    """float32 [R, W]; 0 for what is no input."""
    scores: tf.Tensor
    """float32 [R], F(1)."""
    baseline_scores: tf.Tensor
    """float32 [R], F(0)."""


def attribute_rows(
    score_fn: ScoreFn,
    is_input: tf.Tensor,
    method: tf.Tensor,
    num_steps: tf.Tensor,
    num_places: tf.Tensor | None = None,
    occluded_fn: OccludedFn | None = None,
) -> Attributions:
    """Attributions of R rows, 32 at a time. Each row has its own method; a row's result does not depend on others.

    Args:
        score_fn: F; a row's score depends on its own scales alone.
        is_input: bool [R, W]; the others keep the scale 1, such as special tokens and padding.
        method: string [R], one of METHODS; another is taken as the first.
        num_steps: int32 [R], of integrated gradients; from 1 to 1000.
        num_places: int32 scalar, how many of the W inputs occlusion leaves out one by one; all by default.
        occluded_fn: the scales without a place; by default 0 there and 1 elsewhere.
    """
    num_rows, width = tf.unstack(tf.shape(is_input))
    places = width if num_places is None else num_places
    occluded = occluded_fn or (lambda place, rows: 1.0 - tf.one_hot(place, width)[None])
    num_blocks = tf.maximum((num_rows + _BLOCK - 1) // _BLOCK, 1)
    empty = [tf.TensorArray(tf.float32, num_blocks, infer_shape=False) for _ in range(3)]

    def step(number: tf.Tensor, *found: tf.TensorArray) -> tuple[Any, ...]:
        rows = tf.range(number * _BLOCK, tf.minimum((number + 1) * _BLOCK, num_rows))
        block = _attribute_block(
            score_fn,
            rows,
            tf.gather(is_input, rows),
            tf.gather(method, rows),
            tf.clip_by_value(tf.gather(num_steps, rows), 1, MOST_STEPS),
            places,
            occluded,
        )
        return number + 1, *(array.write(number, value) for array, value in zip(found, block, strict=True))

    _, *found = tf.while_loop(lambda number, *_: number < num_blocks, step, (0, *empty))
    values, scores, baselines = (array.concat() for array in found)
    return Attributions(tf.ensure_shape(values, [None, None]), scores, baselines)


def _attribute_block(
    score_fn: ScoreFn,
    rows: tf.Tensor,
    is_input: tf.Tensor,
    method: tf.Tensor,
    num_steps: tf.Tensor,
    num_places: tf.Tensor,
    occluded: OccludedFn,
) -> Attributions:
    is_occlusion = tf.equal(method, "occlusion")
    slopes = _mean_slopes(
        score_fn, rows, is_input, tf.equal(method, "gradient_x_input"), tf.where(is_occlusion, 0, num_steps)
    )
    num_scores = 2 + tf.where(tf.reduce_any(is_occlusion), num_places, 0)
    empty = tf.TensorArray(tf.float32, num_scores, element_shape=[None])

    def step(number: tf.Tensor, scores: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        # The text as it is, the baseline, then the text without one place after the other.
        without = tf.where(number > 1, occluded(tf.maximum(number - 2, 0), rows), 0.0)
        scales = tf.where(is_input & (number > 0), without, 1.0)
        return number + 1, scores.write(number, score_fn(scales, rows))

    _, scores = tf.while_loop(lambda number, _: number < num_scores, step, (0, empty))
    scores = scores.stack()
    drops = tf.transpose(scores[:1] - scores[2:])
    drops = tf.pad(drops, [[0, 0], [0, tf.shape(is_input)[1] - tf.shape(drops)[1]]])
    values = tf.where(is_occlusion[:, None], drops, slopes)
    return Attributions(tf.where(is_input, values, 0.0), scores[0], scores[1])


def _mean_slopes(
    score_fn: ScoreFn,
    rows: tf.Tensor,
    is_input: tf.Tensor,
    at_end: tf.Tensor,
    num_steps: tf.Tensor,
) -> tf.Tensor:
    """The mean of dF/ds along the path, by the midpoint rule in `num_steps` int32 [r] cells; where `at_end`, bool [r],
    dF/ds at s = 1: float32 [r, W]."""
    num_steps = tf.where(at_end, tf.minimum(num_steps, 1), num_steps)
    size = 1.0 / tf.cast(tf.maximum(num_steps, 1), tf.float32)

    def step(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        begin, end = ((tf.cast(number + each, tf.float32) * size) ** _GRADING for each in (0, 1))
        place = tf.where(at_end, 1.0, (begin + end) / 2.0)
        scales = tf.where(is_input, place[:, None], 1.0)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(scales)
            scores = score_fn(scales, rows)
        slopes = tape.gradient(scores, scales, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        weight = tf.where(number < num_steps, end - begin, 0.0)
        return number + 1, total + weight[:, None] * slopes

    most = tf.reduce_max(num_steps)
    zeros = tf.zeros(tf.shape(is_input))
    shapes = tf.TensorShape([]), tf.TensorShape([None, None])
    return tf.while_loop(lambda number, _: number < most, step, (0, zeros), shapes)[1]


def log_odds(logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """ln p / (1 - p) of one of C outcomes: its logit less the log of the summed exponentials of the others.

    It does not flatten where p is close to 1, as the probability and its logarithm do.

    >>> log_odds([[0.0, 0.0]], [1])
    [0.0]

    Args:
        logits: float32 [R, C].
        index: int32 [R].
    Returns:
        float32 [R].
    """
    is_own = tf.one_hot(index, tf.shape(logits)[1], on_value=True, off_value=False)
    own = tf.reduce_sum(tf.where(is_own, logits, 0.0), axis=1)
    return own - tf.reduce_logsumexp(tf.where(is_own, -1e9, logits), axis=1)
