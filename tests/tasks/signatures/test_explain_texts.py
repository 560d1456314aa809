"""Explanations of generated and of given continuations, against passes of the model by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.signatures.test_explain_labels import log_odds_by_hand, randomized
from tflm.models import TransformerEncoderDecoderConfig, build_model
from tflm.tasks import Denoising, DenoisingConfig

TEXTS = ["A fine film.", "很好 ", ""]
TARGETS = ["ab", "好", " 😀x"]


def explained(function, texts, targets, method, num_steps=16, max_new_tokens=8):
    count = len(texts)
    inputs = (texts, targets, [max_new_tokens] * count, [method] * count, [num_steps] * count)
    return {name: value.numpy() for name, value in function(*map(tf.constant, inputs)).items()}


@pytest.fixture(scope="module")
def decoder(tokenizers, make_model, language_modeling):
    """A task and a Transformer decoder over bytes."""
    task = language_modeling(tokenizers["byte"])
    return task, make_model(task.tokenizer.vocab_size)


@pytest.fixture(scope="module")
def encoder_decoder(tokenizers, pairs):
    """The same with an encoder."""
    keras.utils.set_random_seed(1)
    task = pairs(tokenizers["byte"], source=20, target=10)
    task = type(task).create(task.config, _Inputs(task))
    config = TransformerEncoderDecoderConfig(
        vocab_size=task.tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=32
    )
    return task, randomized(build_model(config), 0.2)


class _Inputs:
    def __init__(self, task):
        self.tokenizer, self.decoding = task.tokenizer, task.decoding
        self.model = TransformerEncoderDecoderConfig(num_heads=2, hidden_dim=16, max_length=32)


def test_each_token_of_a_continuation_against_a_tape(decoder, eagerly, monkeypatch):
    task, model = decoder
    with eagerly():
        found = explained(task.explanations(model)["attribute"], TEXTS, TARGETS, "gradient_x_input")
        assert [text.decode() for text in found["continuation"]] == TARGETS
        assert found["num_targets"].tolist() == [len(target.encode()) for target in TARGETS]
        for row, (text, target) in enumerate(zip(TEXTS, TARGETS, strict=True)):
            ids = task.tokenizer.tokenize([text, target]).to_list()
            tokens = tf.constant([[1, *ids[0], *ids[1]]])
            given = 1 + len(ids[0])
            for number, own in enumerate(ids[1]):
                seen = []

                def watched(self, ids, training=False, seen=seen):
                    seen.append(model.embedding(ids))
                    tape.watch(seen[0])
                    return seen[0]

                with monkeypatch.context() as patch, tf.GradientTape() as tape:
                    patch.setattr(type(model), "embed", watched)
                    logits = model(tokens)[:, given + number - 1]
                    shares = tf.nn.softmax(logits)[:, own]
                    odds = tf.math.log(shares) - tf.math.log1p(-shares)
                expected = tf.reduce_sum(tape.gradient(odds, seen[0]) * seen[0], axis=-1)[0].numpy()
                expected[0] = 0.0  # the start token is no input
                values = found["attributions"][row, number, : len(expected)]
                np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-5)
                assert found["scores"][row, number] == pytest.approx(
                    log_odds_by_hand(logits.numpy(), [own])[0], rel=1e-3
                )
                assert np.all(values[given + number :] == 0), "no token depends on later ones"


def test_places_of_text_and_continuation(decoder, eagerly):
    task, model = decoder
    with eagerly():
        found = explained(task.explanations(model)["attribute"], TEXTS, TARGETS, "gradient_x_input")
    for row, both in enumerate(zip(TEXTS, TARGETS, strict=True)):
        for part, text in enumerate(both):
            own = (found["parts"][row] == part) & (found["starts"][row] >= 0)
            assert (
                "".join(text[a:b] for a, b in zip(found["starts"][row][own], found["ends"][row][own])) == text
            )
        whole = found["num_targets"][row]
        starts, ends = found["target_starts"][row][:whole], found["target_ends"][row][:whole]
        assert "".join(both[1][a:b] for a, b in zip(starts, ends) if a >= 0) == both[1]


def test_integrated_gradients_with_an_encoder_are_complete(encoder_decoder, eagerly):
    """Over the source and the tokens before each target."""
    task, model = encoder_decoder
    with eagerly():
        made = task.explanations(model)["attribute"]
        found = explained(made, TEXTS[:2], TARGETS[:2], "integrated_gradients", 24)
    difference = found["scores"] - found["baseline_scores"]
    np.testing.assert_allclose(found["attributions"].sum(-1), difference, atol=0.1)
    assert np.abs(difference).max() > 0.2
    first = found["attributions"][0, 0]
    assert np.all(first[found["parts"][0] == 1] == 0), "the first token has the source alone"
    assert np.any(found["attributions"][0, 1][found["parts"][0] == 1] != 0)


def test_greedy_continuations_are_those_of_generate(decoder, request_settings, eagerly):
    task, model = decoder
    inputs = [tf.constant(each) for each in (TEXTS, ["", "好", ""], [6, 6, 6])]
    settings = request_settings(3, temperature=0.0, max_new_tokens=6)
    with eagerly():
        signatures, writer = task.export_signatures(model)
        made = task.explanations(model, writer)
        found = {name: value.numpy() for name, value in made["attention"](*inputs).items()}
        generated = signatures["generate"](tf.constant(TEXTS), *settings.values())
    expected = [text.decode() for text in generated["text"].numpy()]
    assert [text.decode() for text in found["continuation"]] == [expected[0], "好", expected[2]]
    real = np.arange(found["weights"].shape[-1]) < found["num_tokens"][:, None]
    sums = np.broadcast_to(real[:, None, None], found["weights"].shape[:-1])
    np.testing.assert_allclose(found["weights"].sum(-1), sums, atol=1e-5)
    later = np.triu(np.ones(found["weights"].shape[-2:], bool), 1)
    assert np.all(found["weights"][..., later] == 0), "causal"


def test_cross_attention(encoder_decoder, eagerly):
    """Each generated token attends to the source; what follows it in the row is none of it."""
    task, model = encoder_decoder
    with eagerly():
        made = task.explanations(model)["attention"]
        found = {
            name: value.numpy() for name, value in made(*map(tf.constant, (TEXTS, TARGETS, [8] * 3))).items()
        }
    assert "rollout" not in found
    layers, heads, queries, sources = found["weights"].shape[1:]
    assert (layers, heads) == (1, 2)
    real = np.arange(queries) < found["num_targets"][:, None]
    sums = np.broadcast_to(real[:, None, None], (3, 1, 2, queries))
    np.testing.assert_allclose(found["weights"].sum(-1), sums, atol=1e-5)
    # "A fine film." and the end token of the source.
    assert found["num_tokens"].tolist()[0] == len(TEXTS[0]) + 1 <= sources
    assert set(found["parts"][0].tolist()) <= {0, -1}


def test_a_task_that_writes_another_text_has_none(tokenizers):
    task = Denoising.__new__(Denoising)
    task.config = DenoisingConfig()
    assert task.explanations(None) == {} and task.explanation_requests() == {}
