"""Long texts, alone or next to a question: rows of one length each, windows of the text that may overlap. In graph."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tflm.tasks.features.rows import join

_BLOCK = 64  # rows that a model reads together where a text has many windows


class Windows(NamedTuple):
    """N rows for B questions or texts, those of one after the other."""

    token_ids: tf.Tensor
    """int32 [N, T], padded with the pad id: [start] question [separator] part of the context [end]; without a question
    [start] part of the text [end]."""
    prefix_length: tf.Tensor
    """int32 [N], the number of tokens before the part of the context."""
    row: tf.Tensor
    """int32 [N], the question or text that each belongs to, rising."""
    first: tf.Tensor
    """int32 [N], where the part begins, in tokens of the context."""
    count: tf.Tensor
    """int32 [N], how many tokens it has."""

    def context_places(self) -> tuple[tf.Tensor, tf.Tensor]:
        """For every place: bool [N, T], whether it is a token of the context; int32 [N, T], its number in the
        context, 0 for others."""
        place = tf.range(tf.shape(self.token_ids)[1])[None] - self.prefix_length[:, None]
        inside = (place >= 0) & (place < self.count[:, None])
        return inside, tf.where(inside, self.first[:, None] + place, 0)

    def segment_ids(self) -> tf.Tensor:
        """int32 [N, T]: 0 for the question, 1 from the context on."""
        return segment_ids(self.token_ids, self.prefix_length)


def segment_ids(token_ids: tf.Tensor, prefix_length: tf.Tensor) -> tf.Tensor:
    """int32 [N, T]: 0 for the first `prefix_length` int32 [N] places of a row, 1 after them."""
    return tf.cast(tf.range(tf.shape(token_ids)[1])[None] >= prefix_length[:, None], tf.int32)


def cut_windows(
    question: tf.RaggedTensor,
    context: tf.RaggedTensor,
    max_length: int,
    stride: int,
    marks: tuple[int, int, int],
    pad_id: int,
) -> Windows:
    """As many windows as the context needs, each `stride` tokens after the one before (Devlin et al., 2019, section
    4.2, in their program `doc_stride`). A context that fits has one; so has an empty one.

    >>> cut_windows([[7, 8]], [[20, 21, 22, 23, 24]], max_length=8, stride=2, marks=(1, 4, 2), pad_id=0).token_ids
    [[1, 7, 8, 4, 20, 21, 22, 2], [1, 7, 8, 4, 22, 23, 24, 2]]

    Args:
        question: int32 [B, (Q)], already cut; `max_length` - 3 - Q is at least `stride`, or tokens are passed over.
        context: int32 [B, (C)].
        max_length: int, the longest row.
        stride: int, at least 1.
        marks: ids of start, separator and end.
        pad_id: int.
    """
    start, separator, end = marks
    return _after(join(start, question, separator), context, max_length, stride, end, pad_id)


def text_windows(
    text: tf.RaggedTensor, max_length: int, stride: int, start_id: int, end_id: int, pad_id: int
) -> Windows:
    """`cut_windows` of texts alone: rows of start, a part of the text, end.

    >>> text_windows([[20, 21, 22], [23]], max_length=4, stride=1, start_id=1, end_id=2, pad_id=0).token_ids
    [[1, 20, 21, 2], [1, 21, 22, 2], [1, 23, 2, 0]]

    Args:
        text: int32 [B, (T)].
        max_length: int, the longest row, more than 2.
        stride: int, from 1 to `max_length` - 2, which is for windows that do not overlap.
    """
    lengths = tf.ones([text.nrows()], tf.int64)
    starts = tf.RaggedTensor.from_row_lengths(tf.fill([text.nrows()], start_id), lengths, validate=False)
    return _after(starts, text, max_length, stride, end_id, pad_id)


def _after(
    prefix: tf.RaggedTensor, context: tf.RaggedTensor, max_length: int, stride: int, end_id: int, pad_id: int
) -> Windows:
    """Windows of the context, int32 [B, (C)], each behind the prefix, int32 [B, (P)]."""
    prefix_size, size = (tf.cast(rows.row_lengths(), tf.int32) for rows in (prefix, context))
    room = max_length - 1 - prefix_size
    num_windows = 1 + (tf.maximum(size - room, 0) + stride - 1) // stride
    row = tf.repeat(tf.range(tf.size(num_windows)), num_windows)
    number = tf.range(tf.size(row)) - tf.gather(tf.cumsum(num_windows, exclusive=True), row)
    first = number * stride
    count = tf.minimum(tf.gather(room, row), tf.gather(size, row) - first)
    before = tf.gather(prefix_size, row)
    place = tf.range(tf.maximum(tf.reduce_max(before + count) + 1, 0))[None]
    in_context = place - before[:, None]
    from_context = _gathered(context, row, in_context + first[:, None])
    token_ids = tf.where(in_context < count[:, None], from_context, pad_id)
    token_ids = tf.where(tf.equal(in_context, count[:, None]), end_id, token_ids)
    token_ids = tf.where(in_context < 0, _gathered(prefix, row, place), token_ids)
    return Windows(token_ids, before, row, first, count)


def by_blocks(
    rows_fn: Callable[[tf.Tensor], tf.Tensor], token_ids: tf.Tensor, shape: tuple[int | None, ...]
) -> tf.Tensor:
    """`rows_fn` of rows int32 [N, T], 64 rows at a time: memory does not grow with the length of a text.

    Args:
        rows_fn: int32 [n, T] to float32 [n, *shape].
        shape: of what it gives for a row.
    """
    num_rows = tf.shape(token_ids)[0]
    num_blocks = tf.maximum((num_rows + _BLOCK - 1) // _BLOCK, 1)
    found = tf.TensorArray(tf.float32, num_blocks, infer_shape=False)

    def step(number: tf.Tensor, found: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        block = token_ids[number * _BLOCK : (number + 1) * _BLOCK]
        return number + 1, found.write(number, rows_fn(block))

    _, found = tf.while_loop(lambda number, _: number < num_blocks, step, (0, found))
    return tf.ensure_shape(found.concat(), [None, *shape])


def places_in_windows(
    windows: Windows, text: tf.RaggedTensor, stride: int, room: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """For each token of the texts, int32 [number of tokens] each: the window in which it has most context, and its
    place there. Where windows overlap, the middle of what they share parts them.

    Args:
        windows: of `text_windows` of this text, with this stride.
        room: int, how many tokens of the text a window holds.
    """
    row = tf.cast(text.value_rowids(), tf.int32)
    number = tf.range(tf.size(row)) - tf.gather(tf.cast(text.row_starts(), tf.int32), row)
    num_rows = tf.cast(text.nrows(), tf.int32)
    num_windows = tf.math.unsorted_segment_sum(tf.ones_like(windows.row), windows.row, num_rows)
    wanted = tf.maximum(number - (room - stride) // 2, 0) // stride
    chosen = tf.minimum(wanted, tf.gather(num_windows, row) - 1)
    window = tf.gather(tf.cumsum(num_windows, exclusive=True), row) + chosen
    return window, number - chosen * stride + 1


def mean_of_windows(vectors: tf.Tensor, windows: Windows, num_rows: tf.Tensor) -> tf.Tensor:
    """float32 [B, D] of length 1: of each text the mean of its windows' vectors, float32 [N, D], weighted by their
    numbers of tokens. Of a text with one window the vector itself."""
    sizes = tf.cast(windows.count + 1, tf.float32)
    totals = tf.math.unsorted_segment_sum(sizes, windows.row, num_rows)
    shares = (sizes / tf.gather(totals, windows.row))[:, None]
    means = tf.math.unsorted_segment_sum(vectors * shares, windows.row, num_rows)
    is_whole = tf.equal(tf.math.unsorted_segment_sum(tf.ones_like(sizes), windows.row, num_rows), 1.0)
    return tf.where(is_whole[:, None], means, tf.math.l2_normalize(means, axis=1))


def embed_in_windows(
    rows_fn: Callable[[tf.Tensor], tf.Tensor],
    text: tf.RaggedTensor,
    max_length: int,
    marks: tuple[int, int],
    width: int,
    pad_id: int,
) -> tf.Tensor:
    """float32 [B, width]: vectors of whole texts, int32 [B, (T)]; those that are longer than a row are read in windows
    that do not overlap.

    Args:
        rows_fn: rows int32 [n, T] to vectors float32 [n, width] of length 1.
        marks: ids of start and end.
    """
    windows = text_windows(text, max_length, max(1, max_length - 2), *marks, pad_id)
    vectors = by_blocks(rows_fn, windows.token_ids, (width,))
    return mean_of_windows(vectors, windows, tf.cast(text.nrows(), tf.int32))


def _gathered(rows: tf.RaggedTensor, row: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """int32 [N, T]: the value at each place of a row; undefined beyond its end."""
    values = tf.concat([rows.flat_values, [0]], axis=0)
    index = tf.gather(tf.cast(rows.row_starts(), tf.int32), row)[:, None] + place
    return tf.gather(values, tf.clip_by_value(index, 0, tf.size(values) - 1))
