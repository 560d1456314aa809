"""Explanations of a classifier: attributions against passes of the model by hand, attention against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.layers import padding_mask, rotate
from tflm.models import LSTMEncoderConfig, TransformerEncoderConfig, build_model
from tflm.tasks import ClassificationConfig, TextClassification
from tflm.tasks.features import attribution

TEXTS = ["A fine film.", "很好，下次还会买 ", "", "not bad 😀好"]
LABELS = ["bad", "fine", "好"]


def explained(function, texts, method, target="", num_steps=8):
    """The outputs of `attribute` as arrays."""
    inputs = [texts] if isinstance(texts[0], str) else [list(column) for column in zip(*texts)]
    count = len(texts)
    settings = ([target] * count, [method] * count, [num_steps] * count)
    return {name: value.numpy() for name, value in function(*map(tf.constant, (*inputs, *settings))).items()}


def randomized(model, scale):
    """Weights that are random and not small; those of buckets that no text has stay 0."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if keras.backend.standardize_dtype(variable.dtype) == "float32":
            variable.assign(rng.normal(0.0, scale, variable.shape))
    return model


@pytest.fixture(scope="module")
def transformer(tokenizers):
    """Task, model and signatures of a Transformer over bytes, for single texts."""
    task = TextClassification(ClassificationConfig(), tokenizers["byte"], 32, LABELS)
    config = TransformerEncoderConfig(
        vocab_size=task.tokenizer.vocab_size, num_layers=2, hidden_dim=16, num_heads=2, max_length=32
    )
    model = randomized(task.model_for(build_model(config)), 0.3)
    return task, model, task.explanations(model)


@pytest.fixture(scope="module")
def wide_and_deep(tokenizers):
    """The same of an LSTM and n-grams of characters, for pairs, over wordpieces."""
    config = ClassificationConfig(text_pair=True, ngrams="characters", ngram_buckets=4096)
    task = TextClassification(config, tokenizers["wordpiece"], 32, LABELS)
    body = LSTMEncoderConfig(vocab_size=task.tokenizer.vocab_size, num_layers=1, hidden_dim=8, max_length=32)
    model = randomized(task.model_for(build_model(body)), 0.3)
    model.scales.assign([0.7, 1.3])
    return task, model, task.explanations(model)


def logits_of(task, model, texts, change_fn, monkeypatch):
    """Logits of texts with embeddings changed by hand."""
    with monkeypatch.context() as patch:
        body = model.body
        patch.setattr(type(body), "embed", lambda self, ids, training=False: change_fn(body.embedding(ids)))
        batch, _ = task.batch_of(tf.constant(texts), None)
        return task.logits(model, batch, training=False)


def log_odds_by_hand(logits, index):
    """ln p / (1 - p) of NumPy."""
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    p = (shares / shares.sum(-1, keepdims=True))[np.arange(len(index)), index]
    return np.log(p / (1 - p))


def test_integrated_gradients_are_complete(transformer):
    _, _, made = transformer
    errors = []
    for num_steps in (8, 32, 128):
        found = explained(made["attribute"], TEXTS, "integrated_gradients", num_steps=num_steps)
        total = found["attributions"].sum(-1)
        errors.append(np.abs(total - (found["scores"] - found["baseline_scores"])).max())
        assert np.abs(total[[0, 1, 3]]).min() > 1e-3, "a text without influence tests nothing"
    assert errors[2] < 1e-4 and errors[1] < errors[0] / 4, errors
    assert found["attributions"][2].tolist() == [[0.0] * found["attributions"].shape[2]], (
        "no token, no attribution"
    )


def test_scores_are_the_log_odds_of_the_label(transformer):
    task, model, made = transformer
    found = explained(made["attribute"], TEXTS, "gradient_x_input")
    classified = task.signatures(model)["classify"](tf.constant(TEXTS))
    assert found["targets"][:, 0].tolist() == classified["label"].numpy().tolist()
    np.testing.assert_allclose(found["probabilities"], classified["scores"], rtol=1e-5)
    shares = classified["scores"].numpy().max(axis=1)
    np.testing.assert_allclose(found["scores"][:, 0], np.log(shares / (1 - shares)), rtol=1e-4)
    named = explained(made["attribute"], TEXTS, "gradient_x_input", target="好")
    assert named["targets"][:, 0].tolist() == ["好".encode()] * 4
    shares = classified["scores"].numpy()[:, 2]
    np.testing.assert_allclose(named["scores"][:, 0], np.log(shares / (1 - shares)), rtol=1e-4)
    assert explained(made["attribute"], TEXTS, "occlusion", target="none")["num_targets"].tolist() == [0] * 4


def test_gradient_x_input_is_that_of_a_tape(transformer, monkeypatch):
    task, model, made = transformer
    found = explained(made["attribute"], TEXTS, "gradient_x_input", target="bad")
    seen = []

    def watched(embedded):
        seen.append(embedded)
        tape.watch(embedded)
        return embedded

    with tf.GradientTape() as tape:
        logits = logits_of(task, model, TEXTS, watched, monkeypatch)
        shares = tf.nn.softmax(logits)[:, 0]
        odds = tf.math.log(shares / (1.0 - shares))
    expected = tf.reduce_sum(tape.gradient(odds, seen[0]) * seen[0], axis=-1).numpy()
    is_text = found["parts"] >= 0
    np.testing.assert_allclose(found["attributions"][:, 0][is_text], expected[is_text], rtol=1e-3, atol=1e-5)
    assert np.all(found["attributions"][:, 0][~is_text] == 0), "special tokens and padding"


def test_occlusion_is_a_pass_without_the_embedding(transformer, monkeypatch):
    task, model, made = transformer
    texts = [TEXTS[3]]
    found = explained(made["attribute"], texts, "occlusion", target="fine")
    for place in np.flatnonzero(found["parts"][0] >= 0):
        keep = 1.0 - tf.one_hot(place, found["parts"].shape[1])
        logits = logits_of(task, model, texts, lambda e, keep=keep: e * keep[None, :, None], monkeypatch)
        drop = found["scores"][0, 0] - log_odds_by_hand(logits.numpy(), [1])[0]
        assert found["attributions"][0, 0, place] == pytest.approx(drop, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("method", attribution.METHODS)
def test_a_text_alone_as_in_a_batch(transformer, method):
    """Also where the rows of a batch have different methods and numbers of steps."""
    _, _, made = transformer
    methods, steps = list(attribution.METHODS), [3, 9, 5]
    texts = [TEXTS[0], TEXTS[1], TEXTS[3]]
    inputs = (texts, [""] * 3, methods, steps)
    together = made["attribute"](*map(tf.constant, inputs))
    row = methods.index(method)
    alone = made["attribute"](*(tf.constant(values[row : row + 1]) for values in inputs))
    width = alone["attributions"].shape[2]
    np.testing.assert_allclose(
        together["attributions"][row, 0, :width], alone["attributions"][0, 0], rtol=1e-4, atol=1e-6
    )


def test_offsets_slice_the_tokens_out_of_the_texts(wide_and_deep, eagerly):
    task, _, made = wide_and_deep
    pairs = [("The quick fox", "你好，世界"), ("模型 learns", ""), ("", "the end of the text")]
    with eagerly():
        found = explained(made["attribute"], pairs, "gradient_x_input")
    for row, pair in enumerate(pairs):
        for part, text in enumerate(pair):
            own = found["parts"][row] == part
            sliced = [text[a:b] for a, b in zip(found["starts"][row][own], found["ends"][row][own])]
            assert "".join(sliced) == text.replace(" ", "")
            ids = task.tokenizer.tokenize([text]).to_list()[0]
            names = task.tokenizer.detokenize(tf.constant(ids, tf.int32)[:, None]).numpy() if ids else []
            assert [name.decode().removeprefix("##").strip() for name in names] == sliced
    special = found["tokens"][0][found["parts"][0] < 0].tolist()
    assert special[:3] == [b"<start>", b"<separator>", b"<end>"] and set(special[3:]) <= {b""}


def test_with_ngrams_attributions_are_complete_too(wide_and_deep, eagerly):
    _, _, made = wide_and_deep
    assert list(made) == ["attribute"], "an LSTM has no attention"
    pairs = [("The quick  FOX the", "fox 你好"), ("模型学习语言", "the words"), ("fox", "")]
    with eagerly():
        found = explained(made["attribute"], pairs, "integrated_gradients", num_steps=24)
    difference = (found["scores"] - found["baseline_scores"])[:, 0]
    np.testing.assert_allclose(found["attributions"].sum(-1)[:, 0], difference, atol=2e-3)
    assert np.abs(difference).min() > 0.01


def test_occlusion_leaves_out_the_ngrams_of_a_token(wide_and_deep, eagerly):
    """Of a text of one token nothing is left: its occlusion is the whole difference, n-grams included."""
    _, _, made = wide_and_deep
    with eagerly():
        found = explained(made["attribute"], [("的", "")], "occlusion")
    assert (found["parts"][0] == 0).sum() == 1
    difference = (found["scores"] - found["baseline_scores"])[0, 0]
    assert found["attributions"][0, 0].sum() == pytest.approx(difference, rel=1e-4)


def test_attention_weights_and_rollout(transformer):
    task, model, made = transformer
    found = {name: value.numpy() for name, value in made["attention"](tf.constant(TEXTS)).items()}
    batch, _ = task.batch_of(tf.constant(TEXTS), None)
    real = padding_mask(batch["token_ids"], 0).numpy()
    width = real.shape[1]
    expected = np.broadcast_to(real[:, None, None], (4, 2, 2, width))
    np.testing.assert_allclose(found["weights"].sum(-1), expected, atol=1e-5)
    np.testing.assert_allclose(found["rollout"].sum(-1), real, atol=1e-5)
    assert np.all(found["weights"] * ~real[:, None, None, None] == 0), "nothing attends to padding"
    # The first layer by hand.
    body, row = model.body, 1
    block = body.encoder.blocks[0]
    ids = batch["token_ids"][row : row + 1]
    embedded = body.embed(ids) + body.segment_embedding(tf.zeros_like(ids))
    entered = block.attention_norm(body.encoder._enter(embedded, tf.range(ids.shape[1])[None], False))
    places = tf.range(ids.shape[1])[None]
    query, key = (
        rotate(tf.reshape(layer(entered), [1, -1, 2, 8]), places, 10000.0).numpy()[0]
        for layer in (block.attention.query, block.attention.key)
    )
    for head in range(2):
        scores = query[:, head] @ key[:, head].T / np.sqrt(8)
        scores[:, ~real[row]] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        own = real[row]
        np.testing.assert_allclose(found["weights"][row, 0, head][own], shares[own], atol=1e-4)
    expected = np.eye(width)
    for layer in range(2):
        expected = (0.5 * found["weights"][row, layer].mean(0) + 0.5 * np.eye(width)) @ expected
    np.testing.assert_allclose(found["rollout"][row][own], expected[own], atol=1e-5)
