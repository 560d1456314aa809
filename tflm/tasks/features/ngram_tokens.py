"""From the n-grams of a classifier to the tokens that they are made of. In graph."""

from typing import NamedTuple

import tensorflow as tf

from tflm.tasks.features.attribution import OccludedFn
from tflm.tasks.features.ngram_part import NgramPart
from tflm.tasks.features.token_places import TokenPlaces


class NgramTokens(NamedTuple):
    """Each occurrence of an n-gram in B texts, and its tokens: int32 [M] each."""

    row: tf.Tensor
    number: tf.Tensor
    """The column of its bucket in `ngram_ids`."""
    count: tf.Tensor
    """How often that bucket occurs in its text."""
    first: tf.Tensor
    """Its first token, a column of `token_ids`."""
    last: tf.Tensor
    """Its last token."""

    @classmethod
    def find(
        cls, hasher: NgramPart, text: tf.Tensor, text_pair: tf.Tensor | None, places: TokenPlaces
    ) -> "NgramTokens":
        """The n-grams of texts string [B], in the order of `NgramPart.features`.

        Args:
            hasher: of the task.
            places: the tokens of both texts. Characters beyond the last token that is read go to the column behind it,
                which is a special token's.
        """
        found, before = [], tf.zeros([tf.size(text)], tf.int32)
        for number, each in enumerate([text] if text_pair is None else [text, text_pair]):
            ngrams = hasher.places(each, salt=number)
            first, last = (
                _column_of(places, number, ngrams.row, character) for character in (ngrams.first, ngrams.last)
            )
            column = ngrams.number + tf.gather(before, ngrams.row)
            found.append((ngrams.row, column, ngrams.count, first, last))
            most = tf.math.unsorted_segment_max(ngrams.number + 1, ngrams.row, tf.size(text))
            before += tf.maximum(most, 0)
        return cls(*(tf.concat(values, axis=0) for values in zip(*found, strict=True)))

    def spread(self, values: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """float32 [B, T]: the values of n-grams, float32 [B, N], in equal parts on their occurrences, and of each on
        its tokens."""
        size = self.last - self.first + 1
        share = tf.gather_nd(values, tf.stack([self.row, self.number], axis=1))
        share /= tf.cast(self.count * size, tf.float32)
        columns = tf.ragged.range(self.first, self.last + 1)
        occurrence = columns.value_rowids()
        place = tf.gather(self.row, occurrence) * width + columns.flat_values
        total = tf.math.unsorted_segment_sum(tf.gather(share, occurrence), place, tf.shape(values)[0] * width)
        return tf.reshape(total, [-1, width])

    def occluded_fn(self, token_ids: tf.Tensor, ngram_ids: tf.Tensor) -> OccludedFn:
        """The scales of tokens and n-grams without one token: an n-gram loses the occurrences that the token is in.

        Args:
            token_ids: int32 [B, T].
            ngram_ids: int32 [B, N].
        """
        width, size = tf.shape(token_ids)[1], tf.shape(ngram_ids)
        weight = 1.0 / tf.cast(self.count, tf.float32)
        cell = self.row * size[1] + self.number

        def scales(place: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            is_part = (self.first <= place) & (place <= self.last)
            lost = tf.math.unsorted_segment_sum(tf.where(is_part, weight, 0.0), cell, size[0] * size[1])
            lost = tf.gather(tf.reshape(lost, size), rows)
            tokens = tf.tile(1.0 - tf.one_hot(place, width)[None], [tf.size(rows), 1])
            return tf.concat([tokens, 1.0 - lost], axis=1)

        return scales


def _column_of(places: TokenPlaces, part: int, row: tf.Tensor, character: tf.Tensor) -> tf.Tensor:
    """int32 [M], the token of each `character` int32 [M] of the text `part` in row `row`; a space's is the token before
    it, or the first one."""
    leads = tf.equal(places.part, part) & (places.start >= 0)
    far = tf.int32.max
    starts = tf.where(leads, places.start, far)
    order = tf.argsort(starts, axis=1, stable=True)
    ordered = tf.gather(starts, order, batch_dims=1)
    # Rows one after the other, as one sorted list.
    base = tf.cast(row, tf.int64) * 2**32
    number = tf.cast(tf.range(tf.shape(starts)[0]), tf.int64)
    keys = number[:, None] * 2**32 + tf.cast(ordered, tf.int64)
    found = tf.searchsorted(tf.reshape(keys, [-1]), base + tf.cast(character, tf.int64), side="right")
    width = tf.shape(starts)[1]
    number = tf.maximum(found - 1 - row * width, 0)
    column = tf.gather_nd(order, tf.stack([row, number], axis=1))
    is_part = tf.equal(places.part, part)
    columns = tf.range(width)[None]
    last = tf.reduce_max(tf.where(is_part, columns, 0), axis=1)
    read = tf.reduce_max(tf.where(is_part, places.end, 0), axis=1)
    is_beyond = character > tf.gather(read, row)
    return tf.where(is_beyond, tf.minimum(tf.gather(last, row) + 1, width - 1), column)
