"""Word vectors: which tokens are words, the loss by hand, near words by hand, and a corpus with a known answer."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.by_heart import train_until
from tflm.data import build_store
from tflm.errors import UserError
from tflm.models.skip_gram import SkipGram, SkipGramConfig
from tflm.tasks.word_vectors import WordVectors, WordVectorsConfig, _words_of_tokens
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.initial_embedding import vocabulary_texts
from tflm.text.word_vectors import read_word_vectors

ENGLISH = ["cat dog cow pig hen", "red blue pink grey gold"]
CHINESE = ["苹果 香蕉 葡萄 西瓜 桃子", "上海 北京 广州 深圳 杭州"]
GROUPS = [group.split() for group in [*ENGLISH, *CHINESE]]


def texts(count, seed=0):
    """Texts of eight words of one group, with spaces in English and commas in Chinese."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        group = GROUPS[index % len(GROUPS)]
        words = rng.choice(group, 8)
        yield ("，" if ord(group[0][0]) > 0x4E00 else " ").join(words)


@pytest.fixture(scope="module")
def task():
    tokenizer = train_tokenizer(TokenizerConfig(vocab_size=330, case_fold=True), texts(400))
    return WordVectors(WordVectorsConfig(window=3, subsample=0.0, num_negatives=4), tokenizer, 32)


def make_model(task, seed=0, dim=8, scale=0.5):
    keras.utils.set_random_seed(seed)
    model = SkipGram(SkipGramConfig(vocab_size=task.tokenizer.vocab_size, hidden_dim=dim))
    model.build_variables()
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, scale, variable.shape))
    return model


def words_of(task, text):
    texts_of_ids = vocabulary_texts(task.tokenizer)
    rows = task.encode({"text": tf.constant([text])})["token_ids"].to_list()
    return [texts_of_ids[index] for index in rows[0]]


def test_words_are_tokens_with_letters_or_digits(task):
    assert words_of(task, "cat  DOG,\n\tred") == ["cat", "dog", "red"]
    assert words_of(task, "苹果，上海。\u3000北京") == ["苹果", "上海", "北京"]
    assert words_of(task, "……  \n") == [] and words_of(task, "") == []
    rows = task.encode({"text": tf.constant(["cat dog", "", "，", "北京"])})["token_ids"]
    assert rows.row_lengths().numpy().tolist() == [2, 0, 0, 1] and rows.dtype == tf.int32


@pytest.mark.parametrize("text", ["file", "质量", "3", "don't", "तेज़", "e-mail", "my_file", "Straße"])
def test_is_a_word(text):
    assert _words_of_tokens(["", text]).tolist() == [0, 1]


@pytest.mark.parametrize("text", ["", "32`.", "(file", "，", "质量。", "…", "-", "_", "\ufffd", "$5", "😀"])
def test_is_no_word(text):
    assert _words_of_tokens(["", text]).tolist() == [0, 0]


def test_a_word_is_one_wherever_it_stands(task):
    """At the beginning of a text, after a space, after a bracket: the same id, which is one of the words'."""
    [row] = task.encode({"text": tf.constant(["cat cat (cat\ncat"])})["token_ids"].to_list()
    assert len(row) == 4 and len(set(row)) == 1
    assert row[0] in task.word_ids
    assert len(set(task.words)) == len(task.words) == len(task.word_ids)
    assert "" not in task.words and "，" not in task.words
    assert {"cat", "苹果"} <= set(task.words)


def test_every_word_of_a_text_is_among_the_words(task):
    rows = task.encode({"text": tf.constant([*texts(8), "zebra 斑马 x9"])})["token_ids"]
    assert set(rows.flat_values.numpy().tolist()) <= set(task.word_ids.tolist())


def loss_slowly(task, model, batch):
    """Equation 4 of the paper, in float64, pair by pair."""
    words, contexts = (np.array(v).astype(np.float64) for v in model.trainable_variables)
    total = 0.0
    for i, (word, target, weight) in enumerate(
        zip(*(batch[name].numpy() for name in ("token_ids", "targets", "loss_weights")), strict=True)
    ):
        objective = -np.log1p(np.exp(-words[word] @ contexts[target]))
        for negative in batch["negatives"].numpy()[i]:
            if negative != target:
                objective -= np.log1p(np.exp(words[word] @ contexts[negative]))
        total -= weight * objective
    return total


@pytest.fixture(scope="module")
def store(task, tmp_path_factory):
    examples = [{"text": text} for text in texts(800)]
    return build_store(examples, task.encode, tmp_path_factory.mktemp("store") / "a", "a")


def test_the_loss_is_the_papers(task, store):
    model = make_model(task)
    for training in (True, False):
        [batch] = task.batches(store, 64, seed=0, training=training).dataset().take(1)
        assert (batch["negatives"].numpy() == batch["targets"].numpy()[:, None]).any()
        batch["loss_weights"] = tf.concat([batch["loss_weights"][:-3], tf.zeros(3)], 0)
        loss, weight = task.loss(model, batch, training)
        np.testing.assert_allclose(loss, loss_slowly(task, model, batch), rtol=1e-5)
        assert float(weight) == float(tf.reduce_sum(batch["loss_weights"])) == 61.0
    assert task.metrics({"loss": 12.0, "weight": 4.0}) == {"loss": 3.0, "num_pairs": 4.0}


def test_a_new_model_knows_nothing(task, store):
    """Every score is 0: a loss of ln 2 for the neighbour and for each noise word that is another word."""
    model = SkipGram(SkipGramConfig(vocab_size=task.tokenizer.vocab_size, hidden_dim=8))
    model.build_variables()
    [batch] = task.batches(store, 64, seed=0, training=True).dataset().take(1)
    others = np.count_nonzero(batch["negatives"].numpy() != batch["targets"].numpy()[:, None])
    np.testing.assert_allclose(task.loss(model, batch, True)[0], np.log(2) * (64 + others), rtol=1e-5)


def test_nearest_by_hand(task):
    model = make_model(task)
    vectors = np.array(model.embedding.embeddings)
    names = vocabulary_texts(task.tokenizer)
    batch = ["cat 苹果", "red", "， ……", "北京 北京 dog"]
    answer = task.signatures(model)["nearest"](tf.constant(batch))
    embedded = task.signatures(model)["embed"](tf.constant(batch))["embedding"].numpy()
    for row, text in enumerate(batch):
        own = words_of(task, text)
        ids = [index for index in task.word_ids if names[index] in own]
        if not own:
            assert not embedded[row].any()
            assert set(answer["words"][row].numpy()) == {b""} and not answer["scores"][row].numpy().any()
            continue
        weights = np.array([own.count(names[index]) for index in ids]) / len(own)
        mean = weights @ vectors[ids]
        np.testing.assert_allclose(embedded[row], mean, rtol=1e-5, atol=1e-5)
        others = np.array([index for index in task.word_ids if index not in ids])
        cosines = vectors[others] @ mean / np.linalg.norm(vectors[others], axis=1) / np.linalg.norm(mean)
        best = np.argsort(-cosines)[:10]
        np.testing.assert_allclose(answer["scores"][row], cosines[best], rtol=1e-4)
        assert [word.decode() for word in answer["words"][row].numpy()] == [names[i] for i in others[best]]


def test_signatures_answer_a_row_as_in_a_batch(task):
    model = make_model(task)
    signatures = task.signatures(model)
    assert (
        set(signatures) == set(task.example_requests()) == {"serving_default", "nearest", "embed", "tokenize"}
    )
    for name, requests in task.example_requests().items():
        for request in requests:
            whole = signatures[name](tf.constant(request["text"]))
            for row, text in enumerate(request["text"]):
                alone = signatures[name](tf.constant([text]))
                for key, value in alone.items():
                    found, expected = value[0].numpy(), whole[key][row].numpy()
                    if key == "token_ids":  # padded to the longest of its batch
                        expected = expected[: len(found)]
                    if value.dtype == tf.string:
                        assert found.tolist() == expected.tolist()
                    else:
                        np.testing.assert_allclose(found, expected, atol=1e-5)
        shapes = {key: value.shape[0] for key, value in signatures[name](tf.constant([], tf.string)).items()}
        assert set(shapes.values()) == {0}
    tokens = signatures["tokenize"](tf.constant(["cat, dog"]))
    assert [vocabulary_texts(task.tokenizer)[i] for i in tokens["token_ids"][0]] == ["cat", "dog"]
    assert tokens["lengths"].numpy().tolist() == [2]


def test_a_long_text_is_read_to_its_end(task):
    model = make_model(task)
    embed = task.signatures(model)["embed"]
    assert task.max_length < 132
    cat, dog, long = embed(tf.constant(["cat", "dog", "cat " * 32 + "dog " * 100]))["embedding"].numpy()
    np.testing.assert_allclose(long, (32 * cat + 100 * dog) / 132, rtol=1e-4, atol=1e-5)


def test_words_of_a_group_come_to_be_near(task, store):
    """Four groups whose words are never in one text: after training a word's nearest four are its group."""
    model = make_model(task, dim=12, scale=0.1)
    optimizer = keras.optimizers.Adam(0.03)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss, weight = task.loss(model, batch, training=True)
            loss = loss / weight
        values = [variable.value for variable in model.trainable_variables]
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, values)]
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    every, nearest = [word for group in GROUPS for word in group], task.signatures(model)["nearest"]
    batches = iter(task.batches(store, 256, 0, True).dataset())

    def groups_are_found(_):
        found = nearest(tf.constant(every))["words"].numpy()
        near = [{word.decode() for word in row[:4]} for row in found]
        return near == [set(GROUPS[index // 5]) - {word} for index, word in enumerate(every)]

    losses = train_until(
        groups_are_found, lambda count: [float(step(next(batches))) for _ in range(count)], 50
    )
    assert losses[-1] < losses[0]


def test_save_vectors(task, tmp_path):
    model = make_model(task)
    for binary in (False, True):
        task.save_vectors(model, tmp_path / "vectors", binary=binary)
        table = read_word_vectors(tmp_path / "vectors")
        assert table.words == task.words
        vectors = np.array(model.embedding.embeddings)
        np.testing.assert_array_equal(table.vectors, vectors[task.word_ids])


def test_a_vocabulary_without_words():
    tokenizer = train_tokenizer(
        TokenizerConfig(kind="character", byte_fallback=False, vocab_size=20), ["ab, c!"]
    )
    with pytest.raises(UserError, match="more than 10 words; of the 11 tokens of this one 3 are of letters"):
        WordVectors(WordVectorsConfig(), tokenizer, 32)


@pytest.mark.parametrize(
    "field,value,message",
    [
        ("window", 0, "window is at least 1; got 0"),
        ("num_negatives", 0, "num_negatives is at least 1; got 0"),
        ("subsample", 1.5, r"subsample is a share from 0 to 1; got 1\.5"),
    ],
)
def test_settings(field, value, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WordVectorsConfig(), **{field: value})
