"""The linear classifier against scikit-learn, its features against the layer, and its combination with a network."""

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from tflm.data import build_store
from tflm.layers.heads import NgramLogits
from tflm.tasks.features import ngram_fit
from tflm.text.ngrams import NgramHasher

BUCKETS = 2**12
TEXTS = ["good film", "bad film", "很好 很好", "不好，不会再买", "so so", "good good 好"] * 4
LABELS = np.array([0, 1, 0, 1, 1, 0] * 4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    hasher = NgramHasher("words", BUCKETS)

    def encode(examples):
        ids, counts = hasher(examples["text"])
        fold = tf.strings.to_number(examples["fold"], tf.int32)
        return {"ngram_ids": ids, "ngram_counts": counts, "fold": fold}

    examples = [{"text": text, "fold": str(place % 10)} for place, text in enumerate(TEXTS)]
    return build_store(examples, encode, tmp_path_factory.mktemp("store") / "train", "a")


def padded(store):
    ids, counts = (
        tf.RaggedTensor.from_row_splits(store.values(name), store.offsets(name)).to_tensor(0)
        for name in ("ngram_ids", "ngram_counts")
    )
    return ids, counts


def test_the_layer_gives_the_logits_of_the_fit(store):
    wanted = np.eye(2)[LABELS]
    fit = ngram_fit.fit_ngrams(store, wanted, False, BUCKETS)
    layer = NgramLogits(2, BUCKETS)
    layer.build()
    for variable, value in zip((layer.document_weights, layer.kernel, layer.bias), fit[:3], strict=True):
        variable.assign(value)
    matrix, _ = ngram_fit.weigh_ngrams(store, BUCKETS)
    assert fit.losses[1] < fit.losses[0], "both blocks"
    np.testing.assert_allclose(layer(*padded(store)), matrix @ fit.kernel + fit.bias, atol=1e-5)
    blocks = np.add.reduceat(matrix.toarray() ** 2, [0, BUCKETS // 2 + 1], axis=1)
    np.testing.assert_allclose(blocks[blocks > 0], 1.0)
    nothing = np.zeros([1, 3], np.int32)  # an empty text, and n-grams that training did not see
    np.testing.assert_allclose(layer(nothing, nothing)[0], fit.bias)
    unseen = np.setdiff1d(np.arange(1, BUCKETS), store.values("ngram_ids"))[None, :5].astype(np.int32)
    np.testing.assert_allclose(layer(unseen, np.ones_like(unseen))[0], fit.bias)


def test_document_weights_are_those_of_scikit_learn(store):
    text = pytest.importorskip("sklearn.feature_extraction.text")
    matrix, weights = ngram_fit.weigh_ngrams(store, BUCKETS)
    counts = scipy.sparse.csr_matrix(
        (store.values("ngram_counts"), store.values("ngram_ids"), store.offsets("ngram_ids")), matrix.shape
    )
    for columns in (slice(0, BUCKETS // 2 + 1), slice(BUCKETS // 2 + 1, None)):
        expected = text.TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, columns].astype(float))
        np.testing.assert_allclose(matrix[:, columns].toarray(), expected.toarray(), rtol=1e-6)
    assert weights[0] == 0.0 and np.all((weights > 0) == (np.asarray(counts.sum(0))[0] > 0))


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_regression_is_that_of_scikit_learn(num_labels):
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    matrix = scipy.sparse.random(60, 30, 0.3, "csr", random_state=0)
    labels = rng.integers(0, num_labels, 60)
    kernel, bias = ngram_fit._regression(matrix, np.eye(num_labels)[labels], several=False)
    logits = matrix @ kernel + bias
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = linear.LogisticRegression(C=10.0, tol=1e-6, max_iter=1000).fit(matrix, labels)
    np.testing.assert_allclose(shares, expected.predict_proba(matrix), atol=2e-3)


def test_several_labels_are_regressions_of_their_own():
    linear = pytest.importorskip("sklearn.linear_model")
    matrix = scipy.sparse.random(60, 30, 0.3, "csr", random_state=0)
    wanted = np.random.default_rng(0).integers(0, 2, [60, 2]).astype(float)
    kernel, bias = ngram_fit._regression(matrix, wanted, several=True)
    for column in range(2):
        expected = linear.LogisticRegression(C=10.0, tol=1e-6, max_iter=1000).fit(matrix, wanted[:, column])
        found = matrix @ kernel[:, column] + bias[column]
        np.testing.assert_allclose(found, expected.decision_function(matrix), atol=2e-2)


def test_held_out_logits_are_of_classifiers_that_have_not_seen_the_text(store):
    wanted = np.eye(2)[LABELS]
    held_out = ngram_fit.fit_ngrams(store, wanted, False, BUCKETS).held_out
    assert sorted(held_out.rows) == list(range(len(TEXTS)))
    matrix, _ = ngram_fit.weigh_ngrams(store, BUCKETS)
    inside = np.isin(store.values("fold"), [2, 3])
    kernel, bias = ngram_fit._regression(matrix[~inside], wanted[~inside], False)
    place = np.isin(held_out.rows, np.flatnonzero(inside))
    np.testing.assert_allclose(held_out.logits[place], matrix[inside] @ kernel + bias, atol=1e-4)
    ngram_fit.save_held_out(store, held_out)
    np.testing.assert_array_equal(ngram_fit.load_held_out(store).logits, held_out.logits)


def classifier(labels, share_right, seed):
    """Logits [N, 2] with the given share of right labels."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(labels)) < share_right
    return np.eye(2)[np.where(right, labels, 1 - labels)] * 2.0 + rng.normal(0.0, 0.1, [len(labels), 2])


@pytest.mark.parametrize(
    "ngrams, network, chosen",
    [(0.9, 0.5, "the n-grams alone"), (0.55, 0.95, "both, scaled by"), (0.85, 0.85, "both, scaled by")],
)
def test_the_better_one_is_chosen_by_held_out_texts(ngrams, network, chosen):
    labels = np.random.default_rng(2).integers(0, 2, 1000)
    parts, wanted = (classifier(labels, ngrams, 0), classifier(labels, network, 1)), np.eye(2)[labels]
    alone = ngram_fit.best_temperature(parts[0], wanted, False)
    found = ngram_fit.combine(*parts, wanted, False, alone)
    assert found.choice.startswith(chosen)
    assert found.losses[2] <= min(found.losses[:2]) + 1e-6
    if ngrams == network:
        assert found.scales[0] == pytest.approx(found.scales[1], rel=0.3)
    elif network > ngrams:
        assert found.scales[1] > 5 * found.scales[0]
    else:
        assert found.scales == (alone, 0.0)


def test_the_temperature_makes_probabilities_right():
    logits, wanted = np.array([[2.0, 0.0]] * 4), np.eye(2)[[0, 0, 0, 1]]
    assert ngram_fit.best_temperature(logits, wanted, False) == pytest.approx(np.log(3) / 2, abs=1e-3)
    assert ngram_fit.best_temperature(logits[:0], wanted[:0], False) == 1.0
    assert ngram_fit.best_temperature(logits, 1.0 - wanted, False) == 0.05, "the likelier label stays so"
    expected = -np.log(np.exp(logits[:, :1]) / np.exp(logits).sum(1, keepdims=True))[:, 0]
    np.testing.assert_allclose(ngram_fit.row_losses(logits, np.eye(2)[[0] * 4], False), expected)


def test_the_second_block_is_left_out_where_it_makes_held_out_texts_worse(store, monkeypatch):
    tried = iter([0.1, 0.2])
    monkeypatch.setattr(ngram_fit, "_loss_at_best", lambda *_: next(tried))
    fit = ngram_fit.fit_ngrams(store, np.eye(2)[LABELS], False, BUCKETS)
    assert fit.losses == (0.1, 0.2)
    half = BUCKETS // 2 + 1
    assert not fit.kernel[half:].any() and not fit.document_weights[half:].any()
    assert fit.kernel[:half].any() and fit.document_weights[:half].any()
