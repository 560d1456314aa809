"""The random numbers of generation: for each row a sequence that its seed alone decides."""

import tensorflow as tf

_GROUP = 64
"""Numbers drawn by one call. Seed and group make the key, so number n of a row is the same however many are
asked for at a time. Changing this changes the text of every seed."""


def uniforms(seed: tf.Tensor, start: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Numbers `start` to `start + count - 1` of each row's sequence.

    `uniforms(seed, 3, 2)` is `uniforms(seed, 0, 5)[:, 3:]`, and a row's numbers do not depend on other rows.

    Args:
        seed: int64 [B].
        start: int32 scalar.
        count: int32 scalar, at least 1.
    Returns:
        float64 [B, count], from 0 inclusive to 1 exclusive.
    """
    first_group, last_group = start // _GROUP, (start + count - 1) // _GROUP
    groups = tf.cast(tf.range(first_group, last_group + 1), tf.int64)
    rows, groups = tf.meshgrid(seed, groups, indexing="ij")
    numbers = tf.map_fn(
        lambda key: tf.random.stateless_uniform([_GROUP], key, dtype=tf.float64, alg="philox"),
        tf.reshape(tf.stack([rows, groups], axis=-1), [-1, 2]),
        fn_output_signature=tf.TensorSpec([_GROUP], tf.float64),
    )
    numbers = tf.reshape(numbers, [tf.shape(seed)[0], tf.shape(rows)[1] * _GROUP])
    offset = start - first_group * _GROUP
    return numbers[:, offset : offset + count]
