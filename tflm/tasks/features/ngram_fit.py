"""The linear classifier of n-grams, and its combination with a network, computed from the training side alone.

Every training text is in one of ten folds by a hash, so that equal texts are in one fold. The network does not train on
fold 0. The logits of its texts, from a network and from a linear classifier that have not seen them, say how both are
combined (stacking; Wolpert, 1992); the linear classifier that is kept is then computed from all folds.
"""

import os
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse
import scipy.special
from threadpoolctl import threadpool_limits

from tflm.data import TokenStore
from tflm.files.writing import whole_file, writing

NUM_FOLDS = 10
_LARGE = 4000
"""Training texts from which on fold 0 alone is held out of the linear classifier; below it two folds each, in turn."""
_PENALTY = 10.0
"""C of the L2 penalty, as in scikit-learn: the summed loss is multiplied by it, the squares of the weights halved."""
_MOST_ITERATIONS = 200
_LOGITS_FILE = "ngram_logits.npz"


class LinearFit(NamedTuple):
    """A linear classifier over the buckets of n-grams."""

    document_weights: np.ndarray
    """float32 [B + 1], inverse document frequencies; 0 for id 0 and for n-grams that no text has."""
    kernel: np.ndarray
    """float32 [B + 1, C]."""
    bias: np.ndarray
    """float32 [C]."""
    held_out: "HeldOut"
    """Its logits of texts that it was not computed from."""
    losses: tuple[float, float]
    """Mean loss of those texts with the n-grams of the first block alone and with both blocks, each at its best
    temperature; the better one was kept."""


class HeldOut(NamedTuple):
    """Logits of training texts from classifiers that have not seen them."""

    rows: np.ndarray
    """int64 [M], rows of the store."""
    logits: np.ndarray
    """float32 [M, C]."""


class Combination(NamedTuple):
    """How two classifiers are combined."""

    scales: tuple[float, float]
    """Of the logits of the n-grams and of the network."""
    best: tuple[float, float]
    """The scales with the least loss, whether they are taken or not."""
    losses: tuple[float, float, float]
    """Mean loss of the n-grams, of the network, and of both, each at its best temperature."""

    @property
    def choice(self) -> str:
        """A few words for the user."""
        if not self.scales[1]:
            return "the n-grams alone"
        return f"both, scaled by {self.scales[0]:.2f} and {self.scales[1]:.2f}"


def fit_ngrams(store: TokenStore, wanted: np.ndarray, several: bool, num_buckets: int) -> LinearFit:
    """Logistic regression with an L2 penalty over TF-IDF of n-grams, by L-BFGS (Liu and Nocedal, 1989): of the first
    block of n-grams or of both, whichever has the lower loss on held-out texts.

    Args:
        store: with the features `ngram_ids`, `ngram_counts` and `fold`.
        wanted: float [N, C], 1 for each label of a text.
        several: whether a text may have several labels, or none: one sigmoid for each instead of a softmax.
        num_buckets: int, B.
    """
    matrix, document_weights = weigh_ngrams(store, num_buckets)
    used, columns = np.unique(matrix.indices, return_inverse=True)
    matrix = scipy.sparse.csr_matrix((matrix.data, columns, matrix.indptr), (matrix.shape[0], len(used)))
    num_first, folds = np.count_nonzero(used <= num_buckets // 2), np.asarray(store.values("fold"))
    tries = [matrix[:, :num_first].tocsr(), matrix]
    held_out = [_held_out(each, wanted, several, folds) for each in tries]
    losses = [_loss_at_best(each.logits, wanted[each.rows], several) for each in held_out]
    best = int(np.argmin(losses))
    kernel, bias = _regression(tries[best], wanted, several)
    whole = np.zeros([num_buckets + 1, wanted.shape[1]], np.float32)
    whole[used[: len(kernel)]] = kernel
    if best == 0:
        document_weights[num_buckets // 2 + 1 :] = 0.0
    return LinearFit(document_weights, whole, bias.astype(np.float32), held_out[best], (losses[0], losses[1]))


def _held_out(
    matrix: scipy.sparse.csr_matrix, wanted: np.ndarray, several: bool, folds: np.ndarray
) -> HeldOut:
    groups = [[0]] if len(folds) >= _LARGE else [[fold, fold + 1] for fold in range(0, NUM_FOLDS, 2)]
    rows, logits = [np.zeros(0, np.int64)], [np.zeros([0, wanted.shape[1]], np.float32)]
    for group in groups:
        is_inside = np.isin(folds, group)
        if is_inside.any() and not is_inside.all():
            kernel, bias = _regression(matrix[~is_inside], wanted[~is_inside], several)
            rows.append(np.flatnonzero(is_inside))
            logits.append((matrix[is_inside] @ kernel + bias).astype(np.float32))
    return HeldOut(np.concatenate(rows), np.concatenate(logits))


def _loss_at_best(logits: np.ndarray, wanted: np.ndarray, several: bool) -> float:
    if not len(logits):
        return np.inf
    return float(row_losses(best_temperature(logits, wanted, several) * logits, wanted, several).mean())


def weigh_ngrams(store: TokenStore, num_buckets: int) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """TF-IDF float64 [N, B + 1] of the texts of a store, as `NgramLogits.features` has it, and the inverse document
    frequencies float32 [B + 1] (smoothed, as scikit-learn's)."""
    ids, counts = (np.asarray(store.values(name)) for name in ("ngram_ids", "ngram_counts"))
    offsets = np.asarray(store.offsets("ngram_ids"))
    texts = np.bincount(ids, minlength=num_buckets + 1)
    document_weights = np.where(texts > 0, np.log((1.0 + store.num_rows) / (1.0 + texts)) + 1.0, 0.0)
    document_weights = document_weights.astype(np.float32)
    values = document_weights[ids] * (1.0 + np.log(counts))
    row = np.repeat(np.arange(store.num_rows), np.diff(offsets))
    block = 2 * row + (ids > num_buckets // 2)
    norms = np.sqrt(np.bincount(block, values**2, minlength=2 * store.num_rows))
    values /= norms[block]
    return scipy.sparse.csr_matrix(
        (values, ids, offsets), (store.num_rows, num_buckets + 1)
    ), document_weights


def save_held_out(store: TokenStore, held_out: HeldOut) -> None:
    """Keeps the logits next to the store whose rows they are of."""
    path = os.path.join(store.folder, _LOGITS_FILE)
    with writing(f"the logits {path!r}"), whole_file(path) as aside, open(aside, "wb") as file:
        np.savez(file, rows=held_out.rows, logits=held_out.logits)


def load_held_out(store: TokenStore) -> HeldOut | None:
    """What `save_held_out` kept; None without it."""
    try:
        with np.load(os.path.join(store.folder, _LOGITS_FILE)) as file:
            return HeldOut(file["rows"], file["logits"])
    except (OSError, ValueError, KeyError):
        return None


def best_temperature(logits: np.ndarray, wanted: np.ndarray, several: bool) -> float:
    """The factor of the logits with the least loss (temperature scaling; Guo et al., 2017), at least 0.05; 1 without
    texts.

    >>> best_temperature(np.array([[2.0, 0.0]] * 4), np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]]), False)  # ln(3) / 2
    0.549

    Args:
        logits, wanted: float [N, C].
        several: see `fit_ngrams`.
    """
    return max(0.05, _scales([logits], wanted, several)[0]) if len(logits) else 1.0


def combine(
    ngrams: np.ndarray, network: np.ndarray, wanted: np.ndarray, several: bool, alone: float
) -> Combination:
    """The combination with the least loss; the n-grams alone unless it is better by more than a standard error of the
    difference (the rule of Breiman et al., 1984, section 3.4.3).

    Args:
        ngrams, network: logits float [N, C] of texts that neither has seen.
        wanted: float [N, C].
        several: see `fit_ngrams`.
        alone: scale of the n-grams without the network.
    """
    scales = _scales([ngrams, network], wanted, several)
    by_network = best_temperature(network, wanted, several)
    losses = [
        row_losses(logits, wanted, several)
        for logits in (alone * ngrams, by_network * network, scales[0] * ngrams + scales[1] * network)
    ]
    gains = losses[0] - losses[2]
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
    best, means = (scales[0], scales[1]), [float(each.mean()) for each in losses]
    chosen = best if gains.mean() > error else (alone, 0.0)
    return Combination(chosen, best, (means[0], means[1], means[2]))


def row_losses(logits: np.ndarray, wanted: np.ndarray, several: bool) -> np.ndarray:
    """Cross entropy float64 [N] of logits [N, C]; with several labels the sum over them."""
    logits = np.asarray(logits, np.float64)
    if several:
        return np.sum(np.logaddexp(0.0, logits) - wanted * logits, axis=1)
    return np.logaddexp.reduce(logits, axis=1) - np.sum(wanted * logits, axis=1)


def _scales(parts: list[np.ndarray], wanted: np.ndarray, several: bool) -> list[float]:
    """The factors, not negative, of sums of logits with the least loss."""

    def loss(scales: np.ndarray) -> float:
        logits = sum(scale * part for scale, part in zip(scales, parts, strict=True))
        return float(row_losses(logits, wanted, several).mean())

    start = np.full(len(parts), 1.0 / len(parts))
    found = scipy.optimize.minimize(loss, start, method="L-BFGS-B", bounds=[(0.0, 10.0)] * len(parts))
    return [float(scale) for scale in found.x]


def _regression(
    matrix: scipy.sparse.csr_matrix, wanted: np.ndarray, several: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [K, C] and bias [C]. Two labels have one column, half of it with the opposite sign, as in scikit-learn."""
    is_pair = not several and wanted.shape[1] == 2
    targets = wanted[:, 1:] if is_pair else wanted
    num_texts, num_columns = targets.shape
    num_features, transposed = matrix.shape[1], matrix.T.tocsr()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(num_features + 1, num_columns)
        kernel, bias = weights[:-1], weights[-1]
        logits = matrix @ kernel + bias
        shares = scipy.special.expit(logits) if several or is_pair else scipy.special.softmax(logits, axis=1)
        loss = row_losses(logits, targets, several or is_pair).mean()
        errors = (shares - targets) / num_texts
        strength = 1.0 / (_PENALTY * num_texts)
        gradient = np.concatenate([transposed @ errors + strength * kernel, errors.sum(0, keepdims=True)])
        return loss + 0.5 * strength * np.sum(kernel**2), gradient.ravel()

    start = np.zeros((num_features + 1) * num_columns)
    options = {"maxiter": _MOST_ITERATIONS, "gtol": 1e-5, "ftol": 1e-10, "maxls": 50}
    with threadpool_limits(1):  # for vectors of this size threads of BLAS wait for each other
        found = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weights = found.x.reshape(num_features + 1, num_columns)
    if is_pair:
        weights = np.concatenate([-weights, weights], axis=1) / 2.0
    return weights[:-1], weights[-1]
