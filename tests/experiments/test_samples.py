"""Samples during a training: prompts in both languages, the file, TensorBoard, and that training is unchanged."""

import glob
import json
import pathlib
import random
import types

import numpy as np
import pytest
import tensorflow as tf

from tflm.config import override
from tflm.experiments import Experiment
from tflm.experiments.experiment import _observers_of
from tflm.experiments.samples import Prompt, Samples, choose_prompts, samples_of
from tflm.tasks import Chat, Denoising, LanguageModeling, Pairs
from tflm.tasks.features.blanks import BLANK
from tflm.training.logs import read_records


@pytest.fixture(scope="module")
def sampled(config, tmp_path_factory):
    """A trainer, its samples, and the folder of the run."""
    settings = [
        "training.num_steps=4",
        "training.eval_every=2",
        "training.num_samples=2",
        "decoding.max_new_tokens=4",
    ]
    workdir = str(tmp_path_factory.mktemp("sampled"))
    run = Experiment.create(override(config, settings), workdir)
    trainer = run.trainer()
    (samples,) = _observers_of(run, trainer, trainer.strategy, print)
    batches, held_out = run.batches("train", training=True), run.batches("eval", training=False)
    trainer.train(batches, held_out, observers=[samples])
    return trainer, samples, workdir


def test_each_evaluation_has_the_same_prompts(sampled):
    records = read_records(f"{sampled[2]}/samples.jsonl")
    assert [record["step"] for record in records] == [2, 4]
    first, second = ([sample["prompt"] for sample in record["samples"]] for record in records)
    assert first == second and len(first) == 2
    assert all(isinstance(sample["text"], str) for record in records for sample in record["samples"])
    assert all(sample["target"] for sample in records[0]["samples"])


def test_samples_are_in_tensorboard(sampled):
    (path,) = glob.glob(f"{sampled[2]}/tensorboard/events*")
    records = tf.data.TFRecordDataset(path)
    events = [tf.compat.v1.Event.FromString(record.numpy()) for record in records]
    values = [(event.step, value) for event in events for value in event.summary.value]
    found = {step: tf.make_ndarray(value.tensor) for step, value in values if value.tag == "samples"}
    assert found.keys() == {2, 4}
    assert found[2][0].tolist() == [b"prompt", b"generated"]
    assert [text.decode("utf-8") for text in found[2][1:, 0]] == [
        prompt.text for prompt in sampled[1].prompts
    ]


def test_generation_changes_nothing_that_decides_a_step(sampled):
    trainer, samples, _ = sampled
    before = {name: np.array(value) for name, value in trainer._state().items()}
    drawn, generator = random.getstate(), tf.random.get_global_generator().state.numpy()
    assert samples.texts() == samples.texts(), "the same seed"
    for name, value in trainer._state().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    assert random.getstate() == drawn
    np.testing.assert_array_equal(tf.random.get_global_generator().state, generator)


def test_samples_of_repeated_steps_are_dropped(trained, tmp_path):
    path = pathlib.Path(trained.workdir, "samples.jsonl")
    lines = [
        json.dumps({"step": step, "samples": [{"prompt": "你", "text": "好"}]}) + "\n" for step in (2, 4, 6)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    Samples(trained.workdir, trained.task, trained.trained_model()[0], [Prompt("你", "")]).begin(4, [], print)
    assert [record["step"] for record in read_records(str(path))] == [2, 4]


def test_where_there_are_none(config, tmp_path):
    notes = []
    run = Experiment.create(override(config, ["data.eval_fraction=0"]), str(tmp_path / "run"))
    assert samples_of(run, None, notes.append) is None
    kind = types.SimpleNamespace(task=types.SimpleNamespace(kind="tagging"))
    assert samples_of(types.SimpleNamespace(task=None, config=kind), None, notes.append) is None
    assert notes == [
        "no samples: there is no held-out side for prompts; set data.eval_fraction or data.eval_path.",
        "no samples: the task 'tagging' does not generate text.",
    ]


def test_both_languages_by_turns():
    pairs = [(f"text {number}", "") for number in range(10)] + [("", ""), ("  ", "")]
    mixed = [*pairs, ("你好", "再见"), ("こんにちは", "")]
    assert choose_prompts(mixed, 4) == [("text 0", ""), ("你好", "再见"), ("text 5", ""), ("こんにちは", "")]
    assert [prompt.text for prompt in choose_prompts(mixed, 6)].count("你好") == 1
    assert len(choose_prompts(mixed, 6)) == 6
    assert choose_prompts([("你好", "")], 3) == [Prompt("你好", "")]
    assert choose_prompts([], 3) == []


ENGLISH = "The quick brown fox jumps over the lazy dog, and the dog sleeps on in the warm sun of the long afternoon."
CHINESE = (
    "敏捷的棕色狐狸跳过了懒狗，狗在温暖的阳光下继续睡觉，直到漫长的下午过去，月亮升起来，照亮了整个院子。"
)


@pytest.mark.parametrize(
    "task, example, prompt, target",
    [
        (LanguageModeling, {"text": ENGLISH}, ENGLISH[:52], ENGLISH[52:]),
        (LanguageModeling, {"text": CHINESE}, CHINESE[:20], CHINESE[20:]),
        (LanguageModeling, {"text": "ab"}, "a", "b"),
        (Pairs, {"source": "你好", "target": "Hello"}, "你好", "Hello"),
        (
            Chat,
            {
                "messages": json.dumps(
                    [
                        {"role": "system", "content": "Be brief."},
                        {"role": "user", "content": "你是谁"},
                        {"role": "assistant", "content": "机器人"},
                    ]
                )
            },
            "你是谁",
            "机器人",
        ),
        (Denoising, {"text": "one two three four"}, f"one two {BLANK} four", "three"),
    ],
    ids=["english", "chinese", "short", "pair", "chat", "blank"],
)
def test_a_prompt_and_what_follows(task, example, prompt, target):
    made = task.__new__(task)
    made.config = task.config_class()
    found = made.prompt_and_target(example)
    assert found[0] == prompt
    assert target.startswith(found[1]) and bool(found[1]) == bool(target)
