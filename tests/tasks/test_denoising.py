"""Blocks that are spoilt and mended, and texts that come back from an export's own function."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_by_heart
from tflm.data import build_store
from tflm.errors import UserError
from tflm.generation import DecodingConfig
from tflm.models import TransformerEncoderDecoderConfig, build_model
from tflm.tasks.denoising import OBJECTIVES, Denoising, DenoisingConfig
from tflm.tasks.features.blanks import BLANK
from tflm.text import TokenizerConfig, train_tokenizer

TEXTS = ["we like to read and to write", "我们都喜欢学习自然语言处理", "a dog ran home", "今天天气真好"]
SENTINELS = tuple(f"sentinel_{index}" for index in range(12))
SPECIALS = ("separator", "mask", *SENTINELS)

NO_STOPS = [[""]]


@pytest.fixture(scope="module")
def own_tokenizers():
    configs = {
        "character": TokenizerConfig(kind="character", vocab_size=400, special_tokens=SPECIALS),
        "sentencepiece": TokenizerConfig(vocab_size=340, algorithm="bpe", special_tokens=SPECIALS),
    }
    return {kind: train_tokenizer(config, TEXTS * 3) for kind, config in configs.items()}


@pytest.fixture(params=["character", "sentencepiece"])
def own_tokenizer(request, own_tokenizers):
    return own_tokenizers[request.param]


def make_task(tokenizer, max_length=32, objective="span_corruption", **settings):
    config = DenoisingConfig(objective=objective, **settings)
    return Denoising(config, tokenizer, max_length, DecodingConfig(temperature=0.0, max_new_tokens=40))


def make_model(tokenizer, max_length=48):
    keras.utils.set_random_seed(1)
    return build_model(
        TransformerEncoderDecoderConfig(
            vocab_size=tokenizer.vocab_size,
            num_layers=1,
            hidden_dim=48,
            num_heads=4,
            max_length=max_length,
            positions="learned",
        )
    )


def tokens_of(tokenizer, text):
    return tokenizer.tokenize([text]).to_list()[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_blocks_fill_the_model_and_hold_every_token(tmp_path, own_tokenizers, objective):
    tokenizer = own_tokenizers["character"]
    task = make_task(tokenizer, 24, objective, noise_density=0.3)
    store = build_store([{"text": text} for text in TEXTS], task.encode, tmp_path / "store", "a")
    marks = [tokenizer.special_tokens[name] for name in SPECIALS[1:]]
    separator = tokenizer.special_tokens["separator"]
    stream = [token for text in TEXTS for token in [*tokens_of(tokenizer, text), separator]]
    batches = task.batches(store, 2, 0, training=False)
    found = []
    for batch in batches.dataset():
        assert batch["source_ids"].shape[1] <= 24 and batch["token_ids"].shape[1] <= 25
        if objective == "infilling":
            assert batch["token_ids"].shape[1] == 25
        elif objective == "span_corruption":
            assert batch["source_ids"].shape[1] == 24
        for source, target in zip(
            *(batch[name].numpy() for name in ("source_ids", "token_ids")), strict=True
        ):
            source, target = source[source > 0].tolist(), target[target > 0].tolist()
            if not target:
                assert source == [tokenizer.end_id]
                continue
            assert target[0] == tokenizer.start_id and source.count(tokenizer.end_id) == 1
            if objective == "infilling":
                found += target[1:-1]
                assert tokenizer.special_tokens["mask"] in source
            elif objective == "span_corruption":
                found += [token for token in source[:-1] + target[1:-1] if token not in marks]
            else:
                found += source[:-1]
    expected = stream[:-1]  # a packed block's last token is a target of PackedBatches alone
    if objective == "prefix_lm":
        assert found[:2] == expected[:2]
    else:
        assert sorted(found) == sorted(expected)


def test_other_tokens_are_missing_in_every_epoch(tmp_path, own_tokenizers):
    task = make_task(own_tokenizers["sentencepiece"], 16)
    store = build_store([{"text": " ".join(TEXTS)}], task.encode, tmp_path / "store", "a")
    trained = [
        batch["source_ids"].numpy().tolist() for batch in task.batches(store, 2, 0, True).dataset().take(8)
    ]
    assert len({str(rows) for rows in trained}) == 8
    passes = [
        [b["source_ids"].numpy().tolist() for b in task.batches(store, 2, 0, False).dataset()] for _ in "ab"
    ]
    assert passes[0] == passes[1]


def blocks_of(task, texts):
    return task.tokenizer.tokenize(texts).to_tensor(0)


def blanked(task, source):
    """A source as a user writes it: marks as blanks, with the space that a piece would carry before it."""
    tokenizer, marks = task.tokenizer, set(task._mark_ids)
    parts, current = [], []
    for token in source[:-1]:
        if token in marks:
            parts.append(current)
            current = []
        else:
            current.append(token)
    texts = tokenizer.detokenize(tf.ragged.constant([*parts, current], tf.int32, ragged_rank=1))
    return BLANK.join(text.decode() for text in texts.numpy())


def learned(task, blocks):
    """A model that has learned one batch by heart, the sources as a user writes them, the targets, the batch."""
    model = make_model(task.tokenizer)
    batch = task.corrupt({"token_ids": tf.constant(blocks)}, tf.constant([1, 2], tf.int64))
    losses = learn_by_heart(task, model, itertools.repeat(batch), 0.01)
    assert abs(losses[0] - np.log(task.tokenizer.vocab_size)) < 1.0
    sources, targets = (
        [row[row > 0].tolist() for row in batch[name].numpy()] for name in ("source_ids", "token_ids")
    )
    asked = [blanked(task, row) for row in sources]
    assert task.sources(tf.constant(asked)).rows.to_list() == sources  # a blank is read as what was missing
    return model, asked, targets, batch


def decoded(texts):
    return [text.decode() for text in texts.numpy()]


def test_missing_spans_come_back_through_blanks(own_tokenizers):
    task = make_task(own_tokenizers["sentencepiece"], noise_density=0.3, mean_span_length=1.0)
    model, asked, targets, batch = learned(task, blocks_of(task, TEXTS))
    assert max(text.count(BLANK) for text in asked) > 2
    signatures = task.signatures(model)
    answer = signatures["serving_default"](tf.constant([*asked, "as it is", ""]))
    assert decoded(answer["text"]) == [*TEXTS, "as it is", ""]
    # The fillings with blanks between score as the decoder learned them; the first mark is before the first.
    fillings = [blanked(task, row[2:]) for row in targets]
    score = signatures["score"](tf.constant(asked), tf.constant(fillings))
    loss, weight = task.loss(model, batch, training=False)
    np.testing.assert_allclose(-score["log_probability"].numpy().sum(), loss, rtol=1e-3)
    assert score["num_tokens"].numpy().sum() == weight


def test_the_whole_text_comes_back(own_tokenizers, eagerly):
    task = make_task(own_tokenizers["character"], objective="infilling", noise_density=0.3)
    model, asked, *_ = learned(task, blocks_of(task, TEXTS))
    with eagerly():
        answer = decoded(task.signatures(model)["serving_default"](tf.constant(asked))["text"])
    assert answer == TEXTS


def test_a_continuation_comes_back(own_tokenizers, eagerly):
    tokenizer = own_tokenizers["character"]
    task = make_task(tokenizer, objective="prefix_lm")
    blocks = task.encode({"text": tf.constant(TEXTS)})["token_ids"].to_tensor(0)
    model, asked, *_ = learned(task, blocks)
    with eagerly():
        answer = decoded(task.signatures(model)["serving_default"](tf.constant(asked))["text"])
    assert [first + second for first, second in zip(asked, answer, strict=True)] == TEXTS


def test_fillings_of_any_tokens_that_a_model_may_write(own_tokenizer):
    task = make_task(own_tokenizer)
    first, second, third, *_ = task._mark_ids
    a, b, c = (tokens_of(own_tokenizer, text)[0] for text in ("we", "我", "dog"))
    rows = [
        [a, first, b, c, second, a],
        [second, c, first, second, b, 0],
        [a, b, c, 0, 0, 0],
        [third, a, 0, 0, 0, 0],
    ]
    text = ["1____2____3", "____我____", "没有____", "____, ____"]
    texts = {t: own_tokenizer.detokenize(tf.constant([[t]])).numpy()[0].decode() for t in (a, b, c)}
    expected = [f"1{texts[b]}{texts[c]}2{texts[a]}3", f"我{texts[c]}{texts[b]}", "没有____", "____, ____"]
    answers = task.answers(tf.constant(text), tf.constant(rows), tf.constant(NO_STOPS))
    assert [answer.decode() for answer in answers.numpy()] == expected
    empty = task.answers(tf.constant(["a____"]), tf.zeros([1, 0], tf.int32), tf.constant(NO_STOPS))
    assert empty.numpy().tolist() == [b"a____"]
    many, last = BLANK.join("abcdefghijklmnop"), task._mark_ids[-1]
    [answer] = task.answers(
        tf.constant([many]), tf.constant([[first, b, last, a]]), tf.constant(NO_STOPS)
    ).numpy()
    assert answer.decode() == f"a{texts[b]}{BLANK.join('bcdefghijkl')}{texts[a]}{BLANK.join('mnop')}"


def test_sources_leave_room_for_the_end(own_tokenizer):
    long = " ".join(TEXTS)
    for objective in OBJECTIVES:
        task = make_task(own_tokenizer, 12, objective, mean_span_length=2.0)
        source = task.sources(tf.constant([long, ""])).rows.to_list()
        tokens = tokens_of(own_tokenizer, long)
        assert source[0] == [
            *(tokens[-11:] if objective == "prefix_lm" else tokens[:11]),
            own_tokenizer.end_id,
        ]
        assert source[1] == [own_tokenizer.end_id]


def test_sentinels_alone_may_be_written(own_tokenizer):
    suppressed = {
        objective: make_task(own_tokenizer, objective=objective).suppressed_ids() for objective in OBJECTIVES
    }
    specials = own_tokenizer.special_tokens
    sentinels = {specials[name] for name in SENTINELS}
    assert not sentinels & set(suppressed["span_corruption"])
    assert specials["mask"] in suppressed["span_corruption"]
    assert all(sentinels <= set(suppressed[objective]) for objective in ("infilling", "prefix_lm"))


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"objective": "t5"}, "objective is one of span_corruption, prefix_lm, infilling; got 't5'"),
        ({"noise_density": 1.0}, "noise_density is between 0 and 1; got 1.0"),
        ({"mean_span_length": 0.5}, "mean_span_length is at least 1; got 0.5"),
    ],
)
def test_refused_configs(changes, words):
    with pytest.raises(ValueError, match=words):
        DenoisingConfig(**changes)


def test_special_tokens_that_are_needed():
    plain = train_tokenizer(TokenizerConfig(kind="byte"), [])
    words = (
        r"max_length=64 needs a tokenizer with the special tokens separator, sentinel_0 to sentinel_2; it has"
    )
    with pytest.raises(UserError, match=words):
        make_task(plain, 64)
    with pytest.raises(
        UserError, match=r"special tokens separator, mask; it has \['separator'\]. Train one with them"
    ):
        make_task(plain, 64, "infilling")
    assert make_task(plain, 64, "prefix_lm").block_length == 64
    with pytest.raises(UserError, match=r"model.max_length=4; denoising needs 8 at least. Raise it"):
        make_task(plain, 4)
