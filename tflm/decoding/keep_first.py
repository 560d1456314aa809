"""What `top_k`, `top_p` and `typical_p` share: the first tokens of some order, as many as weigh enough."""

import tensorflow as tf

_HEADS = (64, 512)
"""Tokens that are sorted at first. What is asked for is nearly always among them, and to find these few of 50,000
takes a tenth of the time that all take."""

_BLOCK = 8
"""Tokens in a block, of which only the largest is compared at first."""


def keep_first(logits: tf.Tensor, order: tf.Tensor, weights: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Makes every token impossible before which others weigh `limit` or more.

    The first always stays, and equals stay together, so that the order of the vocabulary decides nothing. The sums are
    float32: among tens of thousands of tokens alike, rounding may move the border by a few.

    >>> keep_first([[5., 6., 7.]], order=[[3., 1., 2.]], weights=[[0.5, 0.3, 0.2]], limit=[0.6])
    [[5., -inf, 7.]]

    Args:
        logits: float32 [B, V].
        order: float32 [B, V], no NaN; the largest comes first.
        weights: float32 [B, V].
        limit: float32 [B]; infinity is off.
    Returns:
        float32 [B, V].
    """
    is_on = limit < float("inf")

    def last(heads: tuple[int, ...]) -> tf.Tensor:
        if not heads:
            return _last_of_all(order, weights, limit)
        values, places = largest(order, heads[0])
        sums = tf.cumsum(tf.gather(weights, places, batch_dims=1), axis=-1)
        return tf.cond(
            tf.reduce_any(is_on & (sums[:, -1] < limit)),
            lambda: last(heads[1:]),
            lambda: _last_of_sorted(values, sums, limit),
        )

    is_cut = is_on[:, None] & (order < last(_HEADS))
    return tf.where(is_cut, float("-inf"), logits)


def largest(values: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `count` largest numbers of each row, in falling order, as `tf.math.top_k`.

    They stand in the blocks with the `count` largest maxima: each of those blocks has a number at least as large
    as any that is left out. XLA, which sorts everything to find a few, sorts a tenth of it this way.

    >>> largest([[5., 7., 6.]], 2)
    [[7., 6.]], [[1, 2]]

    Args:
        values: float32 [B, V].
        count: int, not a tensor: XLA must know the sizes.
    Returns:
        The numbers, float32 [B, K], and their places, int32 [B, K]; K is `count`, at most V. Where the number is
        -inf, the place may be that of any.
    """
    batch_size, num_values = tf.unstack(tf.shape(values))
    num_blocks = (num_values + _BLOCK - 1) // _BLOCK
    filling = [[0, 0], [0, num_blocks * _BLOCK - num_values]]
    filled = tf.pad(values, filling, constant_values=float("-inf"))
    blocks = tf.reshape(filled, [batch_size, num_blocks, _BLOCK])
    best = tf.math.top_k(tf.reduce_max(blocks, axis=2), tf.minimum(count, num_blocks)).indices
    candidates = tf.reshape(tf.gather(blocks, best, batch_dims=1), [batch_size, -1])
    places = tf.reshape(best[:, :, None] * _BLOCK + tf.range(_BLOCK), [batch_size, -1])
    found = tf.math.top_k(candidates, tf.minimum(count, num_values))
    places = tf.gather(places, found.indices, batch_dims=1)
    return found.values, tf.minimum(places, num_values - 1)


def _last_of_sorted(descending: tf.Tensor, sums: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """The smallest of the numbers that stay, float32 [B, 1]; sums float32 [B, K] up to and with each."""
    is_enough = tf.cast(sums[:, :-1] >= limit[:, None], tf.int32)
    num_kept = tf.shape(descending)[1] - tf.reduce_sum(is_enough, axis=-1)
    return tf.gather(descending, num_kept[:, None] - 1, batch_dims=1)


def _last_of_all(order: tf.Tensor, weights: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """The same by bisection, in at most 32 sums: as fast as a sort for one row, under XLA and for more rows faster."""
    keys = _flip(tf.bitcast(order, tf.int32))

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The mean, rounded down, of two numbers whose sum may be too large for 32 bits.
        half = tf.bitwise.right_shift(tf.bitwise.bitwise_xor(low, high), tf.ones_like(low))
        middle = tf.bitwise.bitwise_and(low, high) + half
        weight_before = tf.reduce_sum(tf.where(keys > middle, weights, 0.0), axis=-1, keepdims=True)
        stays = weight_before < limit[:, None]
        return tf.where(stays, low, tf.minimum(middle + 1, high)), tf.where(stays, middle, high)

    low, high = tf.reduce_min(keys, axis=-1, keepdims=True), tf.reduce_max(keys, axis=-1, keepdims=True)
    low, _ = tf.while_loop(lambda low, high: tf.reduce_any(low < high), halve, (low, high))
    # The weight before changes at numbers of the row alone, so what was found is one of them.
    return tf.bitcast(_flip(low), tf.float32)


def _flip(bits: tf.Tensor) -> tf.Tensor:
    """Bits of floats as integers that compare as the floats do, and back."""
    return tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, 0x7FFFFFFF), bits)
