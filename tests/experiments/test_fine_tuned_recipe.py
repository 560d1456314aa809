"""Training that begins with an imported checkpoint: what the recipe takes from it, and that it learns."""

import json

import pytest
import tensorflow as tf

import tflm
from tests.experiments import tiny_checkpoints as tiny
from tests.experiments.test_import_run import greedy
from tflm.errors import UserError
from tflm.experiments import Experiment, automatic
from tflm.experiments.import_run import import_checkpoint

TALK = [("Hello there", "ok"), ("你好", "世界")]
FEW = ["training.num_steps=12", "training.warmup_steps=1", "training.global_batch_size=4"]
FEW += ["training.log_every=6", "training.eval_every=12", "training.checkpoint_every=12"]


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    """`qwen` and `bert`: runs; `talk.jsonl` and `films.tsv`: data."""
    folder = tmp_path_factory.mktemp("tuned")
    import_checkpoint(tiny.qwen2(folder / "qwen2"), str(folder / "qwen"))
    import_checkpoint(tiny.bert(folder / "bert-folder"), str(folder / "bert"))
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{question} {n}"},
                {"role": "assistant", "content": answer},
            ]
        }
        for n in range(20)
        for question, answer in TALK
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "talk.jsonl").write_text("\n".join(lines), encoding="utf-8")
    films = ["text\tlabel", *(f"film {n} is {mood}" for n in range(20) for mood in ("good\t好", "bad\t坏"))]
    (folder / "films.tsv").write_text("\n".join(films) + "\n", encoding="utf-8")
    return folder


def test_the_recipe_takes_model_vocabulary_and_template(folder):
    theirs = Experiment.open(str(folder / "qwen")).config
    config = automatic("chat", str(folder / "talk.jsonl"), init_from=str(folder / "qwen"))
    assert (config.model, config.tokenizer, config.task.template) == (
        theirs.model,
        theirs.tokenizer,
        theirs.task.template,
    )
    training = config.training
    assert (training.optimizer, training.peak_learning_rate, training.schedule) == ("adamw", 5e-5, "linear")
    assert (training.global_batch_size, training.num_micro_batches) == (16, 1)
    assert training.num_steps == 20  # at least
    tuned = automatic(
        "chat", str(folder / "talk.jsonl"), "", ["fine_tuning.lora_rank=4"], str(folder / "qwen")
    )
    assert (tuned.training.peak_learning_rate, tuned.fine_tuning.lora_rank) == (2e-4, 4)
    off = automatic("chat", str(folder / "talk.jsonl"), "", ["fine_tuning.lora_rank=0"], str(folder / "qwen"))
    assert off.training.peak_learning_rate == 5e-5


def test_adapters_change_the_answers(folder, tmp_path):
    settings = [*FEW, "fine_tuning.lora_rank=4", "training.peak_learning_rate=0.05"]
    config = automatic("chat", str(folder / "talk.jsonl"), "", settings, str(folder / "qwen"))
    run = Experiment.create(config, str(tmp_path / "run"))
    run.trainer().train(run.batches("train", training=True), None)
    before, after = (each.trained_model()[0] for each in (Experiment.open(str(folder / "qwen")), run))
    roles, messages, room = tf.constant([["user"]]), tf.constant([["你好"]]), tf.constant([200])
    (prompt,) = run.task.conversations.prompts(roles, messages, room).token_ids.to_list()
    said = [greedy(model, prompt, run.tokenizer.end_ids, 6) for model in (before, after)]
    assert said[0] != said[1]
    found = tflm.load(str(tmp_path / "run")).chat("你好", temperature=0.0, max_new_tokens=6)
    assert found == run.tokenizer.detokenize([said[1]]).numpy()[0].decode()
    again = automatic("chat", str(folder / "talk.jsonl"), init_from=run.workdir)  # from the tuned run
    assert again.training.peak_learning_rate == 5e-5 and again.task.template == config.task.template


def test_a_classifier_with_the_body_of_a_bert(folder, tmp_path):
    settings = [*FEW, "training.peak_learning_rate=0.01"]
    config = automatic("classification", str(folder / "films.tsv"), "", settings, str(folder / "bert"))
    assert config.model == Experiment.open(str(folder / "bert")).config.model
    assert (config.task.pooling, config.task.dropout) == ("mean", 0.1)
    run = Experiment.create(config, str(tmp_path / "run"))
    run.trainer().train(run.batches("train", training=True), None)
    model = tflm.load(str(tmp_path / "run"))
    assert {each.label for each in model.classify(["the film is good", "the film is bad"])} <= {"好", "坏"}


def test_what_there_is_not(folder):
    with pytest.raises(UserError, match=r"init_from='nowhere' holds no weights to begin with"):
        automatic("chat", str(folder / "talk.jsonl"), init_from="nowhere")
