"""Public checkpoints by command: import, then chat, generate and embed with the run."""

import os

import pytest

from tests.experiments import tiny_checkpoints as tiny


@pytest.fixture(name="folder", scope="module")
def folder_fixture(call, tmp_path_factory):
    """Runs of a decoder with a chat template, and of sentence-transformers."""
    folder = tmp_path_factory.mktemp("imports")
    for name in ("qwen2", "sentences"):
        path = getattr(tiny, name)(folder / name)
        done = call("import", f"--checkpoint={path}", f"--workdir={folder}/runs/{name}")
        assert done.code == 0, done.err
        (folder / f"{name}.txt").write_text(f"{done.out}\n{done.err}", encoding="utf-8")
    return folder


def test_what_is_printed(folder):
    said = (folder / "qwen2.txt").read_text(encoding="utf-8")
    assert f"imported: {folder}/runs/qwen2, transformer_decoder, " in said
    assert " tokens, task chat, context 256\n" in said
    assert f"to use it: tflm chat --workdir={folder}/runs/qwen2" in said
    said = (folder / "sentences.txt").read_text(encoding="utf-8")
    assert f"to use it: tflm embed --workdir={folder}/runs/sentences" in said


def test_a_run_answers_without_an_export(call, folder):
    arguments = ("--temperature=0", "--max_new_tokens=4", f"--workdir={folder}/runs/qwen2")
    chat = call("chat", "--text=你好", *arguments)
    assert chat.code == 0, chat.err
    generated = call("generate", "--text=你好", *arguments)
    assert generated.code == 0 and chat.out == generated.out, generated.err


def test_vectors_of_a_run(call, folder):
    done = call("embed", "--text=今天天气很好", f"--workdir={folder}/runs/sentences")
    assert done.code == 0 and len(done.out.split("\t")) == 16, done.err


def test_wrong_usage(call, folder, tmp_path):
    for arguments, message in (
        ([f"--workdir={tmp_path}/run"], "--checkpoint is needed."),
        ([f"--checkpoint={folder}/qwen2"], "--workdir is needed."),
    ):
        done = call("import", *arguments)
        assert done.code == 2 and message in done.err
    both = call("chat", "--text=a", f"--workdir={folder}/runs/qwen2", f"--model={folder}/runs/qwen2")
    assert both.code == 2 and "--model and --workdir both name a model: give one of them." in both.err
    assert os.listdir(tmp_path) == []


def test_what_is_no_checkpoint(call, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    done = call("import", f"--checkpoint={tmp_path}/empty", f"--workdir={tmp_path}/run")
    assert done.code == 1 and "is no checkpoint: it has no config.json (found: nothing)" in done.err
    done = call("import", "--checkpoint=qwen/tiny", f"--workdir={tmp_path}/run")
    assert done.code == 1 and "Is it hf://qwen/tiny?" in done.err
    done = call("import", f"--checkpoint={folder}/qwen2", f"--workdir={folder}/runs/qwen2")
    assert done.code == 1 and "is not empty. Give a new --workdir, or --overwrite." in done.err
    assert os.listdir(tmp_path) == ["empty"]
    none = call("chat", "--text=a", f"--workdir={tmp_path}/empty")
    assert none.code == 1 and "holds no run" in none.err
    assert call("embed", "--text=a", f"--workdir={folder}/runs/qwen2").code == 1
