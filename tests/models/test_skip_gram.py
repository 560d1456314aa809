"""Skip-gram: two vectors for a word, and their products."""

import keras
import numpy as np
import pytest

from tflm.models.skip_gram import SkipGram, SkipGramConfig


@pytest.fixture
def model(rng):
    keras.utils.set_random_seed(0)
    model = SkipGram(SkipGramConfig(vocab_size=29, hidden_dim=6))
    model.build_variables()
    return model


def test_variables(model):
    shapes = {variable.path: tuple(variable.shape) for variable in model.trainable_variables}
    assert shapes == {
        "skip_gram/token_embedding/embeddings": (29, 6),
        "skip_gram/context_embedding/embeddings": (29, 6),
    }
    words, contexts = (np.array(variable) for variable in model.trainable_variables)
    assert model.output_layers() == [model.context_embedding]
    assert 0.03 < words.std() < 0.07 and not contexts.any()


def test_scores_are_products(model, rng):
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    words, contexts = (np.array(variable) for variable in model.trainable_variables)
    ids, others = rng.integers(0, 29, 5), rng.integers(0, 29, (5, 3))
    expected = [[words[i] @ contexts[j] for j in row] for i, row in zip(ids, others, strict=True)]
    np.testing.assert_allclose(model.scores(ids, others), expected, rtol=1e-5, atol=1e-5)
    # The logits over the vocabulary are the scores with every word.
    logits = np.array(model(ids[None]))[0]
    np.testing.assert_allclose(
        model.scores(ids, np.tile(np.arange(29), (5, 1))), logits, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(model.hidden_states(ids[None])[0], words[ids])


@pytest.mark.parametrize("field", ["hidden_dim", "max_length"])
def test_sizes(field):
    with pytest.raises(ValueError, match=f"{field} is at least 1; got 0"):
        SkipGramConfig(**{field: 0})
