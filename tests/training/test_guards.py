"""What is reported of steps without a finite loss and of sudden rises: which step, and which texts."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tflm.data import Batches
from tflm.errors import UserError
from tflm.text import TokenizerConfig
from tflm.text.byte_tokenizer import ByteTokenizer
from tflm.training.guards import STEPS_FILE, StepGuard

TEXTS = ["a line of text", "一行文字", "an end"]


NAN, INF = float("nan"), float("inf")


class Rows(Batches):
    """Batch n holds the n-th text and the one after it."""

    batches_per_epoch = 3

    @property
    def element_spec(self):
        return {"token_ids": tf.TensorSpec([2, None], tf.int32)}

    def __init__(self, tokenizer):
        super().__init__(2, seed=0, training=True)
        self._tokenizer = tokenizer

    def _batch(self, index):
        texts = tf.gather(tf.constant(TEXTS), tf.stack([index, index + 1]) % 3)
        return {"token_ids": self._tokenizer.tokenize(texts).to_tensor(0)}


@pytest.fixture
def make(tmp_path):
    def make_guard(**options):
        tokenizer = ByteTokenizer(TokenizerConfig(kind="byte"))
        notes = []
        guard = StepGuard(str(tmp_path), Rows(tokenizer), tokenizer, note_fn=notes.append, **options)
        return guard, notes

    return make_guard


def values(*losses):
    return {"loss": np.float32(losses), "gradient_norm": np.ones(len(losses), np.float32)}


def test_a_skipped_step_is_named_with_its_texts(make, tmp_path):
    guard, notes = make(max_skipped=1)
    guard.check(3, values(2.0, NAN, 1.0))
    assert notes == [
        "step 5: the loss is nan and the gradient norm 1; the step is skipped. "
        "Its batch begins with '一行文字', 'an end'."
    ]
    record = json.loads((tmp_path / STEPS_FILE).read_text(encoding="utf-8"))
    assert record == {"step": 5, "loss": "nan", "gradient_norm": "1.0", "texts": TEXTS[1:]}
    assert guard.num_skipped == 0
    assert guard.summary(values(2.0, NAN, 1.0)) == {
        "loss": 1.5,
        "gradient_norm": 1.0,
        "skipped_steps": 1.0,
    }


def test_too_many_in_a_row_stop_the_training(make):
    guard, _ = make(max_skipped=2)
    guard.check(0, values(NAN, INF, 2.0, NAN))
    assert guard.num_skipped == 1 and guard.summary(values(NAN)) == {
        "skipped_steps": 1.0,
        "skipped_in_a_row": 1.0,
    }
    words = r"step 6: the loss is inf .* as in each of the steps 4 to 6. Training stopped. Kept. The batch of step 6"
    bad = values(NAN, INF, 1.0)
    with pytest.raises(UserError, match=words):
        guard.check(4, bad, lambda: "Kept.")


def test_a_gradient_that_is_not_finite_counts_too(make):
    guard, notes = make(max_skipped=3)
    guard.check(0, {"loss": np.float32([1.0]), "gradient_norm": np.float32([INF])})
    assert guard.num_skipped == 1 and "gradient norm inf" in notes[0]


def test_an_overflow_of_float16_is_no_bad_step_unless_the_loss_scale_is_at_its_least(make):
    guard, notes = make(max_skipped=0)
    overflow = {
        "loss": np.float32([1.0, 1.0]),
        "gradient_norm": np.float32([INF, 1.0]),
        "loss_scale": np.float32([8.0, 4.0]),
    }
    guard.check(0, overflow)
    assert notes == [] and guard.num_skipped == 0
    assert guard.summary(overflow) == {
        "loss": 1.0,
        "gradient_norm": 1.0,
        "skipped_steps": 1.0,
        "loss_scale": 4.0,
    }
    overflow["loss_scale"][0] = 1.0
    with pytest.raises(UserError, match="step 1: the loss is 1 and the gradient norm inf"):
        guard.check(0, overflow)


def test_a_sudden_rise_is_reported_and_usual_noise_is_not(make):
    guard, notes = make(max_skipped=0)
    usual = 2.0 + 0.1 * np.random.default_rng(0).normal(size=120)
    guard.check(0, values(*usual))
    assert notes == []
    guard.check(120, values(2.2, 9.0, 2.0))
    assert len(notes) == 1 and notes[0].startswith("step 122: the loss is 9 after 2")
    assert "'一行文字', 'an end'" in notes[0]


def test_what_was_as_high_before_is_no_rise(make):
    guard, notes = make(max_skipped=0)
    guard.check(0, values(*([1.0] * 60), 5.0, *([1.0] * 60), 4.0))
    assert len(notes) == 1 and notes[0].startswith("step 61: the loss is 5 after 1")


def test_a_falling_loss_is_no_rise(make):
    guard, notes = make(max_skipped=0)
    guard.check(0, values(*np.linspace(8.0, 1.0, 300)))
    assert notes == []


def test_batches_without_texts(tmp_path):
    guard = StepGuard("", Rows(ByteTokenizer(TokenizerConfig(kind="byte"))), None, max_skipped=0)
    bad = values(NAN)
    with pytest.raises(UserError, match=r"step 1: .*begins with nothing"):
        guard.check(0, bad)
    assert not list(tmp_path.iterdir())
