"""Logit filters: temperature, top-k, top-p, min-p and typical-p, applied in this order before a token is sampled.

Each masks tokens by setting their logits to -inf. The last part of the file is what top-k, top-p and typical-p share:
selection of the top-ranked tokens by cumulative weight.
"""

import tensorflow as tf

from tflm.generation.logit_pipeline import LogitPipeline

FILTERS = LogitPipeline()

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-6, 1e30


@FILTERS.register()
def scale_by_temperature(logits: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Temperature: logits divided by the temperature, after a shift that puts the largest at 0.

    The shift leaves the probabilities unchanged and prevents overflow and NaN at small temperatures.

    >>> scale_by_temperature([[1., 3., 2.]], [0.5])
    [[-4., 0., -2.]]

    Args:
        logits: float32 [B, V]; -inf is a masked token.
        temperature: float32 [B], clipped to at least 1e-6; NaN is 1. (Rows at 0 or NaN are greedy and do not sample,
            but share the batch with rows that do.)
    Returns:
        float32 [B, V].
    """
    largest = tf.reduce_max(logits, axis=-1, keepdims=True)
    shifted = logits - tf.where(largest > float("-inf"), largest, 0.0)
    temperature = tf.where(tf.math.is_nan(temperature), 1.0, temperature)
    return shifted / tf.clip_by_value(temperature, _MIN_TEMPERATURE, _MAX_TEMPERATURE)[:, None]


@FILTERS.register(is_on=lambda top_k: top_k > 0)
def keep_top_k(logits: tf.Tensor, top_k: tf.Tensor) -> tf.Tensor:
    """Top-k sampling (Fan et al., 2018, Hierarchical Neural Story Generation, section 5.4): keep the k most likely
    tokens.

    Ties with the k-th token are all kept, so the result does not depend on the order of the vocabulary.

    >>> keep_top_k([[1., 3., 2.]], [2])
    [[-inf, 3., 2.]]

    Args:
        logits: float32 [B, V].
        top_k: int32 [B]; 0 or less is off, and so is V or more.
    Returns:
        float32 [B, V].
    """
    is_on = (top_k > 0) & (top_k < tf.shape(logits)[-1])
    mass = tf.where(is_on, tf.cast(top_k, tf.float32), float("inf"))
    return keep_top_ranked(logits, logits, tf.ones_like(logits), mass)


@FILTERS.register(is_on=lambda top_p: top_p < 1.0)
def keep_top_p(logits: tf.Tensor, top_p: tf.Tensor) -> tf.Tensor:
    """Top-p (nucleus) sampling (Holtzman et al., 2020, The Curious Case of Neural Text Degeneration, section 3.1): keep
    the smallest set of tokens whose probability mass reaches `p`.

    A token is kept while the more likely tokens have a cumulative probability below `top_p`; the most likely token is
    always kept. Ties with the last token of the nucleus are kept too.

    >>> keep_top_p(log([[0.1, 0.6, 0.3]]), [0.7])        # 0.6 alone does not reach 0.7
    log([[0., 0.6, 0.3]])

    Args:
        logits: float32 [B, V].
        top_p: float32 [B]; 1 or more is off, 0 or less keeps the most likely token.
    Returns:
        float32 [B, V].
    """
    mass = tf.where(top_p < 1.0, top_p, float("inf"))
    return keep_top_ranked(logits, logits, tf.nn.softmax(logits), mass)


@FILTERS.register(is_on=lambda min_p: min_p > 0.0)
def keep_min_p(logits: tf.Tensor, min_p: tf.Tensor) -> tf.Tensor:
    """Min-p sampling (Nguyen et al., 2024, Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs,
    section 3): keep tokens with at least `min_p` times the largest probability.

    Ratios of probabilities are differences of logits, so this needs neither a sort nor a sum.

    >>> keep_min_p(log([[0.1, 0.6, 0.3]]), [0.25])       # the threshold is 0.15
    log([[0., 0.6, 0.3]])

    Args:
        logits: float32 [B, V].
        min_p: float32 [B]; 0 or less is off, 1 or more keeps the most likely token and its ties.
    Returns:
        float32 [B, V].
    """
    is_on = min_p > 0.0
    distance = tf.math.log(tf.clip_by_value(min_p, 1e-30, 1.0))
    threshold = tf.reduce_max(logits, axis=-1) + distance
    is_below = is_on[:, None] & (logits < threshold[:, None])
    return tf.where(is_below, float("-inf"), logits)


@FILTERS.register(is_on=lambda typical_p: typical_p < 1.0)
def keep_typical(logits: tf.Tensor, typical_p: tf.Tensor) -> tf.Tensor:
    """Locally typical sampling (Meister et al., 2022, Locally Typical Sampling, section 3.3): keep the tokens whose
    surprisal is closest to the entropy, until their probability mass reaches `typical_p`.

    A token is kept while those closer to the entropy have a cumulative probability below `typical_p`; the closest is
    always kept, and the most likely token may be masked. Ties, such as tokens with the same logit, are kept together.

    The entropy is 0.90 nats, the surprisals are 2.30, 0.51 and 1.20:

    >>> keep_typical(log([[0.1, 0.6, 0.3]]), [0.5])
    log([[0., 0.6, 0.3]])

    Args:
        logits: float32 [B, V]; -inf is a masked token, which does not contribute to the entropy.
        typical_p: float32 [B]; 1 or more is off, 0 or less keeps the most typical token.
    Returns:
        float32 [B, V].
    """
    log_probabilities = tf.nn.log_softmax(logits)
    probabilities = tf.exp(log_probabilities)
    terms = tf.math.multiply_no_nan(log_probabilities, probabilities)
    nearness = -tf.abs(log_probabilities - tf.reduce_sum(terms, axis=-1, keepdims=True))
    ranking = tf.where(logits > float("-inf"), nearness, float("-inf"))
    mass = tf.where(typical_p < 1.0, typical_p, float("inf"))
    return keep_top_ranked(logits, ranking, probabilities, mass)


_HEADS = (64, 512)
"""Numbers of top-ranked tokens tried before the whole vocabulary. The set to keep is nearly always among them, and
finding these few of 50,000 takes a tenth of the time of a full sort."""

_BLOCK = 8
"""Tokens per block of `largest`."""


def keep_top_ranked(logits: tf.Tensor, ranking: tf.Tensor, weights: tf.Tensor, mass: tf.Tensor) -> tf.Tensor:
    """Keeps the top-ranked tokens until their cumulative weight reaches `mass`, and masks the others.

    A token is kept if the tokens ranked above it weigh less than `mass`. The first is always kept, and ties are kept
    together. The sums are float32: among tens of thousands of equal tokens, rounding may move the border by a few.

    >>> keep_top_ranked([[5., 6., 7.]], ranking=[[3., 1., 2.]], weights=[[0.5, 0.3, 0.2]], mass=[0.6])
    [[5., -inf, 7.]]

    Args:
        logits: float32 [B, V].
        ranking: float32 [B, V], no NaN; the largest is first.
        weights: float32 [B, V].
        mass: float32 [B]; infinity is off.
    Returns:
        float32 [B, V].
    """
    is_on = mass < float("inf")

    def last_kept(heads: tuple[int, ...]) -> tf.Tensor:
        if not heads:
            return _last_kept_of_all(ranking, weights, mass)
        values, places = largest(ranking, heads[0])
        sums = tf.cumsum(tf.gather(weights, places, batch_dims=1), axis=-1)
        return tf.cond(
            tf.reduce_any(is_on & (sums[:, -1] < mass)),
            lambda: last_kept(heads[1:]),
            lambda: _last_kept_of_sorted(values, sums, mass),
        )

    is_below = is_on[:, None] & (ranking < last_kept(_HEADS))
    return tf.where(is_below, float("-inf"), logits)


def largest(values: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `count` largest values of each row in descending order, as `tf.math.top_k`, but faster under XLA.

    They are in the blocks with the `count` largest maxima: each of those blocks has a value at least as large as any
    value outside them. XLA, whose top-k sorts everything, then sorts a tenth of it.

    >>> largest([[5., 7., 6.]], 2)
    [[7., 6.]], [[1, 2]]

    Args:
        values: float32 [B, V].
        count: int, not a tensor: XLA needs static sizes.
    Returns:
        The values float32 [B, K] and their indices int32 [B, K]; K is `count`, at most V. Where a value is -inf its
        index is arbitrary.
    """
    batch_size, num_values = tf.unstack(tf.shape(values))
    num_blocks = (num_values + _BLOCK - 1) // _BLOCK
    padding = [[0, 0], [0, num_blocks * _BLOCK - num_values]]
    padded = tf.pad(values, padding, constant_values=float("-inf"))
    blocks = tf.reshape(padded, [batch_size, num_blocks, _BLOCK])
    best = tf.math.top_k(tf.reduce_max(blocks, axis=2), tf.minimum(count, num_blocks)).indices
    candidates = tf.reshape(tf.gather(blocks, best, batch_dims=1), [batch_size, -1])
    indices = tf.reshape(best[:, :, None] * _BLOCK + tf.range(_BLOCK), [batch_size, -1])
    found = tf.math.top_k(candidates, tf.minimum(count, num_values))
    indices = tf.gather(indices, found.indices, batch_dims=1)
    return found.values, tf.minimum(indices, num_values - 1)


def _last_kept_of_sorted(descending: tf.Tensor, sums: tf.Tensor, mass: tf.Tensor) -> tf.Tensor:
    """The smallest value that is kept, float32 [B, 1]; `sums` float32 [B, K] are cumulative weights."""
    is_reached = tf.cast(sums[:, :-1] >= mass[:, None], tf.int32)
    num_kept = tf.shape(descending)[1] - tf.reduce_sum(is_reached, axis=-1)
    return tf.gather(descending, num_kept[:, None] - 1, batch_dims=1)


def _last_kept_of_all(ranking: tf.Tensor, weights: tf.Tensor, mass: tf.Tensor) -> tf.Tensor:
    """The same over the whole vocabulary by bisection, in at most 32 sums: as fast as a sort for one row, and faster
    for more rows and under XLA."""
    keys = _flip(tf.bitcast(ranking, tf.int32))

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The floor of the mean of two numbers whose sum may overflow 32 bits.
        half = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(low, high), tf.ones_like(low))
        middle = tf.bitwise.bitwise_and(low, high) + half
        weight_above = tf.reduce_sum(tf.where(keys > middle, weights, 0.0), axis=-1, keepdims=True)
        is_kept = weight_above < mass[:, None]
        return tf.where(is_kept, low, tf.minimum(middle + 1, high)), tf.where(is_kept, middle, high)

    low, high = tf.reduce_min(keys, axis=-1, keepdims=True), tf.reduce_max(keys, axis=-1, keepdims=True)
    low, _ = tf.while_loop(lambda low, high: tf.reduce_any(low < high), halve, (low, high))
    # The weight above changes only at values of the row, so the result is one of them.
    return tf.bitcast(_flip(low), tf.float32)


def _flip(bits: tf.Tensor) -> tf.Tensor:
    """Bits of floats as integers in the same order, and back."""
    return tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, 0x7FFFFFFF), bits)
