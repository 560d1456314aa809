"""Texts that are longer than a row: every signature reads the whole of them, or says `truncated` of those it cut."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.models import TransformerEncoderConfig, build_model
from tflm.models.skip_gram import SkipGram, SkipGramConfig
from tflm.tasks.classification import ClassificationConfig, TextClassification
from tflm.tasks.masked_language_modeling import MaskedLanguageModeling, MaskedLanguageModelingConfig
from tflm.tasks.question_answering import QuestionAnswering, QuestionAnsweringConfig
from tflm.tasks.similarity import Similarity, SimilarityConfig
from tflm.tasks.word_vectors import WordVectors, WordVectorsConfig
from tflm.text import TokenizerConfig, train_tokenizer

LENGTH = 24
SHORT = ["a good film", "质量很好", ""]
LONG = ["The film is long and good, and more. " * 3, "这部电影很好看，质量也很好。" * 4]
TEXTS = [*SHORT, *LONG]
IS_LONG = [False] * 3 + [True] * 2


def model_of(task, **changes):
    """The task's model, with weights that are not small."""
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "max_length": LENGTH, **changes}
    keras.utils.set_random_seed(5)
    body = build_model(TransformerEncoderConfig(vocab_size=task.tokenizer.vocab_size, **sizes))
    model = task.model_for(body)
    random = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(random.normal(0.0, 0.5, variable.shape))
    return model


def truncated(outputs):
    assert outputs["truncated"].dtype == tf.bool
    return outputs["truncated"].numpy().tolist()


def test_classify_says_which_texts_it_cut(tokenizers):
    tokenizer = tokenizers["byte"]
    task = TextClassification(ClassificationConfig(), tokenizer, LENGTH, ["bad", "good"])
    classify = task.signatures(model_of(task))["classify"]
    assert truncated(classify(tf.constant(TEXTS))) == IS_LONG
    assert truncated(classify(tf.constant(["x" * 22, "x" * 23]))) == [False, True]


def test_classify_says_which_pairs_it_cut(tokenizers):
    config = ClassificationConfig(text_pair=True)
    task = TextClassification(config, tokenizers["wordpiece"], LENGTH, ["bad", "good"])
    classify = task.signatures(model_of(task))["classify"]
    first = ["a b c", "words", LONG[0], "好", LONG[1]]
    second = ["语言", LONG[1], "", "a " * 19, LONG[0]]
    # Of "好" and the 19, the start, the separator and the end 23 places are taken.
    assert truncated(classify(tf.constant(first), tf.constant(second))) == [False, True, True, False, True]


def test_answer_says_which_questions_it_cut(tokenizers):
    config = QuestionAnsweringConfig(max_question_length=8)
    task = QuestionAnswering(config, tokenizers["wordpiece"], LENGTH)
    answer = task.signatures(model_of(task))["serving_default"]
    questions = ["the words", "谁？", "", *LONG]
    assert truncated(answer(tf.constant(questions), tf.constant([LONG[0]] * 5))) == IS_LONG


def test_fill_says_which_texts_it_cut_and_embed_reads_them_all():
    config = MaskedLanguageModelingConfig()
    tokenizer = train_tokenizer(TokenizerConfig(kind="byte", special_tokens=("mask",)), [])
    task = MaskedLanguageModeling(config, tokenizer, LENGTH)
    signatures = task.signatures(model_of(task))
    texts = [f"{text} ____" for text in TEXTS]
    assert truncated(signatures["fill"](tf.constant(texts))) == IS_LONG
    check_embeddings(signatures["embed"])


def test_similarity_reads_them_all(tokenizers):
    task = Similarity(SimilarityConfig(embedding_dim=6), tokenizers["byte"], LENGTH)
    model = model_of(task)
    signatures = task.signatures(model)
    check_embeddings(signatures["embed"])
    # By hand: the mean of the windows' vectors, weighted by their tokens with one mark each.
    tokens = task.tokenizer.tokenize(tf.constant([LONG[1]])).to_list()[0]
    parts = [tokens[begin : begin + LENGTH - 2] for begin in range(0, len(tokens), LENGTH - 2)]
    vectors = [model(tf.constant([[1, *part, 2]])).numpy()[0] for part in parts]
    mean = np.average(vectors, axis=0, weights=[len(part) + 1 for part in parts])
    found = signatures["embed"](tf.constant([LONG[1]]))["embedding"].numpy()[0]
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)
    ends = [LONG[1] + end for end in ("不", "好 good")]
    cosine = float(signatures["similarity"](tf.constant(ends[:1]), tf.constant(ends[1:]))["similarity"][0])
    one, other = signatures["embed"](tf.constant(ends))["embedding"].numpy()
    assert cosine == pytest.approx(float(one @ other), abs=1e-5)
    assert cosine < 0.99999


def check_embeddings(embed):
    """Length 1, alone as in a batch, and other vectors for texts that end differently."""
    texts = [*TEXTS, LONG[0] + "bad", LONG[1] + "不好"]
    found = embed(tf.constant(texts))["embedding"].numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    for text, vector in zip(texts, found, strict=True):
        np.testing.assert_allclose(embed(tf.constant([text]))["embedding"].numpy()[0], vector, atol=1e-5)
    assert np.abs(found[3] - found[5]).max() > 1e-4
    assert np.abs(found[4] - found[6]).max() > 1e-4
    assert embed(tf.constant([], tf.string))["embedding"].shape == (0, found.shape[1])


def test_word_vectors_count_every_word(tokenizers):
    task = WordVectors(WordVectorsConfig(), tokenizers["wordpiece"], 4)
    model = SkipGram(SkipGramConfig(vocab_size=task.tokenizer.vocab_size, hidden_dim=8))
    model.build_variables()
    embed = task.signatures(model)["embed"]
    for text in ("the words of the text learns", "语言模型学习处理"):
        words = task.encode({"text": tf.constant([text])})["token_ids"].to_list()[0]
        assert len(words) > 4
        expected = np.asarray(model.embedding.embeddings)[words].mean(axis=0)
        np.testing.assert_allclose(embed(tf.constant([text]))["embedding"][0], expected, atol=1e-5)


def test_what_a_continuation_is_asked_for(tokenizers, language_modeling, make_model, eagerly):
    tokenizer = tokenizers["byte"]
    task, model = language_modeling(tokenizer, LENGTH), make_model(tokenizer.vocab_size, LENGTH)
    with eagerly():
        check_continuations(task.signatures(model))


def check_continuations(signatures):
    texts = tf.constant([*SHORT, *LONG])
    assert truncated(signatures["score"](texts)) == IS_LONG
    # 23 of bytes with start and end are 25 tokens, of which each but the first is predicted from 24 at most.
    assert truncated(signatures["score"](tf.constant(["x" * 23, "x" * 24]))) == [False, True]
    short = tf.constant(["a", "好", "", *LONG])
    choices = tf.constant([["good", "不好"]] * 5)
    assert truncated(signatures["choose"](short, choices)) == IS_LONG
    counts = tf.fill([5], 4)
    written = tf.fill([5, 2], 70)
    assert truncated(signatures["alternatives"](short, written, counts, counts)) == IS_LONG


def test_the_score_of_a_pair(tokenizers, pairs, make_model, eagerly):
    tokenizer = tokenizers["byte"]
    task, model = pairs(tokenizer), make_model(tokenizer.vocab_size, 32)
    sources, targets = ["a", "好", LONG[0], "b", ""], ["好", LONG[1], "a", "x" * 10, "x" * 11]
    with eagerly():
        found = task.signatures(model)["score"](tf.constant(sources), tf.constant(targets))
    assert truncated(found) == [False, True, True, False, True]
