"""Contrastive search against a plain search that reads every candidate's whole text again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.generation import DecodingConfig, Generator, settings_tensors
from tflm.generation.contrastive import contrastive_search, contrastive_specs
from tflm.models import LSTMConfig, TransformerDecoderConfig, build_model

PAD, END, VOCAB_SIZE, LIMIT = 0, 2, 23, 18
CONFIGS = {
    "transformer": TransformerDecoderConfig(
        vocab_size=VOCAB_SIZE, num_layers=2, hidden_dim=16, num_heads=4, max_length=LIMIT, tied_output=False
    ),
    "lstm": LSTMConfig(
        vocab_size=VOCAB_SIZE, num_layers=1, hidden_dim=12, max_length=LIMIT, tied_output=False
    ),
}
PROMPTS = [[1], [1, 5, 6, 19], [1, 3], [1, 9, 9, 4, 11, 3, 8], [1, 4, 20]]
ALPHAS, TOP_K, SHORTEST, LONGEST = (
    [0.6, 0.9, 0.3, 0.5, 1.0],
    [4, 9, 30, 2, 5],
    [0, 12, 3, 0, 7],
    [12, 12, 9, 30, 9],
)


class Searcher:
    """A model with large random weights and its graph."""

    def __init__(self, config):
        keras.utils.set_random_seed(0)
        self.model = build_model(config)
        rng = np.random.default_rng(0)
        for variable in self.model.trainable_variables:
            variable.assign(rng.normal(0.0, 0.5, variable.shape))
        self.generator = Generator(
            self.model,
            end_id=END,
            pad_id=PAD,
            suppressed_ids=[1],
            max_total_length=LIMIT,
            segment_length=4,
        )
        specs = [tf.RaggedTensorSpec([None, None], tf.int32), contrastive_specs()]

        @tf.function(input_signature=specs, autograph=False)
        def search(prompts, settings):
            return contrastive_search(self.generator, prompts, settings)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
        def hidden_states(token_ids):
            return self.model.hidden_states(token_ids)

        self._search, self._hidden_states = search, hidden_states

    def fast(self, prompts, *settings):
        """Tokens of each row, log-probabilities, whether they are complete."""
        tensors = {
            name: tf.constant(values, spec.dtype)
            for (name, spec), values in zip(contrastive_specs().items(), settings, strict=True)
        }
        found = self._search(tf.ragged.constant(prompts, tf.int32, ragged_rank=1), tensors)
        rows = zip(found.token_ids.numpy(), found.num_tokens.numpy(), strict=True)
        texts = [ids[:count].tolist() for ids, count in rows]
        return texts, found.log_probability.numpy(), found.is_complete.numpy().tolist()

    def slow(self, prompt, alpha, top_k, shortest, longest):
        """One row, from whole texts alone."""
        row, total = list(prompt), 0.0
        for count in range(min(longest, LIMIT - len(prompt))):
            logits = self.model.logits(self._hidden_states(np.array([row], np.int32))[:, -1])[0]
            logits = logits.numpy().astype(np.float64)
            scores = logits - np.log(np.exp(logits).sum())
            possible = logits.copy()
            possible[[PAD, 1]] = -np.inf
            possible[END] = -np.inf if count < shortest else possible[END]
            weights = np.exp(possible - possible.max())
            candidates = [token for token in np.argsort(-weights)[:top_k] if weights[token] > 0]
            states = self._hidden_states(np.array([[*row, token] for token in candidates], np.int32)).numpy()
            states = states / np.linalg.norm(states, axis=-1, keepdims=True)
            repetition = np.einsum("ktd,kd->kt", states[:, :-1], states[:, -1]).max(axis=1)
            best = np.argmax((1 - alpha) * weights[candidates] / weights.sum() - alpha * repetition)
            total += scores[candidates[best]]
            if candidates[best] == END:
                return row[len(prompt) :], total, True
            row.append(int(candidates[best]))
        return row[len(prompt) :], total, False


@pytest.fixture(scope="module", params=list(CONFIGS))
def searcher(request):
    return Searcher(CONFIGS[request.param])


def test_texts_equal_those_of_a_plain_search(searcher):
    texts, log_probabilities, complete = searcher.fast(PROMPTS, ALPHAS, TOP_K, SHORTEST, LONGEST)
    for row, settings in enumerate(zip(PROMPTS, ALPHAS, TOP_K, SHORTEST, LONGEST, strict=True)):
        expected = searcher.slow(*settings)
        assert (texts[row], complete[row]) == (expected[0], expected[2])
        assert log_probabilities[row] == pytest.approx(expected[1], abs=1e-3)
    greedy, *_ = searcher.fast(PROMPTS, [0.0] * 5, TOP_K, SHORTEST, LONGEST)
    assert sum(one != other for one, other in zip(texts, greedy, strict=True)) >= 3, (
        "the penalty does something"
    )


def test_without_a_penalty_or_a_choice_it_is_greedy(searcher):
    config = DecodingConfig(temperature=0.0, max_new_tokens=10)
    prompts = tf.ragged.constant(PROMPTS, tf.int32, ragged_rank=1)
    found = searcher.generator.generate(prompts, settings_tensors(config, 5))
    counts = found.num_tokens.numpy()
    greedy = [ids[:count].tolist() for ids, count in zip(found.token_ids.numpy(), counts, strict=True)]
    for alphas, top_k in (
        ([0.0] * 5, [8] * 5),
        ([0.6] * 5, [1] * 5),
        ([-1.0, np.nan, 0.6, 0.0, 0.6], [5, 5, 0, 5, -3]),
    ):
        texts, log_probabilities, _ = searcher.fast(PROMPTS, alphas, top_k, [0] * 5, [10] * 5)
        assert texts == greedy
        np.testing.assert_allclose(log_probabilities, found.log_probability, atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours(searcher):
    settings = ALPHAS, TOP_K, SHORTEST, LONGEST
    together = searcher.fast(PROMPTS, *settings)
    for order in ([4, 3, 2, 1, 0], [2], [0, 3, 3]):
        texts, log_probabilities, complete = searcher.fast(
            [PROMPTS[n] for n in order], *([values[n] for n in order] for values in settings)
        )
        assert texts == [together[0][n] for n in order] and complete == [together[2][n] for n in order]
        np.testing.assert_allclose(log_probabilities, together[1][order], atol=1e-4)


def test_limits_are_those_of_each_row(searcher):
    texts, *_ = searcher.fast(PROMPTS, [0.7] * 5, [6] * 5, [99] * 5, [0, 5, -2, 99, 3])
    assert [len(text) for text in texts] == [0, 5, 0, LIMIT - len(PROMPTS[3]), 3]
    assert not {PAD, 1, END} & {token for text in texts for token in text}


def test_values_out_of_range_act_like_the_nearest_in_range(searcher):
    nearest = searcher.fast(PROMPTS, [1.0] * 5, [64] * 5, [0] * 5, [9] * 5)
    assert searcher.fast(PROMPTS, [7.0] * 5, [2**30] * 5, [-5] * 5, [9] * 5)[0] == nearest[0]


def test_other_settings_are_refused():
    generator = Generator(build_model(CONFIGS["transformer"]), end_id=END, pad_id=PAD)
    with pytest.raises(
        UserError, match=r"Settings of contrastive search are \['top_k'\], expected \['max_new_tokens'"
    ):
        contrastive_search(generator, tf.ragged.constant([[1]]), {"top_k": tf.constant([1])})
