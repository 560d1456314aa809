"""Exported text equals the text of the model in memory; versions, checksums, card."""

import json
import os
import re
import shutil

import pytest

from tflm.export import verify_checksums

SAMPLED = {"temperature": 1.0, "top_p": 0.9, "min_new_tokens": 6, "seed": 7}
GREEDY = {"temperature": 0.0, "min_new_tokens": 6}


@pytest.fixture(params=["chat", "decoder", "lstm"])
def run(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["chat", "lstm"])
def asked(request):
    """SentencePiece and a Transformer, bytes and an LSTM. Each export was compared when it was made, too."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_exported_text_equals_that_of_the_model_in_memory(asked, settings):
    for texts in asked.BATCHES:
        exported = asked.exported(texts, **settings)
        assert exported == asked.in_memory(texts, **settings)
        assert all(exported), "six tokens at least were asked for"


def test_a_text_does_not_depend_on_its_neighbours(asked):
    together = asked.exported(asked.BATCHES[2], **SAMPLED)
    assert together == [asked.exported([text], **SAMPLED)[0] for text in asked.BATCHES[2]]


def test_it_says_where_the_export_is_and_what_is_in_it(run):
    assert run.exporting.code == 0, run.exporting.err
    assert run.exporting.out == f"exported and verified: {run.version}\n"
    files = {"saved_model.pb", "variables", "assets.extra", "config.json", "model_card.md", "checksums.json"}
    assert files <= set(os.listdir(run.version))
    assert not os.path.exists(f"{run.version}.tmp"), "the folder it was built in"
    verify_checksums(run.version)


def test_what_a_server_needs_is_beside_it(run):
    folder = f"{os.path.dirname(run.version)}/deploy"
    assert f"to serve it with TensorFlow Serving: {folder}/README.md" in run.exporting.err
    assert {"models.config", "docker-compose.yaml", "kubernetes.yaml", "README.md"} <= set(os.listdir(folder))
    with open(f"{folder}/batching.config", encoding="utf-8") as file:
        assert re.search("^# decode(, resume)?: states of texts", file.read(), re.MULTILINE)


def test_what_was_changed_is_kept(chat, call, tmp_path, monkeypatch):
    shutil.copytree(chat.version, tmp_path / "m" / "1")
    (tmp_path / "m" / "deploy").mkdir()
    (tmp_path / "m" / "deploy" / "models.config").write_text("# mine", encoding="utf-8")
    monkeypatch.setattr(
        "tflm.experiments.experiment.publish", lambda *arguments, **options: str(tmp_path / "m" / "1")
    )
    done = call("export", f"--workdir={chat.workdir}", f"--output={tmp_path}/m")
    assert done.code == 0
    assert "deploy/README.md; kept as you changed them: models.config." in done.err
    assert (tmp_path / "m" / "deploy" / "models.config").read_text(encoding="utf-8") == "# mine"


def test_the_card_tells_what_it_is(run):
    with open(f"{run.version}/model_card.md", encoding="utf-8") as file:
        card = file.read()
    assert card.startswith(f"# {run.preset}\n")
    assert f"from the recipe `{run.preset}`, after 24 steps." in card
    assert "eval_perplexity" in card
    assert ("SentencepieceTokenizeOp" in card) == (run.preset == "tiny_chat")
    assert ("loads without tensorflow-text" in card) == (run.preset != "tiny_chat")
    for signature in ("serving_default", "generate", "score", "tokenize"):
        assert f"| `{signature}` |" in card


def test_the_config_tells_where_it_comes_from(run):
    with open(f"{run.version}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    assert config["source"] == {"run": run.preset, "step": 24}
    assert config["training"]["num_steps"] == 24


def test_the_next_free_version(lstm):
    assert sorted(os.listdir(lstm.model)) == ["007", "1", "4", "5", "9.tmp", "deploy", "notes"]


def test_an_existing_version_is_refused_and_left_alone(lstm, call):
    before = os.stat(f"{lstm.version}/saved_model.pb").st_mtime_ns
    done = call("export", f"--workdir={lstm.workdir}", f"--output={lstm.version}")
    assert done.code == 1
    assert "exists. Versions are never overwritten: leave out the number for the next free one." in done.err
    assert os.stat(f"{lstm.version}/saved_model.pb").st_mtime_ns == before
    assert not os.path.exists(f"{lstm.version}.tmp")


def test_an_older_checkpoint_by_its_step(chat, call, tmp_path, monkeypatch):
    written = {}
    monkeypatch.setattr(
        "tflm.experiments.export_run.write_export", lambda *a, files, **k: written.update(files)
    )
    arguments = [f"--workdir={chat.workdir}", f"--output={tmp_path}/m", "--step=16", "--signatures=score"]
    assert call("export", *arguments, "--deploy=false").code == 0
    assert not os.path.exists(f"{tmp_path}/m/deploy")
    assert json.loads(written["config.json"])["source"]["step"] == 16


def test_a_run_without_a_checkpoint(chat, call, tmp_path):
    shutil.copytree(chat.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    done = call("export", f"--workdir={tmp_path}/run", f"--output={tmp_path}/m")
    assert done.code == 1
    assert f"has no checkpoint yet. `tflm train --workdir={tmp_path}/run` first." in done.err
    assert not os.path.exists(f"{tmp_path}/m")
