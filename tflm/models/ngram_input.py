"""Counted n-grams in language models: the fields of their configs, and the tokens that a state remembers for them."""

import dataclasses
from typing import Any

from keras import ops

from tflm.config import option
from tflm.layers.ngram_embedding import windows_of

Tensor = Any

_MOST_TOKENS = 2**20


@dataclasses.dataclass(frozen=True)
class NgramInputConfig:
    """Fields of the config of a language model that may read counted n-grams; a mixin."""

    ngram_contexts: tuple[int, ...] = option(())
    """Lengths of contexts, such as [1, 2, 3, 4, 6]: which tokens followed the last 1, 2, 3, 4 and 6 tokens in the
    training data is an input of each position; empty for none. Of the task language_modeling."""
    ngram_cells: int = option(2**22)
    """N-grams that are kept, a power of 2, in 4 bytes each; frequent ones before rare ones."""
    ngram_candidates: int = option(4)
    """Tokens that are kept of those that followed a context, the most frequent ones."""

    def check_ngrams(self) -> None:
        """
        Raises:
            ValueError: a length, the number of cells or that of the candidates is out of range.
        """
        lengths, cells = self.ngram_contexts, self.ngram_cells
        if list(lengths) != sorted(set(lengths)) or any(length < 1 for length in lengths):
            raise ValueError(
                f"ngram_contexts are lengths from 1 on in ascending order, such as [1, 2, 3]; got {list(lengths)}."
            )
        if not 2**9 <= cells <= 2**30 or cells & (cells - 1):
            raise ValueError(f"ngram_cells is a power of 2 from 512 to 2^30; got {cells}.")
        if self.ngram_candidates < 1:
            raise ValueError(f"ngram_candidates is at least 1; got {self.ngram_candidates}.")
        if lengths and getattr(self, "vocab_size", 0) > _MOST_TOKENS:
            raise ValueError(f"ngram_contexts need a vocabulary of at most {_MOST_TOKENS:,} tokens.")


def windows_of_rows(token_ids: Tensor, document_ids: Tensor, length: int) -> Tensor:
    """int32 [B, T, C], the last C = `length` tokens at each position of whole rows int32 [B, T], the newest first, -1
    before the row or, with `document_ids` int32 [B, T], before the document."""
    positions = ops.arange(ops.shape(token_ids)[1], dtype="int32")
    first = ops.zeros_like(token_ids[:, 0])
    windows = windows_of(token_ids, positions, first, length)
    if document_ids is None:
        return windows
    documents = windows_of(document_ids, positions, first, length)
    return ops.where(documents == document_ids[:, :, None], windows, -1)


def write_ids(read_ids: Tensor, token_ids: Tensor, index: Tensor) -> Tensor:
    """`read_ids` int32 [B, S] with K tokens int32 [B, K] from position `index` on."""
    count = ops.shape(token_ids)[1]
    places = ops.arange(ops.shape(read_ids)[1], dtype="int32") - index
    new = ops.take(token_ids, ops.clip(places, 0, count - 1), axis=1)
    return ops.where(((places >= 0) & (places < count))[None], new, read_ids)
