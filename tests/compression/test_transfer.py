"""Losses of hidden states and attention against NumPy; which models they compare."""

import dataclasses

import numpy as np
import pytest

from tflm.compression import DistillationConfig
from tflm.compression.transfer import attention_loss, check_transfer, hidden_loss, stacks_of
from tflm.errors import UserError
from tflm.layers import capturing
from tflm.models import LSTMConfig, LSTMEncoderDecoderConfig, TransformerDecoderConfig, build_model

TEACHER = TransformerDecoderConfig(vocab_size=17, num_layers=4, hidden_dim=8, num_heads=2, max_length=8)
STUDENT = dataclasses.replace(TEACHER, num_layers=2)
IDS = np.array([[1, 5, 9, 3, 16], [2, 2, 7, 0, 0]], np.int32)
MASK = IDS != 0


def forward(*configs):
    rng, models = np.random.default_rng(1), [build_model(config) for config in configs]
    for model in models:
        for weight in model.weights:
            weight.assign(rng.normal(size=weight.shape) * 0.5)
    with capturing() as captured:
        for model in models:
            model.hidden_states(IDS)
    return captured, models


def test_hidden_states_are_compared_by_the_uniform_mapping():
    captured, (student, teacher) = forward(STUDENT, TEACHER)
    (ours,), (theirs,) = stacks_of(student), stacks_of(teacher)
    found = float(hidden_loss(captured, ours, theirs, MASK))
    squares = []
    for own, other in ((0, 1), (1, 3)):  # layer m of 2 and layer 2 m of 4
        difference = captured.of(ours.layers[own], "output") - captured.of(theirs.layers[other], "output")
        squares.append((difference.numpy()[MASK] ** 2).mean())
    assert found == pytest.approx(np.mean(squares), rel=1e-5)


def test_attention_and_relations_between_values():
    wider = dataclasses.replace(TEACHER, hidden_dim=12, num_kv_heads=1)
    for teacher_config in (dataclasses.replace(TEACHER, hidden_dim=12), wider):
        captured, (student, teacher) = forward(STUDENT, teacher_config)
        (ours,), (theirs,) = stacks_of(student), stacks_of(teacher)
        found = float(attention_loss(captured, ours, theirs, MASK))
        layers = student.decoder.blocks[-1].attention, teacher.decoder.blocks[-1].attention
        q, p = (captured.of(layer, "weights").numpy().reshape(2, 2, 5, 5) for layer in layers)
        wanted = mean_kl(p, q)
        values = [captured.of(layer, "value").numpy() for layer in layers]
        if values[0].shape[1] == values[1].shape[1]:
            wanted += mean_kl(*(relations(value) for value in reversed(values)))
        assert found == pytest.approx(wanted, rel=1e-3)


def relations(value):
    scores = value @ value.transpose(0, 1, 3, 2) / np.sqrt(value.shape[-1])
    scores = np.where(MASK[:, None, None], scores, -1e9)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def mean_kl(p, q):
    """Over heads and real tokens."""
    each = (
        np.where(p > 0, p * (np.log(np.maximum(p, 1e-9)) - np.log(np.maximum(q, 1e-9))), 0.0).sum(-1).mean(1)
    )
    return each[MASK].mean()


@pytest.mark.parametrize(
    ("student", "teacher", "settings", "words"),
    [
        (
            STUDENT,
            dataclasses.replace(TEACHER, hidden_dim=16),
            {"hidden": 1.0},
            "is 8 in the student and 16 in the",
        ),
        (
            dataclasses.replace(STUDENT, num_heads=4),
            TEACHER,
            {"attention": 1.0},
            "is 4 in the student and 2 in the",
        ),
        (LSTMConfig(hidden_dim=8), TEACHER, {"attention": 1.0}, "is absent in the student and 2"),
        (dataclasses.replace(STUDENT, recompute=True), TEACHER, {"hidden": 1.0}, "model.recompute=false"),
        (LSTMEncoderDecoderConfig(), TEACHER, {"hidden": 1.0}, "the student is a lstm_encoder_decoder"),
    ],
)
def test_what_cannot_be_compared(student, teacher, settings, words):
    with pytest.raises(UserError, match=words):
        check_transfer(student, teacher, DistillationConfig("runs/a", **settings))
    check_transfer(student, teacher, DistillationConfig("runs/a"))


def test_nothing_is_captured_outside_of_a_block():
    captured, (student,) = forward(LSTMConfig(vocab_size=17, num_layers=1, hidden_dim=8, max_length=8))
    (stack,) = stacks_of(student)
    assert captured.of(stack.layers[0], "output").shape == (2, 5, 8)
    with capturing() as captured:
        pass
    with pytest.raises(UserError, match="gives no output"):
        captured.of(stack.layers[0], "output")
