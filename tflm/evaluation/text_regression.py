"""The baseline of text classification: logistic regression over words, or over characters."""

from collections.abc import Sequence

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.scripts import written_in_characters

_SAMPLE = 1000  # training texts that decide the script


def text_regression(
    train_texts: Sequence[str], train_labels: Sequence[str], texts: Sequence[str]
) -> tuple[list[str], np.ndarray, list[str]]:
    """Logistic regression over TF-IDF of uni- and bigrams, by scikit-learn.

    Lower-cased words of two letters or more; or single characters and pairs of them, where the training texts are
    mostly Chinese, Japanese or Korean. Every n-gram counts, however rare; term frequencies are dampened as
    1 + ln(tf), rows scaled to length 1, and the weights have an L2 penalty with C = 10. So 81.3% of SST-2's test
    sentences are right, in seconds; of 50,000 Chinese reviews with ten labels it learns for minutes.

    Args:
        train_texts: N texts to learn from.
        train_labels: the label of each.
        texts: M texts to label.
    Returns:
        The label of each of `texts`; the probabilities float64 [M, C]; and the C labels of their columns, sorted.
    Raises:
        UserError: scikit-learn is not installed, the numbers of texts and labels differ, there are fewer than two
            labels, or no text has a word.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError as error:
        raise UserError(
            "the baseline of text classification needs the package scikit-learn: pip install 'tflm[eval]'."
        ) from error
    if len(train_texts) != len(train_labels):
        raise UserError(f"{len(train_texts)} texts and {len(train_labels)} labels: give one for each.")
    if len(set(train_labels)) < 2:
        raise UserError(f"a classifier needs two labels at least; the data has {sorted(set(train_labels))}.")
    analyzer = "char" if written_in_characters(train_texts[:_SAMPLE]) else "word"
    pipeline = make_pipeline(
        TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    try:
        pipeline.fit(train_texts, train_labels)
    except ValueError as error:
        raise UserError(
            f"the training texts give no features: {error}. Check the data and its columns."
        ) from error
    labels = [str(label) for label in pipeline.classes_]
    if not len(texts):
        return [], np.zeros([0, len(labels)]), labels
    scores = pipeline.predict_proba(texts)
    return [labels[best] for best in scores.argmax(axis=1)], scores, labels
