"""Rows and their masks, sentence objectives, and that what was learned comes back through blanks."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.learn_by_heart import learn_by_heart
from tflm.data import build_store
from tflm.errors import UserError
from tflm.models import TransformerEncoderConfig, build_model
from tflm.tasks.features.blanks import BLANK, fill_candidates
from tflm.tasks.masked_language_modeling import MaskedLanguageModeling, MaskedLanguageModelingConfig
from tflm.text import TokenizerConfig, train_tokenizer

TEXTS = [
    "the cat sat on the mat",
    "我们都喜欢学习自然语言",
    "a dog ran to the house",
    "今天的天气真的非常好啊",
]
SPECIALS = ("separator", "mask")


@pytest.fixture(scope="module")
def own_tokenizers():
    configs = {
        "character": TokenizerConfig(kind="character", vocab_size=400, special_tokens=SPECIALS),
        "sentencepiece": TokenizerConfig(vocab_size=330, algorithm="bpe", special_tokens=SPECIALS),
        "wordpiece": TokenizerConfig(kind="wordpiece", vocab_size=90, special_tokens=SPECIALS),
    }
    return {kind: train_tokenizer(config, TEXTS * 3) for kind, config in configs.items()}


@pytest.fixture(params=["character", "sentencepiece"])
def own_tokenizer(request, own_tokenizers):
    return own_tokenizers[request.param]


def make_body(tokenizer, max_length=32):
    keras.utils.set_random_seed(1)
    config = TransformerEncoderConfig(
        vocab_size=tokenizer.vocab_size,
        num_layers=1,
        hidden_dim=64,
        num_heads=4,
        max_length=max_length,
        positions="learned",
        initializer_range=0.2,
    )
    return build_model(config)


def make_task(tokenizer, max_length=32, **settings):
    return MaskedLanguageModeling(MaskedLanguageModelingConfig(**settings), tokenizer, max_length)


def stored(task, folder, texts=TEXTS):
    return build_store([{"text": text} for text in texts], task.encode, folder / "store", "a")


def restored(batch):
    """The rows before masking, without padding."""
    return [row[row > 0].tolist() for row in batch["targets"].numpy()]


def test_every_token_of_a_long_document_comes_once_between_marks(tmp_path, own_tokenizer):
    task = make_task(own_tokenizer, max_length=9)
    texts = [*TEXTS, " ".join(TEXTS), "x"]
    store = stored(task, tmp_path, texts)
    rows = [row for batch in task.batches(store, 4, 0, False).dataset() for row in restored(batch)]
    rows = [row for row in rows if row[1:-1]]
    assert all(row[0] == own_tokenizer.start_id and row[-1] == own_tokenizer.end_id for row in rows)
    assert max(map(len, rows)) <= 9
    found = sorted(token for row in rows for token in row[1:-1])
    assert found == sorted(own_tokenizer.tokenize(texts).flat_values.numpy())


def test_masks_are_new_in_each_epoch_and_the_same_in_each_evaluation(tmp_path, own_tokenizers):
    own_tokenizer = own_tokenizers["sentencepiece"]
    task = make_task(own_tokenizer)
    store = stored(task, tmp_path)
    batches = [task.batches(store, 4, 3, training).dataset().take(6) for training in (True, False, False)]
    trained, first, second = ([batch["token_ids"].numpy() for batch in dataset] for dataset in batches)
    np.testing.assert_equal(first, second)
    assert (
        len({tuple(sorted(map(tuple, rows.tolist()))) for rows in trained}) == 6
    )  # alike in 1e-9 of all seeds
    for batch in task.batches(store, 4, 3, True).dataset().take(6):
        seen, targets, weights = (batch[n].numpy() for n in ("token_ids", "targets", "loss_weights"))
        np.testing.assert_array_equal(seen[weights == 0], targets[weights == 0])
        assert (weights.sum(1) >= 1).all()
        special = {own_tokenizer.start_id, own_tokenizer.end_id, own_tokenizer.pad_id}
        assert not special & set(targets[weights == 1])


def test_whole_words_are_hidden_whole(tmp_path, own_tokenizers):
    tokenizer = own_tokenizers["character"]
    word_list = tmp_path / "words.txt"
    word_list.write_text("我们\n喜欢\n学习\n自然语言\n今天\n天气\n非常\n", encoding="utf-8")
    task = make_task(tokenizer, whole_words=True, word_list=str(word_list), mask_fraction=0.3)
    store = stored(task, tmp_path)
    assert store.features == ("token_ids", "word_ids")
    words = [
        ["我们", "都", "喜欢", "学习", "自然语言"],
        ["今天", "的", "天气", "真", "的", "非常", "好", "啊"],
    ]
    starts = {"".join(row): np.cumsum([0] + [len(word) for word in row]) for row in words}
    num_checked = 0
    for batch in task.batches(store, 4, 3, True).dataset().take(10):
        texts = tokenizer.detokenize(batch["targets"]).numpy()
        for text, weights in zip(texts, batch["loss_weights"].numpy(), strict=True):
            borders = starts.get(text.decode())
            if borders is not None:
                parts = np.split(weights[1 : 1 + borders[-1]], borders[1:-1])
                assert all(part.min() == part.max() for part in parts)
                num_checked += 1
    assert num_checked == 20


@pytest.mark.parametrize("objective", ["next_sentence", "sentence_order"])
def test_two_segments_and_their_label(tmp_path, own_tokenizers, objective):
    own_tokenizer = own_tokenizers["character"]
    task = make_task(own_tokenizer, sentence_objective=objective)
    separator = own_tokenizer.special_tokens["separator"]
    store = stored(task, tmp_path, [*TEXTS, "x"])  # a row too short for two segments
    texts, labels = {text: None for text in TEXTS}, []
    for batch in task.batches(store, 5, 3, True).dataset().take(12):
        values = [batch[name].numpy() for name in ("segment_ids", "sentence_labels", "sentence_weights")]
        for row, segments, label, weight in zip(restored(batch), *values, strict=True):
            assert row[0] == own_tokenizer.start_id and row[-1] == own_tokenizer.end_id
            place = row.index(separator)
            assert segments[: place + 1].max() == 0 and segments[place + 1 : len(row)].min() == 1
            first, second = (
                own_tokenizer.detokenize([row[1:place], row[place + 1 : -1]][:1]),
                row[place + 1 : -1],
            )
            second = own_tokenizer.detokenize(tf.constant([second], tf.int32)).numpy()[0].decode()
            first = first.numpy()[0].decode()
            assert weight == (first != "x")
            if weight:
                assert (first + second in texts) == bool(label)
                labels.append(label)
                if objective == "sentence_order":
                    assert (second + first in texts) == (not label)
    assert 0.2 < np.mean(labels) < 0.8  # 48 fair coins: beyond in 2e-5 of all seeds


def all_hidden_once(task):
    """A batch in which each text stands once for each of its tokens, which is masked there."""
    tokenizer, rows = task.tokenizer, []
    for row in tokenizer.tokenize(TEXTS).to_list():
        whole = [tokenizer.start_id, *row, tokenizer.end_id]
        rows += [(whole, place) for place in range(1, len(row) + 1)]
    targets = tf.ragged.constant([row for row, _ in rows], tf.int32).to_tensor(0).numpy()
    seen, weights = targets.copy(), np.zeros(targets.shape, np.float32)
    for index, (_, place) in enumerate(rows):
        seen[index, place], weights[index, place] = tokenizer.special_tokens["mask"], 1
    return {
        name: tf.constant(v)
        for name, v in zip(("token_ids", "targets", "loss_weights"), (seen, targets, weights))
    }


def blanked(tokenizer):
    """Each text with a blank for each of its tokens in turn, and the text."""
    for text in TEXTS:
        row = tokenizer.tokenize([text]).to_list()[0]
        for place in range(len(row)):
            parts = tf.ragged.constant([row[:place], row[place : place + 1], row[place + 1 :]], tf.int32)
            before, hidden, after = (part.decode() for part in tokenizer.detokenize(parts).numpy())
            # A blank after a space stands for a word with that space, not for a space or a part of a word.
            ends = (before.endswith(" "), (before + hidden).endswith(" "))
            if not tokenizer.carries_spaces or not any(ends):
                space = " " if tokenizer.carries_spaces and hidden.startswith(" ") else ""
                yield f"{before}{space}{BLANK}{after}", text


def test_learned_texts_come_back_through_blanks(own_tokenizer):
    task, model = make_task(own_tokenizer), make_body(own_tokenizer)
    assert task.model_for(model) is model
    losses = learn_by_heart(task, model, itertools.repeat(all_hidden_once(task)), 0.01)
    assert losses[0] > 4
    asked, expected = zip(*blanked(own_tokenizer), strict=True)
    assert len(asked) > 20 and {text for text in expected} == set(TEXTS)
    answer = task.signatures(model)["serving_default"](tf.constant([*asked, "no blank", ""]))
    assert [text.decode() for text in answer["text"].numpy()] == [*expected, "no blank", ""]
    log_probability = answer["log_probability"].numpy()
    assert (log_probability[:-2] < 0).all() and log_probability.mean() > -0.3
    assert log_probability[-2:].tolist() == [0, 0]


def test_signatures_against_numpy_and_one_row_at_a_time(own_tokenizers):
    tokenizer = own_tokenizers["wordpiece"]
    task, model = make_task(tokenizer, max_length=12), make_body(tokenizer, 12)
    signatures = task.signatures(model)
    texts = [
        "the ____ sat ____",
        "____学习____语言",
        "____",
        "a long text of more than twelve tokens ____ end",
    ]
    answer = signatures["fill"](tf.constant(texts))
    assert answer["text"].numpy()[3].decode() == texts[3]  # beyond what is read
    for text, filled, log_probability in zip(
        texts, answer["text"].numpy(), answer["log_probability"].numpy()
    ):
        alone = signatures["fill"](tf.constant([text]))
        assert alone["text"].numpy()[0] == filled
        np.testing.assert_allclose(alone["log_probability"].numpy()[0], log_probability, rtol=1e-4)
    logits = model(np.array([[tokenizer.start_id, task._mask_id, tokenizer.end_id]]))[0, 1].numpy()
    order = [index for index in np.argsort(-logits) if fill_candidates(tokenizer)[1][index]]
    assert answer["text"].numpy()[2] == tokenizer.detokenize(tf.constant([[order[0]]])).numpy()[0]
    share = logits[order[0]] - np.log(np.exp(logits.astype(np.float64)).sum())
    np.testing.assert_allclose(answer["log_probability"].numpy()[2], share, rtol=1e-4)

    found = signatures["embed"](tf.constant([*TEXTS, ""]))["embedding"].numpy()
    assert found.shape == (5, 64) and found.dtype == np.float32
    row = [tokenizer.start_id, *tokenizer.tokenize(TEXTS[:1]).to_list()[0], tokenizer.end_id]
    states = model.hidden_states(np.array([row], np.int32))[0].numpy().mean(0)
    np.testing.assert_allclose(found[0], states / np.linalg.norm(states), atol=1e-5)

    for name, requests in task.example_requests().items():
        for request in requests:
            answers = signatures[name](tf.constant(request["text"]))
            assert all(value.shape[0] == len(request["text"]) for value in answers.values())


@pytest.mark.parametrize("objective", ["next_sentence", "sentence_order"])
def test_a_batch_with_pairs_is_learned_with_its_labels(tmp_path, own_tokenizers, objective):
    task = make_task(own_tokenizers["sentencepiece"], sentence_objective=objective)
    model = task.model_for(make_body(task.tokenizer))
    [batch] = task.batches(stored(task, tmp_path), 4, 5, True).dataset().take(1)
    first = {name: float(value) for name, value in task.sums(model, batch).items()}
    loss, weight = task.loss(model, batch, training=False)
    assert task.metrics(first)["loss"] == pytest.approx(float(loss / weight), rel=1e-5)
    assert first["sentences"] == 4 and first["sentence_loss"] / 4 == pytest.approx(np.log(2), abs=0.3)
    learn_by_heart(task, model, itertools.repeat(batch), 0.01)
    metrics = task.metrics({name: float(value) for name, value in task.sums(model, batch).items()})
    assert metrics["accuracy"] == metrics["sentence_accuracy"] == 1.0
    assert metrics["num_tokens"] == batch["loss_weights"].numpy().sum()
    answer = task.signatures(model)["tokenize"](tf.constant(TEXTS))
    assert answer["lengths"].numpy().tolist() == task.tokenizer.tokenize(TEXTS).row_lengths().numpy().tolist()


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"mask_fraction": 0.0}, "mask_fraction is between 0 and 1; got 0.0"),
        ({"sentence_objective": "both"}, "one of none, next_sentence, sentence_order; got 'both'"),
        ({"word_list": "words.txt"}, "word_list says what whole words are: it needs whole_words"),
    ],
)
def test_refused_configs(changes, words):
    with pytest.raises(ValueError, match=words):
        MaskedLanguageModelingConfig(**changes)


def test_special_tokens_that_are_needed():
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte"), [])
    with pytest.raises(
        UserError, match=r"special token 'mask'; it has \['separator'\]. Train one with special_tokens"
    ):
        make_task(tokenizer)
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte", special_tokens=("mask",)), [])
    make_task(tokenizer)
    with pytest.raises(UserError, match=r"special token 'separator'; it has \['mask'\]"):
        make_task(tokenizer, sentence_objective="sentence_order")
    with pytest.raises(
        UserError, match=r"model.max_length=2 leaves no room for text next to 2 special tokens"
    ):
        make_task(tokenizer, max_length=2)
