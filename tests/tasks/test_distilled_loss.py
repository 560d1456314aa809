"""The loss against a teacher, of each task that has one: with itself as the teacher the soft part is 0."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tflm.models import (
    LSTMConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
    build_model,
)
from tflm.tasks import (
    TASKS,
    ClassificationConfig,
    LanguageModelingConfig,
    MaskedLanguageModelingConfig,
    PairsConfig,
    TaskInputs,
    build_task,
)
from tflm.tasks.question_answering import QuestionAnsweringConfig
from tflm.tasks.soft_targets import SoftTargets
from tflm.tasks.tagging import TaggingConfig
from tflm.text import TokenizerConfig, train_tokenizer

SIZES = {"vocab_size": 263, "num_layers": 1, "hidden_dim": 8, "num_heads": 2, "max_length": 32}
ENCODER = TransformerEncoderConfig(**SIZES)
IDS = np.array([[1, 70, 71, 72, 2], [1, 90, 91, 2, 0]], np.int32)
ROWS = {"token_ids": IDS, "row_weights": np.array([1.0, 1.0], np.float32)}
PLACES = {
    "token_ids": IDS,
    "targets": IDS,
    "loss_weights": np.array([[0.0, 1, 0, 1, 0], [0, 0, 1, 0, 0]], np.float32),
}
WINDOWS = {
    "prefix_lengths": np.array([2, 2], np.int32),
    "places": np.array([[1, 0, 1, 1, 0], [1, 0, 1, 0, 0]], np.int32),
    "starts": np.array([2, 0], np.int32),
    "ends": np.array([3, 0], np.int32),
}
LABELS = {"prefix_length": np.array([5, 4], np.int32), "label_ids": np.array([[1, 0], [2, 1]], np.int32)}
CASES = {
    "classification": (ClassificationConfig(dropout=0.0), ENCODER, {**ROWS, **LABELS}),
    "several labels": (ClassificationConfig(dropout=0.0, label_separator="|"), ENCODER, {**ROWS, **LABELS}),
    "tagging": (TaggingConfig(dropout=0.0), ENCODER, {"token_ids": IDS, "tag_ids": IDS % 4}),
    "question_answering": (
        QuestionAnsweringConfig(dropout=0.0, max_question_length=4),
        ENCODER,
        {**ROWS, **WINDOWS},
    ),
    "masked_language_modeling": (MaskedLanguageModelingConfig(), ENCODER, PLACES),
    "language_modeling": (LanguageModelingConfig(), TransformerDecoderConfig(**SIZES), PLACES),
    "lstm": (LanguageModelingConfig(), LSTMConfig(vocab_size=263, num_layers=1, hidden_dim=8), PLACES),
    "pairs": (
        PairsConfig(max_source_length=8, max_target_length=8),
        TransformerEncoderDecoderConfig(**SIZES),
        {"source_ids": IDS[:, 1:], "token_ids": IDS},
    ),
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerConfig(kind="byte", special_tokens=("separator", "mask")), [])


@pytest.mark.parametrize("name", CASES)
def test_with_itself_as_the_teacher_only_the_hard_part_is_left(name, tokenizer):
    config, model_config, arrays = CASES[name]
    batch = {key: tf.constant(array) for key, array in arrays.items()}
    task = build_task(config, TaskInputs(tokenizer, model_config, labels_fn=lambda: ("bad", "好")))
    model_config = dataclasses.replace(model_config, vocab_size=tokenizer.vocab_size)
    rng = np.random.default_rng(7)
    model, other = (task.model_for(build_model(model_config)) for _ in range(2))
    for weight in [*model.trainable_variables, *other.trainable_variables]:
        weight.assign(rng.normal(size=weight.shape) * 0.5)
    assert task.has_soft_targets
    hard, weight = task.loss(model, batch, training=True)
    itself = task.distilled_loss(model, batch, SoftTargets(model, temperature=2.0, alpha=0.25))
    assert float(itself[0]) == pytest.approx(0.75 * float(hard), rel=1e-4)
    assert float(itself[1]) == float(weight)
    soft = SoftTargets(other, temperature=2.0, alpha=0.25)
    with tf.GradientTape() as tape:
        loss, _ = task.distilled_loss(model, batch, soft)
    assert float(loss) > 0.75 * float(hard) + 0.01
    values = [variable.value for variable in other.trainable_variables]
    assert all(gradient is None for gradient in tape.gradient(loss, values))


def test_tasks_without_a_distribution_say_so():
    without = {name for name in TASKS.names() if not TASKS.get(name).has_soft_targets}
    assert without == {"similarity", "word_vectors"}
