"""SkipGramBatches: word-context pairs and negative samples for word vectors."""

import math

import numpy as np
import tensorflow as tf

from tflm.data.batching.batches import Batch, Batches, shuffled
from tflm.data.batching.mixed_order import MixedOrder
from tflm.data.token_store import TokenStore
from tflm.errors import UserError

_ORDER, _DISTANCE, _SUBSAMPLE, _NOISE = 0, 1, 2, 3  # purposes of a seed
_SAMPLE = 1 << 16  # sample size to estimate the acceptance rate
_CHUNK = 1 << 22  # tokens counted per call


class SkipGramBatches(Batches):
    """Batches for skip-gram with negative sampling (Mikolov et al., 2013, sections 2.2 and 2.3): `token_ids` int32 [B],
    `targets` int32 [B], `negatives` int32 [B, K] and `loss_weights` float32 [B].

    For the text 7 5 9 6, with window 1 and two negatives, a batch may be

        token_ids     5      9      6
        targets       7      6      9
        negatives     9 7    5 5    7 9
        loss_weights  1      1      1

    A candidate pair is a position and a distance; each position is used once per epoch. word2vec draws a window of 1 to
    `window` for each position and takes every word in it, so distance d is `window + 1 - d` times as frequent as the
    largest one; here one distance is drawn with these probabilities. A candidate is accepted if it stays within its
    text and both words survive subsampling: a word with relative frequency f is kept with probability
    sqrt(subsample / f) (equation 5). word2vec subsamples before it forms windows, which widens them slightly; Levy et
    al., 2015, section 3.1, found no difference. Negatives are drawn with probabilities proportional to count^0.75.

    The number of candidates per batch is chosen so that B pairs are nearly always accepted; a shortfall has weight 0.
    """

    def __init__(
        self,
        store: TokenStore,
        batch_size: int,
        *,
        vocab_size: int,
        window: int,
        subsample: float,
        num_negatives: int,
        seed: int,
        training: bool,
    ) -> None:
        """Args:
            store: with the ragged feature "token_ids", the words of each text without start and end tokens.
            batch_size: int, B, pairs per batch.
            vocab_size: int, V.
            window: int, maximum distance of a pair.
            subsample: float, t of equation 5; 0 for no subsampling.
            num_negatives: int, K.
            seed: int, seed of all random draws.
            training: bool, endless and shuffled, or one pass in a fixed order.

        Raises:
            UserError: no text has two words.
        """
        super().__init__(batch_size, seed, training)
        self._tokens = store.flat("token_ids")
        self._offsets = store.tensor("token_ids", "offsets")
        self._num_tokens = self._tokens.size
        self._order: MixedOrder | None = None
        if training and store.mixture is not None:
            self._starts = store.mixture.value_starts["token_ids"]
            self._order = MixedOrder(store.mixture, np.diff(self._starts), seed)
        self._num_negatives = num_negatives
        if int(store.lengths("token_ids").max()) < 2:
            raise UserError(
                f"none of {store.num_rows} texts has two words, and skip-gram needs pairs of words within a text; give "
                f"longer texts (data.document sets what a text is)"
            )
        counts = _count(store.values("token_ids"), vocab_size)
        noise = np.cumsum(counts**0.75)
        with tf.device("CPU:0"):
            self._keep = tf.constant(_keep_probability(counts, subsample), tf.float32)
            self._noise = tf.constant(noise / noise[-1])
            self._distances = tf.constant(_distances(window))
        self._num_tries = self._tries_for(batch_size)

    @property
    def batches_per_epoch(self) -> int:
        if self.training:
            return max(1, self._num_tokens // self._num_tries)
        return -(-self._num_tokens // self._num_tries)

    def epochs(self, num_batches: int) -> dict[str, float]:
        return self._order.epochs(num_batches * self._num_tries) if self._order else {}

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        """Shape and dtype of a batch."""
        return {
            "token_ids": tf.TensorSpec([self.batch_size], tf.int32),
            "targets": tf.TensorSpec([self.batch_size], tf.int32),
            "negatives": tf.TensorSpec([self.batch_size, self._num_negatives], tf.int32),
            "loss_weights": tf.TensorSpec([self.batch_size], tf.float32),
        }

    def _batch(self, index: tf.Tensor) -> Batch:
        epoch, batch = index // self.batches_per_epoch, index % self.batches_per_epoch
        places = batch * self._num_tries + tf.range(self._num_tries, dtype=tf.int64)
        real = places < self._num_tokens
        if self._order is not None:
            source, _, place = self._order.draw(
                index * self._num_tries + tf.range(self._num_tries, dtype=tf.int64)
            )
            places, real = tf.gather(self._starts, source) + place, tf.ones_like(real)
        elif self.training:  # positions repeat if there are fewer than candidates
            places = shuffled(places % self._num_tokens, self._num_tokens, self._epoch_seed(epoch, _ORDER))
            real = tf.ones_like(real)
        words, contexts, counted = self._pairs(tf.minimum(places, self._num_tokens - 1), index)
        chosen = tf.where(counted & real)[: self.batch_size, 0]
        rest = [[0, self.batch_size - tf.size(chosen)]]
        return {
            "token_ids": tf.pad(tf.gather(words, chosen), rest),
            "targets": tf.pad(tf.gather(contexts, chosen), rest),
            "negatives": self._negatives(index),
            "loss_weights": tf.pad(tf.ones_like(chosen, tf.float32), rest),
        }

    def _pairs(self, places: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Words at the positions int64 [N], a context word of each, and whether the pair is accepted; all [N]."""
        count, choices = tf.shape(places)[0], tf.size(self._distances)
        seed = self._epoch_seed(index, _DISTANCE)
        choice = tf.random.stateless_uniform([count], seed, maxval=choices, dtype=tf.int32)
        others = places + tf.gather(self._distances, choice)
        text = tf.searchsorted(self._offsets, places, side="right")  # index of the text + 1
        inside = (others >= tf.gather(self._offsets, text - 1)) & (others < tf.gather(self._offsets, text))
        words = self._tokens.gather(places)
        contexts = self._tokens.gather(tf.clip_by_value(others, 0, self._num_tokens - 1))
        keep = tf.gather(self._keep, words) * tf.gather(self._keep, contexts)
        draw = tf.random.stateless_uniform([count], self._epoch_seed(index, _SUBSAMPLE))
        return words, contexts, inside & (draw < keep)

    def _negatives(self, index: tf.Tensor) -> tf.Tensor:
        shape = [self.batch_size * self._num_negatives]
        draw = tf.random.stateless_uniform(shape, self._epoch_seed(index, _NOISE), dtype=tf.float64)
        noise = tf.searchsorted(self._noise, draw, side="right")
        return tf.reshape(noise, [self.batch_size, self._num_negatives])

    def _tries_for(self, num_pairs: int) -> int:
        """Number of candidates, such that the expected number of accepted pairs is 4 standard deviations above
        `num_pairs`."""
        index = tf.constant(0, tf.int64)
        seed = self._epoch_seed(index, _ORDER)
        places = tf.random.stateless_uniform([_SAMPLE], seed, maxval=self._num_tokens, dtype=tf.int64)
        counted = int(tf.math.count_nonzero(self._pairs(places, index)[2]))
        return math.ceil((num_pairs + 4 * math.sqrt(num_pairs)) * _SAMPLE / max(counted, 1))


def _count(token_ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """Count of each token id, int64 [V]."""
    counts = np.zeros(vocab_size, np.int64)
    for part in range(0, len(token_ids), _CHUNK):
        counts += np.bincount(token_ids[part : part + _CHUNK], minlength=vocab_size)
    return counts


def _keep_probability(counts: np.ndarray, subsample: float) -> np.ndarray:
    """float64 [V]: 1 for rare words, sqrt(subsample / f) for words of relative frequency f above `subsample`.

    >>> _keep_probability(np.array([96, 4]), subsample=0.06)
    array([0.25, 1.  ])
    """
    if not subsample:
        return np.ones(len(counts))
    share = np.maximum(counts, 1) / counts.sum()
    return np.minimum(1.0, np.sqrt(subsample / share))


def _distances(window: int) -> np.ndarray:
    """Distances on both sides, repeated according to their frequency, int64 [window * (window + 1)].

    >>> _distances(2)
    array([-1, -1, -2,  1,  1,  2])
    """
    after = np.repeat(np.arange(1, window + 1), np.arange(window, 0, -1))
    return np.concatenate([-after, after])
