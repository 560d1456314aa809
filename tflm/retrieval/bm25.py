"""BM25 ranking (Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, section 3).

The inverse document frequency of a word in n of N texts is log(1 + (N - n + 0.5) / (n + 0.5)), which is never negative.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tflm.errors import UserError
from tflm.text.cjk import CHARACTER
from tflm.text.words import MARK, comparable, split_words

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_K1, _B = 1.2, 0.75  # the usual values
_NUM_FEATURES = 2**20  # hash buckets
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_RUN = re.compile(rf"((?:(?=\w)[{CHARACTER}][{MARK}]*)+)")  # a run of characters of scripts without spaces


def words_of(text: str) -> list[str]:
    """The normalized words of a text, see `comparable`. Identifiers of code are split into words; scripts without
    spaces and Korean are split into character bigrams.

    >>> words_of("read_tokenStore(怎么退货)")
    ['read', 'token', 'store', '怎么', '么退', '退货']
    """
    text = comparable(_CAMEL.sub(" ", unicodedata.normalize("NFC", text)))
    words = []
    for number, part in enumerate(_RUN.split(text)):
        found = split_words(part)
        is_run = number % 2 == 1 and len(found) > 1
        words += [one + other for one, other in itertools.pairwise(found)] if is_run else found
    return words


def count_words(texts: Sequence[str]) -> "csr_array":
    """Word counts of each text, sparse float32 [N, features]; words are hashed to features.

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
    """BM25 scores of texts for a query.

    Attributes:
        unseen: inverse document frequency of a word that no text has.
    """

    def __init__(self, counts: "csr_array") -> None:
        """Computes the word weights of N >= 1 texts.

        Args:
            counts: float32 [N, features], from `count_words`.
        """
        self._weights = _weights(counts).tocsc()
        self._rarity = _rarity(counts)
        self.unseen = float(np.log1p((counts.shape[0] + 0.5) / 0.5))

    def rarity_of(self, words: Sequence[str]) -> np.ndarray:
        """Inverse document frequency of each word, float32 [len(words)]; most of one that no text has."""
        places = [int(count_words([word]).indices[0]) for word in words]
        found = self._rarity[places]
        return np.where(found > 0, found, self.unseen).astype(np.float32)

    def scores(self, question: str) -> np.ndarray:
        """BM25 score of each text, float32 [N]; 0 without a shared word."""
        words = count_words([question]).indices
        return np.asarray(self._weights[:, words].sum(axis=1), np.float32).ravel()


def _weights(counts: "csr_array") -> "csr_array":
    """BM25 weight of each word in each text, [N, features], from counts [N, features]."""
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    relative = np.repeat(lengths / max(lengths.mean(), 1.0), np.diff(counts.indptr))
    rarity = _rarity(counts)
    weights = counts.copy()
    weights.data = (
        rarity[counts.indices] * counts.data * (_K1 + 1) / (counts.data + _K1 * (1 - _B + _B * relative))
    )
    return weights


def _rarity(counts: "csr_array") -> np.ndarray:
    """Inverse document frequency of each feature, float32 [features]; 0 of one that no text has."""
    found_in = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log1p((counts.shape[0] - found_in + 0.5) / (found_in + 0.5))
    return np.where(found_in > 0, rarity, 0.0).astype(np.float32)
