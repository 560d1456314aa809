"""Classification: features, loss and measures against NumPy, and learned labels back from the signatures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_store
from tflm.data import build_store
from tflm.errors import UserError
from tflm.layers import PooledHead, drawing_masks
from tflm.models import TransformerDecoderConfig, TransformerEncoderConfig, build_model
from tflm.tasks import ClassificationConfig, TextClassification, find_labels
from tflm.training.dropout_masks import RowMasks, step_key

EXAMPLES = [
    {"text": "good film", "label": "pos"},
    {"text": "bad film", "label": "neg"},
    {"text": "很好", "label": "pos"},
    {"text": "不好，不会再买", "label": "neg"},
    {"text": "so so", "label": "mixed"},
]


def make_task(tokenizer, examples=EXAMPLES, max_length=32, **settings):
    config = ClassificationConfig(**{"dropout": 0.0, **settings})
    return TextClassification(config, tokenizer, max_length, find_labels(examples, config.label_separator))


def columns(examples):
    return {key: tf.constant([example[key] for example in examples]) for key in examples[0]}


def tokens_of(tokenizer, text):
    return tokenizer.tokenize(tf.constant([text])).to_list()[0]


def train_on(task, examples, folder, kind=TransformerEncoderConfig):
    """A tiny model that has learned the examples through store and batches; gives it and its signatures."""
    store = build_store(examples, task.encode, folder / "store", "a")
    config = kind(
        vocab_size=task.tokenizer.vocab_size,
        num_layers=1,
        hidden_dim=32,
        num_heads=2,
        max_length=task.max_length,
    )
    keras.utils.set_random_seed(1)
    model = task.model_for(build_model(config))
    losses = learn_store(task, model, store, len(examples), 1e-2)
    return model, task.signatures(model), store, losses


@pytest.mark.parametrize("kind", [TransformerEncoderConfig, TransformerDecoderConfig])
def test_learned_labels_come_back(tokenizers, tmp_path, kind):
    task = make_task(tokenizers["byte"], pooling="mean" if kind is TransformerEncoderConfig else "last")
    model, signatures, store, losses = train_on(task, EXAMPLES, tmp_path, kind)
    assert losses[0] == pytest.approx(np.log(3), abs=0.2)
    texts = [example["text"] for example in EXAMPLES]
    answers = signatures["serving_default"](tf.constant(texts))
    assert [label.decode() for label in answers["label"].numpy()] == [e["label"] for e in EXAMPLES]
    assert answers["labels"].numpy().tolist() == [[b"mixed", b"neg", b"pos"]] * 5
    np.testing.assert_allclose(answers["scores"].numpy().sum(1), 1.0, rtol=1e-5)
    for row, text in enumerate(texts):  # alone as in the batch
        alone = signatures["classify"](tf.constant([text]))
        np.testing.assert_allclose(alone["scores"][0], answers["scores"][row], atol=1e-5)
    sums = {}
    for batch in task.batches(store, 2, seed=0, training=False).dataset():  # the last batch has a row too few
        for name, value in task.sums(model, batch).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    metrics = task.metrics(sums)
    assert metrics["accuracy"] == 1.0 and metrics["num_examples"] == 5
    wanted = [sorted({"pos", "neg", "mixed"}).index(example["label"]) for example in EXAMPLES]
    expected = -np.log(answers["scores"].numpy()[np.arange(5), wanted]).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-3)


def test_encode(tokenizer):
    task = make_task(tokenizer, max_length=8)
    features = task.encode(columns(EXAMPLES))
    for row, example in enumerate(EXAMPLES):
        expected = [1, *tokens_of(tokenizer, example["text"])[:6], 2]
        assert features["token_ids"][row].numpy().tolist() == expected
        assert features["label_ids"][row].numpy().tolist() == [
            ["mixed", "neg", "pos"].index(example["label"]) + 1
        ]


PAIRS = [
    {"text": "a cat", "text_pair": "an animal", "label": "1"},
    {"text": "a cat", "text_pair": "a stone", "label": "0"},
    {"text": "一只猫", "text_pair": "动物", "label": "1"},
    {"text": "一只猫", "text_pair": "石头", "label": "0"},
]


def test_pairs(tokenizers, tmp_path):
    task = make_task(tokenizers["byte"], PAIRS, text_pair=True, pooling="first")
    tokenizer = task.tokenizer
    features = task.encode(columns(PAIRS))
    first, second = tokens_of(tokenizer, "一只猫"), tokens_of(tokenizer, "石头")
    separator = tokenizer.special_tokens["separator"]
    assert features["token_ids"][3].numpy().tolist() == [1, *first, separator, *second, 2]
    assert int(features["prefix_length"][3]) == len(first) + 2
    _, signatures, _, _ = train_on(task, PAIRS, tmp_path)
    answers = signatures["classify"](**{k: v for k, v in columns(PAIRS).items() if k != "label"})
    assert [label.decode() for label in answers["label"].numpy()] == ["1", "0", "1", "0"]


def test_a_long_pair_keeps_both(tokenizers):
    task = make_task(tokenizers["byte"], PAIRS, text_pair=True, max_length=17)
    row = task.encode(columns([{"text": "x" * 50, "text_pair": "y" * 50, "label": "1"}]))["token_ids"]
    assert row.row_lengths().numpy().tolist() == [17]
    x, y = (tokens_of(task.tokenizer, letter)[0] for letter in "xy")
    assert row.to_list()[0].count(x) == 7 and row.to_list()[0].count(y) == 7
    short = task.encode(columns([{"text": "x" * 50, "text_pair": "y", "label": "1"}]))["token_ids"].to_list()[
        0
    ]
    assert short.count(x) == 13 and short.count(y) == 1


SEVERAL = [
    {"text": "red round", "label": "red|round"},
    {"text": "blue", "label": "blue"},
    {"text": "红的", "label": "red"},
    {"text": "round", "label": "round"},
]


def test_several_labels(tokenizers, tmp_path):
    task = make_task(tokenizers["byte"], SEVERAL, label_separator="|")
    assert task.labels == ("blue", "red", "round")
    assert task.encode(columns(SEVERAL))["label_ids"].to_list() == [[2, 3], [1], [2], [3]]
    _, signatures, _, _ = train_on(task, SEVERAL, tmp_path)
    answers = signatures["serving_default"](columns(SEVERAL)["text"])
    assert [label.decode() for label in answers["label"].numpy()] == [e["label"] for e in SEVERAL]


def test_find_labels():
    assert find_labels([{"text": "", "label": x} for x in ("10", "9", "b", "a", "9")]) == [
        "9",
        "10",
        "a",
        "b",
    ]
    assert find_labels([{"text": "", "label": "b, a"}, {"text": "", "label": "c"}], ",") == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"an example has only text. Set data.label_column"):
        find_labels([{"text": "x"}])
    with pytest.raises(UserError, match="more than 2000 different labels"):
        find_labels({"text": "", "label": f"x{n}"} for n in range(3000))


def test_labels_in_another_spelling(tokenizers):
    task = make_task(tokenizers["byte"], [{"text": "a", "label": "0"}, {"text": "b", "label": "É"}])
    examples = {"text": tf.constant(["a", "b"]), "label": tf.constant(["0.0", "E\u0301"])}
    assert task.encode(examples)["label_ids"].to_list() == [[1], [2]]
    with pytest.raises(UserError, match=r"'é' is not among.*: 0, É. It differs from 'É' only in case"):
        task.encode({"text": tf.constant(["a"]), "label": tf.constant(["é"])})


def test_mistakes(tokenizers):
    task = make_task(tokenizers["byte"])
    with pytest.raises(
        UserError, match="the label 'good' is not among those of the training side: mixed, neg, pos"
    ):
        task.encode({"text": tf.constant(["a"]), "label": tf.constant(["good"])})
    with pytest.raises(UserError, match=r"needs two labels at least; the data has \['pos'\]"):
        make_task(tokenizers["byte"], EXAMPLES[:1])
    with pytest.raises(ValueError, match="pooling is one of first, last, mean, max; got 'sum'"):
        ClassificationConfig(pooling="sum")


@pytest.mark.parametrize("separator", ["", "|"])
def test_r_drop_adds_the_divergence_of_two_predictions(tokenizers, separator, monkeypatch):
    task = make_task(tokenizers["byte"], label_separator=separator, r_drop=2.0)
    plain = make_task(tokenizers["byte"], label_separator=separator)
    both = [
        tf.constant([[1.0, -2.0, 0.5], [0.0, 0.0, 3.0]]),
        tf.constant([[0.5, 1.0, -1.0], [0.0, 0.0, 3.0]]),
    ]
    batch = {"label_ids": tf.constant([[3], [1]]), "row_weights": tf.constant([1.0, 0.5])}

    def loss(task, logits, training=True):
        given = iter(logits)
        monkeypatch.setattr(task, "logits", lambda model, batch, training: next(given))
        return float(task.loss(None, batch, training)[0])

    means = 0.5 * (loss(plain, both[:1]) + loss(plain, both[1:]))
    one, other = (np.array(logits, np.float64) for logits in both)
    shares = [1 / (1 + np.exp(-one)), 1 / (1 + np.exp(-other))]
    if not separator:
        shares = [np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in (one, other)]

    def divergence(p, q):
        there = (p * np.log(p / q)).sum(-1)
        return there + ((1 - p) * np.log((1 - p) / (1 - q))).sum(-1) if separator else there

    expected = 0.5 * (divergence(*shares) + divergence(*shares[::-1]))
    assert expected[0] > 0.1 and expected[1] == 0
    assert loss(task, both) == pytest.approx(means + 2.0 * (expected * [1.0, 0.5]).sum(), rel=1e-5)
    assert loss(task, both[:1], training=False) == loss(plain, both[:1], training=False)


def test_a_weighted_label_is_chosen_and_probabilities_stay(tokenizers):
    logits = tf.math.log([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.9, 0.05, 0.05]])
    plain, weighted = (
        make_task(tokenizers["byte"], label_weights=weights) for weights in ((), ("neg=2", "pos=3"))
    )
    names = [plain.labels[place] for place in np.argmax(logits, axis=1)]
    assert [text.decode() for text in plain._label_text(logits).numpy()] == names
    factors = np.array([{"neg": 2.0, "pos": 3.0}.get(label, 1.0) for label in plain.labels])
    places = np.argmax(np.exp(logits) * factors, axis=1)
    assert len(set(places)) > 1
    assert weighted.best(logits).numpy().tolist() == places.tolist()
    expected = [weighted.labels[place] for place in places]
    assert [text.decode() for text in weighted._label_text(logits).numpy()] == expected
    assert weighted._chosen(logits).numpy().argmax(axis=1).tolist() == places.tolist()


@pytest.mark.parametrize("weights", [("bad",), ("bad=0",), ("bad=-1",), ("bad=inf",), ("=2",), ("bad=two",)])
def test_weights_of_labels_that_are_none(weights):
    with pytest.raises(ValueError, match=r'label_weights are "LABEL=WEIGHT" with a positive number; got'):
        ClassificationConfig(label_weights=weights)


def test_weights_of_unknown_labels(tokenizers):
    with pytest.raises(UserError, match=r"task\.label_weights names 'worse'; the labels are "):
        make_task(tokenizers["byte"], label_weights=("worse=2",))
    with pytest.raises(ValueError, match="with label_separator set threshold"):
        ClassificationConfig(label_weights=("bad=2",), label_separator="|")


def test_r_drop_draws_two_masks(tokenizers):
    """With dropout, a training loss has a divergence; the masks of an example are a function of step and row."""
    task, head = make_task(tokenizers["byte"], r_drop=1.0), PooledHead(3, dropout=0.5)
    states = tf.ones([2, 4, 8])
    with drawing_masks(RowMasks(step_key(0, tf.constant(0, tf.int64)), tf.constant(0, tf.int64))):
        one, other = (head(states, tf.ones([2, 4], tf.bool), training=True) for _ in range(2))
    assert np.any(task._divergence(one, other) > 0)


def test_label_smoothing(tokenizers):
    task, smooth = make_task(tokenizers["byte"]), make_task(tokenizers["byte"], label_smoothing=0.3)
    logits = tf.constant([[1.0, -2.0, 0.5]])
    batch = {"label_ids": tf.constant([[3]])}
    shares = -np.array(tf.nn.log_softmax(logits))[0]
    plain = float(task._losses(logits, batch, training=True)[0])
    assert plain == pytest.approx(shares[2], rel=1e-5)
    assert float(smooth._losses(logits, batch, training=False)[0]) == plain
    expected = 0.7 * shares[2] + 0.1 * shares.sum()
    assert float(smooth._losses(logits, batch, training=True)[0]) == pytest.approx(expected, rel=1e-5)
