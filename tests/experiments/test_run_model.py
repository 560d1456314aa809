"""A run that answers without an export, against its export."""

import pytest

import tflm
from tests.experiments import tiny_checkpoints as tiny
from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.import_run import import_checkpoint

SETTINGS = {"temperature": 0.0, "max_new_tokens": 6}


@pytest.fixture(name="chat", scope="module")
def chat_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run_model")
    import_checkpoint(tiny.qwen2(folder / "qwen2"), str(folder / "run"))
    return Experiment.open(str(folder / "run"))


def test_the_export_answers_as_the_run(chat, tmp_path):
    """`export` itself lets a process without tflm and Keras answer the same."""
    path = chat.export(str(tmp_path / "model"), only=["chat"])
    run, exported = tflm.load(chat.workdir), tflm.load(path)
    conversation = [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "你好"},
        {"role": "user", "content": "今天天气很好 <|end|>"},
    ]
    assert run.chat(conversation, **SETTINGS) == exported.chat(conversation, **SETTINGS)
    assert run.signatures["chat"] == exported.signatures["chat"]
    assert run.config["task"] == exported.config["task"]
    run.close()
    with pytest.raises(UserError, match="is closed"):
        run.chat("a")


def test_a_run_without_a_checkpoint_and_an_unknown_signature(chat, tmp_path):
    run = tflm.load(chat.workdir)
    assert "classify" not in run.signatures and len(run.signatures) > 5
    with pytest.raises(UserError, match="cannot classify: it has no signature 'classify'"):
        run.classify("a")
