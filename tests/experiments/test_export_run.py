"""What a run hands to the export, and how a published run is known again. tests/apps exports for real."""

import json
import shutil
import types

import pytest

from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.export_run import is_published, publish


@pytest.fixture
def published(trained, tmp_path, monkeypatch):
    """The path of a version in which `config.json` is all there is, and what `write_export` was given."""
    given = {}

    def write_export(signatures, tracked, output, **rest):
        given.update(rest, signatures=signatures, tracked=list(tracked), output=output)
        (tmp_path / "models/poet/1").mkdir(parents=True)
        (tmp_path / "models/poet/1/config.json").write_text(rest["files"]["config.json"], encoding="utf-8")
        return f"{output}/1"

    monkeypatch.setattr("tflm.experiments.export_run.write_export", write_export)
    return publish(trained, str(tmp_path / "models/poet"), only=["tokenize"]), given


def test_what_goes_into_an_export(trained, published, tmp_path):
    _, given = published
    shutil.rmtree(tmp_path / "models")
    path = publish(trained, str(tmp_path / "models/poet"))  # with all signatures
    assert path == f"{tmp_path}/models/poet/1"
    assert {"serving_default", "generate", "score", "tokenize", "prefill", "decode"} <= given[
        "signatures"
    ].keys()
    assert given["requests"].keys() == given["signatures"].keys()
    model, tokenizer = given["tracked"]
    assert tokenizer is trained.task.tokenizer
    card = given["card"]
    assert card["What it is"] == (
        f"A model of the kind lstm with {model.num_parameters():,} parameters, for the task language_modeling, "
        "from the recipe `tiny_lstm`, after 2 steps."
    )
    assert card["Held-out measures"] == "None were taken."
    assert card["Model"]["hidden_dim"] == 16
    assert card["Data"]["path"].endswith("poem.txt") and "eval_path" not in card["Data"]
    config = json.loads(given["files"]["config.json"])
    assert config["source"] == {"run": "tiny_lstm", "step": 2}
    assert config["decoding"] == card["Defaults of `serving_default`"]
    with open(f"{trained.workdir}/tokenizer/tokenizer.json", "rb") as file:
        assert given["files"]["assets.extra/tokenizer/tokenizer.json"] == file.read()


def test_a_task_that_writes_no_text_has_no_settings_of_generation(trained, published, tmp_path):
    given = published[1]
    names = {"trained_model": trained.trained_model, "config": trained.config, "workdir": trained.workdir}
    task = types.SimpleNamespace(
        tokenizer=trained.task.tokenizer,
        export_signatures=lambda model, only: ({}, None),
        requests=lambda signatures: {},
    )
    shutil.rmtree(tmp_path / "models")
    publish(types.SimpleNamespace(task=task, **names), str(tmp_path / "models/poet"))
    assert list(given["card"]) == ["What it is", "Held-out measures", "Data", "Model"]


def test_measures_of_that_step_go_onto_the_card(trained, published, tmp_path):
    with open(f"{trained.workdir}/log.jsonl", "a", encoding="utf-8") as file:
        for step, loss in ((1, 9.0), (2, 4.5)):
            file.write(json.dumps({"step": step, "time": 0, "eval_loss": loss}) + "\n")
    shutil.rmtree(tmp_path / "models")
    publish(trained, str(tmp_path / "models/poet"), only=["tokenize"])
    assert published[1]["card"]["Held-out measures"] == {"eval_loss": 4.5}


def test_a_signature_alone_that_takes_the_state_of_another(trained, published, tmp_path):
    shutil.rmtree(tmp_path / "models")
    publish(trained, str(tmp_path / "models/poet"), only=["decode"])
    assert published[1]["signatures"].keys() == published[1]["requests"].keys() == {"decode"}


def test_a_published_run_is_known_again(trained, published):
    path = published[0]
    assert is_published(trained, path)
    assert is_published(Experiment.open(trained.workdir), path)
    assert not is_published(trained, f"{path}0")


def test_an_export_of_another_step_is_not_taken_for_it(trained, published):
    folder = f"{trained.workdir}/checkpoints"
    shutil.copytree(f"{folder}/step_00000002", f"{folder}/step_00000004")
    with pytest.raises(UserError, match="is there already and was not made from step 4 of "):
        is_published(trained, published[0])


@pytest.mark.parametrize("content", [None, "{", '{"name": "other"}'])
def test_something_else_in_its_place(trained, tmp_path, content):
    (tmp_path / "models/1").mkdir(parents=True)
    if content:
        (tmp_path / "models/1/config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"Give another --output, remove it, or --overwrite."):
        is_published(trained, str(tmp_path / "models/1"))


def test_a_run_without_a_checkpoint(experiment, tmp_path):
    with pytest.raises(UserError, match="has no checkpoint yet"):
        publish(experiment, str(tmp_path / "models/poet"))
    assert not (tmp_path / "models").exists()
