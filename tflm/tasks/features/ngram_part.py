"""The n-grams of a classifier: their features, the linear classifier before the first step, and its combination with
the network before each evaluation."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.data import TokenStore
from tflm.tasks.features import ngram_fit
from tflm.text.ngrams import BLOCKS, NgramHasher, NgramPlaces

NetworkFn = Callable[[dict[str, tf.Tensor]], tf.Tensor]
"""From a batch without n-grams to logits float32 [B, C]."""

_MOST_WEIGHTS = 2**25
_ROWS = 64  # of a batch


class NgramPart:
    """What a classification task does with n-grams.

    Args:
        unit: characters or words; see `NgramHasher`.
        num_buckets: int, a power of 2; with many labels fewer are used, so that there are at most 2^25 weights.
        num_labels: int, C.
        several: whether a text may have several labels.
    """

    def __init__(self, unit: str, num_buckets: int, num_labels: int, several: bool) -> None:
        self.num_buckets = min(num_buckets, 2 ** ((_MOST_WEIGHTS // num_labels).bit_length() - 1))
        self.num_labels, self.several = num_labels, several
        self.unit = unit
        self._hasher = NgramHasher(unit, self.num_buckets)

    def features(self, text: tf.Tensor, text_pair: tf.Tensor | None) -> dict[str, tf.RaggedTensor]:
        """`ngram_ids` and `ngram_counts` int32 [B, (N)]; the n-grams of `text_pair` have ids of their own."""
        parts = [self._hasher(text)]
        if text_pair is not None:
            parts.append(self._hasher(text_pair, salt=1))
        ids, counts = (tf.concat(each, axis=1) for each in zip(*parts, strict=True))
        return {"ngram_ids": ids, "ngram_counts": counts}

    def places(self, text: tf.Tensor, salt: int) -> NgramPlaces:
        """Where the n-grams of string [B] are; `salt` is 1 for `text_pair`."""
        return self._hasher.places(text, salt)

    def fold(self, text: tf.Tensor, text_pair: tf.Tensor | None) -> tf.Tensor:
        """int32 [B], a hash of the text."""
        whole = text if text_pair is None else tf.strings.join([text, text_pair], "\n")
        return tf.cast(tf.strings.to_hash_bucket_fast(whole, ngram_fit.NUM_FOLDS), tf.int32)

    def start(self, model: Any, store: TokenStore) -> str:
        """Gives `model.ngrams` its variables, and `model.scales` that of the n-grams alone; a line for the user."""
        begin, wanted = time.perf_counter(), self._wanted(store)
        fit = ngram_fit.fit_ngrams(store, wanted, self.several, self.num_buckets)
        ngram_fit.save_held_out(store, fit.held_out)
        model.ngrams.document_weights.assign(fit.document_weights)
        model.ngrams.kernel.assign(fit.kernel)
        model.ngrams.bias.assign(fit.bias)
        rows, logits = fit.held_out
        scale = ngram_fit.best_temperature(logits, wanted[rows], self.several)
        model.scales.assign([scale, 0.0])
        line = (
            f"n-grams: {np.count_nonzero(fit.document_weights):,} of {store.num_rows:,} training texts, a linear "
            f"classifier in {time.perf_counter() - begin:.0f} s"
        )
        if not len(rows):
            return line
        first, second = BLOCKS[self.unit]
        return (
            f"{line}. Held out of it in turn, {len(rows):,} of them: loss {fit.losses[0]:.3f} with n-grams of {first}, "
            f"{fit.losses[1]:.3f} with {second} too. The better one is kept: accuracy "
            f"{self._right(logits, wanted[rows]):.1%}."
        )

    def calibrate(self, model: Any, store: TokenStore, network_fn: NetworkFn, max_length: int) -> str:
        """Gives `model.scales` the best combination on the texts of fold 0; a line for the user.

        Args:
            model: a `WideAndDeep`.
            store: the training side.
            network_fn: the network.
            max_length: the longest row of tokens.
        """
        held_out, wanted = ngram_fit.load_held_out(store), self._wanted(store)
        if held_out is None:
            held_out = ngram_fit.fit_ngrams(store, wanted, self.several, self.num_buckets).held_out
            ngram_fit.save_held_out(store, held_out)
        alone = ngram_fit.best_temperature(held_out.logits, wanted[held_out.rows], self.several)
        in_fold = np.asarray(store.values("fold"))[held_out.rows] == 0
        rows, ngrams = held_out.rows[in_fold], held_out.logits[in_fold]
        if not len(rows):
            return ""
        network, wanted = _network_logits(store, rows, network_fn, max_length), wanted[rows]
        found = ngram_fit.combine(ngrams, network, wanted, self.several, alone)
        model.scales.assign(found.scales)
        both = found.best[0] * ngrams + found.best[1] * network
        parts = {"n-grams": ngrams, "network": network, "both": both}
        shown = ", ".join(
            f"{name} {self._right(logits, wanted):.1%} (loss {loss:.3f})"
            for (name, logits), loss in zip(parts.items(), found.losses, strict=True)
        )
        return f"{len(rows):,} training texts that the network does not see: {shown}. Kept: {found.choice}."

    def _wanted(self, store: TokenStore) -> np.ndarray:
        """float64 [N, C] of the rows of a store, 1 for each label."""
        wanted = np.zeros([store.num_rows, self.num_labels])
        rows = np.repeat(np.arange(store.num_rows), store.lengths("label_ids"))
        wanted[rows, np.asarray(store.values("label_ids")) - 1] = 1.0
        return wanted

    def _right(self, logits: np.ndarray, wanted: np.ndarray) -> float:
        """The share of the rows whose every label is found, and no other."""
        if not self.several:
            return float(np.mean(logits.argmax(axis=1) == wanted.argmax(axis=1)))
        return float(np.mean(np.all((logits > 0.0) == (wanted > 0.5), axis=1)))


def _network_logits(
    store: TokenStore, rows: np.ndarray, network_fn: NetworkFn, max_length: int
) -> np.ndarray:
    """float32 [N, C] of rows of a store, texts of similar length together."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)],
        autograph=False,
    )
    def logits(token_ids: tf.Tensor, prefix_length: tf.Tensor) -> tf.Tensor:
        return network_fn({"token_ids": token_ids, "prefix_length": prefix_length})

    values, offsets, prefixes = (
        store.values("token_ids"),
        store.offsets("token_ids"),
        store.values("prefix_length"),
    )
    order, parts = np.argsort(np.diff(offsets)[rows], kind="stable"), []
    for begin in range(0, len(order), _ROWS):
        chunk = rows[order[begin : begin + _ROWS]]
        texts = [np.asarray(values[offsets[row] : offsets[row + 1]][:max_length]) for row in chunk]
        token_ids = np.full([len(chunk), max(1, *map(len, texts))], store.pad_id, np.int32)
        for place, text in enumerate(texts):
            token_ids[place, : len(text)] = text
        parts.append(logits(token_ids, np.asarray(prefixes[chunk])).numpy())
    return np.concatenate(parts)[np.argsort(order, kind="stable")]
