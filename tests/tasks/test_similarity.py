"""Similarity: rows, the loss beside a slow one in NumPy, and learned pairs that find each other by their vectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_store
from tflm.data import build_store
from tflm.errors import UserError
from tflm.models import TransformerDecoderConfig, TransformerEncoderConfig, build_model
from tflm.tasks.similarity import Similarity, SimilarityConfig
from tflm.training.train_step import make_train_steps

PAIRS = [
    ("a cat", "猫咪"),
    ("the weather today", "今天天气"),
    ("open a file", "打开文件"),
    ("hello", "你好！"),
    ("thank you very much", "非常感谢"),
]
# The first two share a source; the second and the fourth a target; the fifth's source is the third's target.
TANGLED = [("a", "bb"), ("a", "c"), ("ddd", "e"), ("f", "c"), ("e", "gg"), ("你好", "您好")]


def examples(pairs):
    return [{"source": source, "target": target} for source, target in pairs]


def make_task(tokenizer, max_length=32, **settings):
    return Similarity(SimilarityConfig(**settings), tokenizer, max_length)


def make_model(task, kind=TransformerEncoderConfig, **changes):
    sizes = {"num_layers": 1, "hidden_dim": 32, "num_heads": 2, "initializer_range": 0.2, **changes}
    keras.utils.set_random_seed(1)
    return task.model_for(
        build_model(kind(vocab_size=task.tokenizer.vocab_size, max_length=task.max_length, **sizes))
    )


def batches_of(task, pairs, folder, batch_size):
    store = build_store(examples(pairs), task.encode, folder / "store", "a")
    return list(task.batches(store, batch_size, seed=0, training=False).dataset())


def slow_losses(task, model, pairs):
    """Of each pair its loss, and whether its own target is the nearest to its source; one text at a time."""
    embed = task.signatures(model)["embed"]
    sources, targets = (
        [np.array(embed(tf.constant([text]))["embedding"], np.float64)[0] for text in side]
        for side in zip(*pairs)
    )
    losses, right = [], []
    for own, (source, target) in enumerate(pairs):
        others = [other for other, (s, t) in enumerate(pairs) if other != own and s != source and t != target]
        away = [
            other for other in others if pairs[other][1] != source
        ]  # targets that are wrong for the source
        back = [
            other for other in others if pairs[other][0] != target
        ]  # sources that are wrong for the target
        scale = task.config.temperature
        score = sources[own] @ targets[own] / scale
        to_targets = np.array([score, *(sources[own] @ targets[other] / scale for other in away)])
        to_sources = np.array([score, *(sources[other] @ targets[own] / scale for other in back)])
        losses.append(sum(np.log(np.exp(scores).sum()) - score for scores in (to_targets, to_sources)) / 2)
        right.append(to_targets.argmax() == 0)
    return losses, right


def test_encode(tokenizer):
    task = make_task(tokenizer, max_length=6)
    columns = {name: tf.constant([e[name] for e in examples(PAIRS)]) for name in ("source", "target")}
    features = task.encode(columns)
    for row, texts in enumerate(PAIRS):
        for name, text in zip(("source_ids", "token_ids"), texts):
            tokens = tokenizer.tokenize(tf.constant([text])).to_list()[0]
            assert features[name][row].numpy().tolist() == [1, *tokens[:4], 2]


def test_the_loss_equals_a_slow_one(tokenizers, tmp_path):
    task = make_task(tokenizers["byte"], temperature=0.1, embedding_dim=8)
    model = make_model(task)
    (batch,) = batches_of(task, TANGLED, tmp_path, batch_size=9)  # three rows fill up
    order = np.argsort([max(len(text.encode()) for text in pair) for pair in TANGLED], kind="stable")
    losses, right = slow_losses(task, model, [TANGLED[place] for place in order])
    sums = {name: float(value) for name, value in task.sums(model, batch).items()}
    assert sums == {
        "loss": pytest.approx(sum(losses), rel=1e-4),
        "weight": len(TANGLED),
        "correct": sum(right),
    }
    assert task.metrics(sums) == {
        "loss": pytest.approx(np.mean(losses), rel=1e-4),
        "accuracy": pytest.approx(np.mean(right)),
        "num_examples": 6,
    }
    loss, weight = task.loss(model, batch, training=False)
    assert (float(loss), float(weight)) == (sums["loss"], 6.0)


def test_equal_rows_have_equal_keys_in_any_width(tokenizers):
    task = make_task(tokenizers["byte"])
    narrow, wide = (
        task._keys(tf.constant(rows)).numpy()
        for rows in ([[1, 7, 8, 2], [1, 8, 7, 2]], [[1, 7, 8, 2, 0, 0], [1, 7, 8, 2, 2, 0]])
    )
    assert narrow[0] == wide[0]
    assert len({*narrow, *wide}) == 3


def test_micro_batches_find_wrong_answers_in_themselves(tokenizers, tmp_path):
    task = make_task(tokenizers["byte"])
    model = make_model(task)
    (batch,) = batches_of(task, PAIRS[:4], tmp_path, batch_size=4)
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(2), slice(2, 4))]
    expected = sum(float(task.loss(model, half, training=True)[0]) for half in halves) / 4
    optimizer = keras.optimizers.SGD(0.0)
    optimizer.build(model.trainable_variables)
    step = make_train_steps(
        tf.distribute.get_strategy(),
        lambda part: task.loss(model, part, training=True),
        model.trainable_variables,
        optimizer,
        num_micro_batches=2,
        clip_norm=0.0,
        jit_compile=False,
        pad_id=0,
    )
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    found = float(step(iter(dataset), tf.constant(1))["loss"][0])
    assert found == pytest.approx(expected, rel=1e-4)
    assert found < float(task.loss(model, batch, training=True)[0]) / 4


def test_bfloat16_gives_a_loss_in_float32(tokenizers, tmp_path):
    task = make_task(tokenizers["byte"])
    (batch,) = batches_of(task, PAIRS, tmp_path, batch_size=8)
    losses = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            losses[policy] = task.loss(make_model(task), batch, training=True)[0]
        finally:
            keras.config.set_dtype_policy("float32")
    assert losses["mixed_bfloat16"].dtype == tf.float32
    assert float(losses["mixed_bfloat16"]) == pytest.approx(float(losses["float32"]), rel=0.05)


def test_dropout_tells_a_text_from_itself(tokenizers, tmp_path):
    task = make_task(tokenizers["byte"], temperature=1.0)
    model = make_model(task, dropout=0.2)
    (batch,) = batches_of(task, [(text, text) for text, _ in PAIRS], tmp_path, batch_size=5)
    np.testing.assert_allclose(np.diag(task._logits(model, batch, training=False)), 1.0, atol=1e-5)
    assert (np.diag(task._logits(model, batch, training=True)) < 0.999).all()


def learn(task, model, pairs, folder):
    """The loss before each step."""
    store = build_store(examples(pairs), task.encode, folder / "store", "a")
    return learn_store(task, model, store, len(pairs), 1e-2)


@pytest.mark.parametrize("kind", [TransformerEncoderConfig, TransformerDecoderConfig])
def test_learned_pairs_find_each_other(tokenizers, tmp_path, kind):
    task = make_task(tokenizers["byte"], embedding_dim=8 if kind is TransformerEncoderConfig else 0)
    model = make_model(task, kind, initializer_range=0.02)
    losses = learn(task, model, PAIRS, tmp_path)
    assert losses[-1] < 0.1 < losses[0]
    signatures = task.signatures(model)
    sources, targets = (tf.constant(side) for side in zip(*PAIRS))
    vectors, others = (
        signatures["serving_default"](side)["embedding"].numpy() for side in (sources, targets)
    )
    assert vectors.shape == (5, 8 if task.config.embedding_dim else 32)
    assert (vectors @ others.T).argmax(axis=1).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    similarity = signatures["similarity"](text=sources, text_pair=targets[::-1])["similarity"]
    np.testing.assert_allclose(similarity, (vectors * others[::-1]).sum(axis=1), atol=1e-5)
    for row in range(5):  # alone as in the batch
        alone = signatures["embed"](sources[row : row + 1])["embedding"]
        np.testing.assert_allclose(alone[0], vectors[row], atol=1e-5)


def test_exported_equals_in_memory(tokenizers, tmp_path):
    task = make_task(tokenizers["byte"])
    model, module = make_model(task), tf.Module()
    signatures = task.signatures(model)
    module.tracked = [model, task.tokenizer]
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    loaded = tf.saved_model.load(str(tmp_path)).signatures
    assert (
        set(loaded) == set(task.example_requests()) == {"serving_default", "embed", "similarity", "tokenize"}
    )
    for name, requests in task.example_requests().items():
        for request in requests:
            inputs = {key: tf.constant(values) for key, values in request.items()}
            expected, found = signatures[name](**inputs), loaded[name](**inputs)
            assert set(found) == set(expected)
            for key, value in expected.items():
                np.testing.assert_allclose(found[key], value, atol=1e-5)


def test_mistakes(tokenizers):
    task = make_task(tokenizers["byte"])
    with pytest.raises(
        UserError, match=r"an example has only text. Set data.source_column and data.target_col"
    ):
        task.encode({"text": tf.constant(["a"])})
    with pytest.raises(
        UserError, match=r"training.global_batch_size=1 leaves no other pair .* Give 2 or more"
    ):
        task.batches(None, 1, 0, True)
    with pytest.raises(UserError, match=r"model.max_length=2 leaves no room for text"):
        make_task(tokenizers["byte"], max_length=2)
    with pytest.raises(ValueError, match=r"temperature is above 0; got 0\.0"):
        SimilarityConfig(temperature=0.0)
    with pytest.raises(ValueError, match="embedding_dim is 0 or more; got -1"):
        SimilarityConfig(embedding_dim=-1)
