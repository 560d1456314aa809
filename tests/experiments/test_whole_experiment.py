"""The API of an experiment: by a recipe's name, trained, evaluated, exported."""

import dataclasses
import os
import subprocess
import sys
import types

import pytest

from tflm.errors import UsageError, UserError
from tflm.evaluation import read_report, write_report
from tflm.experiments import EvaluationOptions, Experiment, load_preset
from tflm.recipes.tiny import tiny_lstm


@pytest.mark.parametrize("recipe", ["tiny_lstm", tiny_lstm, tiny_lstm()], ids=["name", "function", "config"])
def test_a_recipe_is_a_name_a_function_or_a_config(recipe, tmp_path):
    settings = ["model.hidden_dim=16", "training.num_steps=2"]
    run = Experiment.create(recipe, str(tmp_path / "run"), settings)
    assert (run.config.name, run.config.model.hidden_dim, run.config.training.num_steps) == (
        "tiny_lstm",
        16,
        2,
    )
    assert Experiment.open(run.workdir).config == run.config
    assert run.config == dataclasses.replace(
        load_preset("tiny_lstm"), model=run.config.model, training=run.config.training
    )


def test_refusals(tmp_path, trained):
    with pytest.raises(UsageError, match=r"no preset 'tiny'\. There are: bert_small, "):
        Experiment.create("tiny", str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"no field model\.hiden_dim\. Did you mean model\.hidden_dim\?"):
        Experiment.create("tiny_lstm", str(tmp_path / "other"), ["model.hiden_dim=8"])
    with pytest.raises(UsageError, match=r"^split is eval or test; got 'train'\."):
        trained.evaluate(split="train")
    with pytest.raises(
        UserError, match=r"^--word_vectors is for the task word_vectors; that of this run is "
    ):
        trained.save_word_vectors(str(tmp_path / "vectors.txt"))
    assert not os.path.exists(tmp_path / "other")


def test_it_trains_and_says_what_came_of_it(config, tmp_path):
    said = []
    run = Experiment.create(config, str(tmp_path / "run"))
    summary = run.train("one_device", said.append)
    assert summary.step == 2 and summary.training["perplexity"] > 1 and summary.held_out["num_tokens"] > 0
    assert os.path.getsize(summary.plot) > 1000 and summary.plot == f"{run.workdir}/loss.png"
    assert said[0].startswith("tiny_lstm: ") and "2 steps of 4 rows" in said[0]
    again = run.train("one_device", said.append)
    assert said[-1] == "all 2 steps are done; --overwrite begins again."
    assert again.held_out == pytest.approx(summary.held_out)


def test_it_is_evaluated(trained, tmp_path):
    report = trained.evaluate(EvaluationOptions(limit=3), batch_size=2)
    assert (report["name"], report["step"], report["split"]) == ("tiny_lstm", 2, "eval")
    assert report["held_out"]["perplexity"] > 1 and report["ngram"]["order"] > 1
    assert report["this model"]["perplexity"] > 1
    assert len(report["texts"]) == 3 and {"text", "log_probability"} <= set(report["texts"][0])
    written = write_report(report, str(tmp_path / "report"))
    assert [os.path.basename(path) for path in written.paths] == ["report.json", "report.md"]
    assert read_report(written.paths[0])["texts"] == report["texts"]
    assert "ngram" not in trained.evaluate(limit=1, baseline=False)


def test_it_is_exported(trained, tmp_path, monkeypatch):
    given = {}

    def publish(run, output, step, **options):
        given.update(options, run=run, step=step)
        return f"{output}/1"

    monkeypatch.setattr("tflm.experiments.experiment.publish", publish)
    monkeypatch.setattr(
        "tflm.experiments.experiment.write_deployment", lambda path: given.update(deployed=path)
    )
    assert trained.export(f"{tmp_path}/models/poet", only=["generate"]) == f"{tmp_path}/models/poet/1"
    assert given == {"run": trained, "step": None, "only": ["generate"]}
    trained.export(f"{tmp_path}/models/poet", step=2, deploy=True)
    assert (given["step"], given["deployed"]) == (2, f"{tmp_path}/models/poet/1")


def test_word_vectors_are_written_by_their_task(trained, monkeypatch):
    given = []
    save_vectors = lambda *arguments, **how: given.append((arguments, how))  # noqa: E731
    task = type("Task", (), {"words": ["a", "b"], "save_vectors": save_vectors})
    monkeypatch.setattr(Experiment, "task_class", task)
    monkeypatch.setattr(trained, "task", task(), raising=False)
    monkeypatch.setattr(trained, "trained_model", lambda step: (types.SimpleNamespace(name="model"), step))
    assert trained.save_word_vectors("vectors.bin", 7) == 2
    assert given[0][0][2] == "vectors.bin" and given[0][1] == {"binary": True}


def test_importing_experiments_imports_nothing_heavy():
    code = "import sys, tflm.experiments, tflm.tasks; print({'tensorflow', 'keras'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "set()\n"
