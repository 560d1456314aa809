"""Explanations of tagged spans and of answers: the spans of `tag` and `answer`, and complete attributions."""

import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.signatures.test_explain_labels import randomized
from tflm.models import TransformerEncoderConfig, build_model
from tflm.tasks import QuestionAnswering, QuestionAnsweringConfig, Tagging, TaggingConfig

TEXTS = ["A fine film.", "很好，下次😀", "", "a text that is longer than one window of this reader"]
QUESTIONS = ["Who?", "谁？", "x", "what is it"]


def model_of(task):
    config = TransformerEncoderConfig(
        vocab_size=task.tokenizer.vocab_size,
        num_layers=1,
        hidden_dim=16,
        num_heads=2,
        max_length=task.max_length,
    )
    return randomized(task.model_for(build_model(config)), 0.3)


def explained(function, columns, method, num_steps=32):
    count = len(columns[0])
    inputs = (*columns, [method] * count, [num_steps] * count)
    return {name: value.numpy() for name, value in function(*map(tf.constant, inputs)).items()}


@pytest.fixture(scope="module")
def tagger(tokenizers):
    task = Tagging(TaggingConfig(), tokenizers["byte"], 64, ["LOC", "PER"])
    model = model_of(task)
    model.text_head.output_layer.bias.assign([-0.5, 0.0, 0.0, 0.0, 0.0])  # fewer tokens outside of spans
    return task, model


@pytest.fixture(scope="module")
def reader(tokenizers):
    task = QuestionAnswering(QuestionAnsweringConfig(max_question_length=10), tokenizers["byte"], 40)
    return task, model_of(task)


def test_the_spans_of_tag(tagger, eagerly):
    task, model = tagger
    with eagerly():
        found = explained(task.explanations(model)["attribute"], [TEXTS], "integrated_gradients")
        tagged = {
            name: value.numpy() for name, value in task.signatures(model)["tag"](tf.constant(TEXTS)).items()
        }
    assert found["num_targets"].tolist() == tagged["num_spans"].tolist() and found["num_targets"][2] == 0
    for row, count in enumerate(tagged["num_spans"]):
        for name, of_tag in (("targets", "label"), ("target_starts", "start"), ("target_ends", "end")):
            assert found[name][row][:count].tolist() == tagged[of_tag][row][:count].tolist()
    difference = found["scores"] - found["baseline_scores"]
    np.testing.assert_allclose(found["attributions"].sum(-1), difference, atol=1e-3)
    assert np.abs(difference).max() > 0.05


def test_the_answer_of_answer(reader, eagerly):
    """In whichever window it is; without a context there is none."""
    task, model = reader
    with eagerly():
        found = explained(task.explanations(model)["attribute"], [QUESTIONS, TEXTS], "integrated_gradients")
        always = tf.fill([4], -1e3)
        answered = task.signatures(model)["answer"](tf.constant(QUESTIONS), tf.constant(TEXTS), always)
        attention = task.explanations(model)["attention"](tf.constant(QUESTIONS), tf.constant(TEXTS))
    assert found["targets"][:, 0].tolist() == answered["answer"].numpy().tolist()
    assert found["target_starts"][:, 0].tolist() == answered["start"].numpy().tolist()
    assert found["num_targets"].tolist() == [1, 1, 0, 1]
    difference = found["scores"] - found["baseline_scores"]
    np.testing.assert_allclose(found["attributions"].sum(-1), difference, atol=0.01)
    for row, texts in enumerate(zip(QUESTIONS, TEXTS, strict=True)):
        for part, text in enumerate(texts):
            own = (found["parts"][row] == part) & (found["starts"][row] >= 0)
            sliced = "".join(text[a:b] for a, b in zip(found["starts"][row][own], found["ends"][row][own]))
            assert sliced == text if len(text) < 20 else sliced in text
    real = np.arange(attention["weights"].shape[-1]) < attention["num_tokens"].numpy()[:, None]
    sums = np.broadcast_to(real[:, None, None], attention["weights"].shape[:-1])
    np.testing.assert_allclose(attention["weights"].numpy().sum(-1), sums, atol=1e-5)
