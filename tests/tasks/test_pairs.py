"""Rows of pairs, which side of a long source stays, and that a learned pair comes back with its own score."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_by_heart
from tflm.data import build_store
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.tasks import Pairs, PairsConfig
from tflm.text import TokenizerConfig, train_tokenizer

SOURCES, TARGETS = ["hi there", "你好", "", "Mixed 中文"], ["hello", "世界！", "empty", ""]


def tokens_of(tokenizer, text):
    return tokenizer.tokenize(tf.constant([text])).to_list()[0]


def test_encode(tokenizer, pairs):
    task = pairs(tokenizer, max_length=64, source=30, target=30)
    features = task.encode({"source": tf.constant(SOURCES), "target": tf.constant(TARGETS)})
    separator = tokenizer.special_tokens["separator"]
    for index, row in enumerate(features["token_ids"].to_list()):
        source, target = tokens_of(tokenizer, SOURCES[index]), tokens_of(tokenizer, TARGETS[index])
        assert row == [tokenizer.start_id, *source, separator, *target, tokenizer.end_id]
        assert int(features["prefix_length"][index]) == len(source) + 2
    assert features["prefix_length"].dtype == tf.int32


@pytest.mark.parametrize("keep_source", ["start", "end"])
def test_a_long_source_keeps_one_side(tokenizer, pairs, keep_source):
    task = pairs(tokenizer, source=6, target=4, keep_source=keep_source)
    for text in ("The quick brown fox jumps over the lazy dog", "我爱自然语言处理，你好世界"):
        tokens = tokens_of(tokenizer, text)
        assert len(tokens) > 6
        kept = tokens[:6] if keep_source == "start" else tokens[-6:]
        prompt = task.prompts(tf.constant([text]), tf.constant([1000])).rows.to_list()[0]
        assert prompt == [tokenizer.start_id, *kept, tokenizer.special_tokens["separator"]]
        # Training sees the same prompt, and a long target from its beginning.
        row = task.encode({"source": tf.constant([text]), "target": tf.constant([text])})[
            "token_ids"
        ].to_list()[0]
        assert row == [*prompt, *tokens[:4], tokenizer.end_id]


def test_the_longest_row_fits(tokenizers, pairs):
    task = pairs(tokenizers["byte"], max_length=24, source=12, target=10)
    row = task.encode({"source": tf.constant(["x" * 99]), "target": tf.constant(["y" * 99])})["token_ids"]
    assert int(row.row_lengths()[0]) == 25  # as inputs and as targets 24


def test_batches_learn_targets_and_ends_alone(tmp_path, tokenizers, pairs):
    tokenizer = tokenizers["byte"]
    task = pairs(tokenizer)
    examples = [{"source": s, "target": t} for s, t in zip(SOURCES, TARGETS, strict=True)]
    store = build_store(examples, task.encode, tmp_path / "store", "a")
    learned = []
    for batch in task.batches(store, 2, seed=0, training=False).dataset():
        for targets, weights in zip(batch["targets"].numpy(), batch["loss_weights"].numpy(), strict=True):
            learned.append(targets[weights > 0].tolist())
    assert sorted(learned) == sorted([*tokens_of(tokenizer, target), tokenizer.end_id] for target in TARGETS)


@pytest.fixture(scope="module")
def trained(tokenizers, pairs, make_model):
    """A model that has learned three pairs by heart, with the task and its signatures."""
    sources, targets = ["hi", "你好", "yo"], ["ok then", "好的！", "你 too"]
    task = pairs(tokenizers["byte"], source=12, target=12, temperature=0.0, max_new_tokens=14)
    model = make_model(261, 32, scale=0.1)
    rows = task.encode({"source": tf.constant(sources), "target": tf.constant(targets)})
    padded = rows["token_ids"].to_tensor()
    places = tf.range(1, tf.shape(padded)[1])[None]
    lengths = tf.cast(rows["token_ids"].row_lengths(), tf.int32)[:, None]
    weights = (places >= rows["prefix_length"][:, None]) & (places < lengths)
    batch = {
        "token_ids": padded[:, :-1],
        "targets": padded[:, 1:],
        "loss_weights": tf.cast(weights, tf.float32),
    }
    learn_by_heart(task, model, itertools.repeat(batch), 0.01)
    return task, task.signatures(model), sources, targets


def test_greedy_answers_are_the_learned_targets(trained, request_settings):
    """serving_default has the settings of the task, which are greedy here; generate those of the request."""
    _, signatures, sources, targets = trained
    answer = signatures["serving_default"](tf.constant(sources))
    assert [text.decode() for text in answer["text"].numpy()] == targets
    settings = request_settings(3, temperature=[0.0, 0.0, 1.0], max_new_tokens=[14, 1, 0])
    answer = signatures["generate"](tf.constant(sources), *settings.values())
    assert answer["num_tokens"].numpy().tolist() == [len(targets[0].encode()), 1, 0]
    assert answer["text"].numpy()[0].decode() == targets[0] and answer["text"].numpy()[2] == b""


def test_log_probability_of_generate_is_the_score_of_its_text(trained, request_settings):
    task, signatures, sources, _ = trained
    text = tf.constant(sources * 8)
    settings = request_settings(24, seed=range(24), temperature=1.0, max_new_tokens=14, top_p=0.95)
    answer = signatures["generate"](text, *settings.values())
    score = signatures["score"](text, answer["text"])
    num_tokens, longest = answer["num_tokens"].numpy(), task.config.max_target_length
    # A text that was cut off has no end, and one that is no UTF-8 does not come back as the same tokens.
    same = np.array([
        len(tokens_of(task.tokenizer, produced.decode())) == count <= longest and "\ufffd" not in produced.decode()
        for produced, count in zip(answer["text"].numpy(), num_tokens, strict=True)
    ])  # fmt: skip
    assert same.sum() >= 6 and len(set(answer["text"].numpy()[same])) >= 3
    np.testing.assert_array_equal(score["num_tokens"].numpy()[same], num_tokens[same] + 1)
    np.testing.assert_allclose(
        score["log_probability"].numpy()[same], answer["log_probability"].numpy()[same], atol=1e-3
    )


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"keep_source": "middle"}, "keep_source is start or end; got 'middle'"),
        ({"max_source_length": 0}, "max_source_length is at least 1; got 0"),
        ({"max_target_length": 0}, "max_target_length is at least 1; got 0"),
    ],
)
def test_refused_configs(changes, words):
    with pytest.raises(ValueError, match=words):
        PairsConfig(**changes)


def test_a_context_that_is_too_short(tokenizers):
    config = PairsConfig(max_source_length=20, max_target_length=10)
    words = r"model.max_length=31 is less than .* = 32. Raise the first or lower the others"
    with pytest.raises(UserError, match=words):
        Pairs(config, tokenizers["byte"], 31, DecodingConfig())
    Pairs(config, tokenizers["byte"], 32, DecodingConfig())


def test_a_tokenizer_without_a_separator():
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte", special_tokens=("mask",)), [])
    with pytest.raises(UserError, match=r"'separator'; it has \['mask'\]. Train one with special_tokens"):
        Pairs(PairsConfig(), tokenizer, 256, DecodingConfig())
