"""Masking: which tokens a model has to find, and what it sees in their place (Devlin et al., 2019, section 3.1)."""

from typing import NamedTuple

import tensorflow as tf

_MASKED, _RANDOM = 0.8, 0.1  # the rest stays as it is


class Masked(NamedTuple):
    """What `mask_tokens` returns."""

    token_ids: tf.Tensor
    """int32 [B, T]: what the model sees."""
    targets: tf.Tensor
    """int32 [B, T]: the tokens as they were."""
    loss_weights: tf.Tensor
    """float32 [B, T]: 1 where a token is to be found, else 0."""


def mask_tokens(
    token_ids: tf.Tensor,
    seed: tf.Tensor,
    *,
    maskable: tf.Tensor,
    unit_ids: tf.Tensor,
    mask_fraction: float,
    mask_id: int,
    ordinary_ids: tf.Tensor,
) -> Masked:
    """Chooses units at random; of their tokens 80% become the mask, 10% random ones, and 10% stay.

    Each unit is chosen with probability `mask_fraction`, however long it is, and with it all its maskable tokens;
    in a row where chance chose none, one is. So of many tokens that fraction is chosen, of a short row more.

        token_ids     1 8 9 7 2    unit_ids  -1 0 0 1 -1    (special tokens 1 and 2 are not maskable)
        ->            1 4 9 7 2    loss_weights  0 1 1 0 0   (unit 0 was chosen: 8 became the mask 4, 9 stayed)

    Args:
        token_ids: int32 [B, T].
        seed: int64 [2].
        maskable: bool [B, T].
        unit_ids: int32 [B, T]; neighbours with the same number are one unit.
        mask_fraction: float, in (0, 1).
        mask_id: int.
        ordinary_ids: int32 [N], the ids that random tokens are drawn from.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    shape = tf.shape(token_ids)
    chosen = _choose_units(unit_ids, maskable, mask_fraction, seeds[0])
    fate = tf.random.stateless_uniform(shape, seeds[1])
    places = tf.random.stateless_uniform(shape, seeds[2], maxval=tf.size(ordinary_ids), dtype=tf.int32)
    seen = tf.where(fate < _MASKED, mask_id, tf.gather(ordinary_ids, places))
    seen = tf.where(fate < _MASKED + _RANDOM, seen, token_ids)
    return Masked(tf.where(chosen, seen, token_ids), token_ids, tf.cast(chosen, tf.float32))


def _choose_units(unit_ids: tf.Tensor, maskable: tf.Tensor, fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """bool [B, T], the same for all maskable tokens of a unit."""
    begins = tf.pad(unit_ids[:, 1:] != unit_ids[:, :-1], [[0, 0], [1, 0]])
    unit = tf.cumsum(tf.cast(begins, tf.int32), axis=1)
    draws = tf.gather(tf.random.stateless_uniform(tf.shape(unit_ids), seed), unit, batch_dims=1)
    draws = tf.where(maskable, draws, 2.0)
    least = tf.reduce_min(draws, axis=1, keepdims=True)
    return maskable & ((draws < fraction) | tf.equal(draws, least))
