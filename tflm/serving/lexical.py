"""Words that questions and passages share, weighed by BM25: rare words count for more, and long passages for less.

Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3. The weight of a word is
log(1 + (N - n + 0.5) / (n + 0.5)), N texts of which n have it: never negative.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tflm.errors import UserError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_K1, _B = 1.2, 0.75  # the usual ones
_NUM_FEATURES = 2**20  # hashes of words
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]+")
_HAN = re.compile(r"[\u3400-\u9fff]")


def words_of(text: str) -> list[str]:
    """The words of a text in small letters; names in code come apart, and Chinese is taken in pairs of characters.

    >>> words_of("read_tokenStore(怎么退货)")
    ['read', 'token', 'store', '怎么', '么退', '退货']
    """
    words = []
    for word in _WORD.findall(_CAMEL.sub(" ", text)):
        if len(word) > 1 and _HAN.match(word):
            words += [word[place : place + 2] for place in range(len(word) - 1)]
        else:
            words.append(word.lower())
    return words


def count_words(texts: Sequence[str]) -> "csr_array":
    """How often each text has each word, float32 [N, features]; a word's feature is its hash.

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError as error:
        raise UserError(
            "searching documents needs the package scikit-learn: pip install 'tflm[documents]'."
        ) from error
    if not texts:
        return csr_array((0, _NUM_FEATURES), dtype=np.float32)
    vectorizer = HashingVectorizer(
        analyzer=words_of, n_features=_NUM_FEATURES, norm=None, alternate_sign=False, dtype=np.float32
    )
    return csr_array(vectorizer.transform(texts))


class Bm25:
    """BM25 of texts for a question."""

    def __init__(self, counts: "csr_array") -> None:
        """Weighs the words of N >= 1 texts.

        Args:
            counts: float32 [N, features], of `count_words`.
        """
        self._weights = _weights(counts).tocsc()

    def scores(self, question: str) -> np.ndarray:
        """How well each text fits, float32 [N]; 0 where no word is shared."""
        words = count_words([question]).indices
        return np.asarray(self._weights[:, words].sum(axis=1), np.float32).ravel()


def _weights(counts: "csr_array") -> "csr_array":
    """The summand of each word in each text: [N, features] of counts to [N, features] of weights."""
    num_texts = counts.shape[0]
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    relative = np.repeat(lengths / max(lengths.mean(), 1.0), np.diff(counts.indptr))
    found_in = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log1p((num_texts - found_in + 0.5) / (found_in + 0.5)).astype(np.float32)
    weights = counts.copy()
    weights.data = (
        rarity[counts.indices] * counts.data * (_K1 + 1) / (counts.data + _K1 * (1 - _B + _B * relative))
    )
    return weights
