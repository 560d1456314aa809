"""Translations by command; by beam search, too, and so measured."""

import json

import pytest

from tests.apps import small_models
from tests.apps.conftest import load_once
from tests.apps.refusals import check
from tflm.data import DataConfig
from tflm.errors import UsageError
from tflm.experiments import ExperimentConfig
from tflm.experiments.evaluate_run import by_beams
from tflm.experiments.measured import Measured
from tflm.generation import DecodingConfig
from tflm.generation.config import BeamConfig, beam_settings_lists
from tflm.tasks import ChatConfig, ClassificationConfig


def test_one_line_for_each_text_in_order(chat, call, tmp_path):
    texts = ["What is AI?", "你好", "Hello"]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    arguments = (f"--model={chat.model}", f"--input={tmp_path}/texts.txt", "--min_new_tokens=3")
    plain = call("translate", *arguments)
    assert plain.code == 0, plain.err
    expected = chat.in_memory(texts, temperature=0.0, min_new_tokens=3, max_new_tokens=36)
    assert plain.lines == [" ".join(text.split()) for text in expected]
    records = [json.loads(line) for line in call("translate", *arguments, "--format=json").lines]
    assert records == [
        {"text": t, "translation": s, "truncated": False} for t, s in zip(texts, plain.lines, strict=True)
    ]


def test_the_best_translations_of_beams(call, tmp_path):
    model = small_models.save(tmp_path, "pairs", "generate", "beam")
    arguments = ("translate", f"--model={model}", "--text=你 好", "--beam_size=3")
    assert call(*arguments).lines == ["你 好"]
    assert call(*arguments, "--num_best=3").lines == ["-0.5000\t你 好", "-1.5000\t你 好1", "-2.5000\t你 好2"]
    (line,) = call(*arguments, "--format=json").lines
    assert json.loads(line) == {
        "text": "你 好",
        "translation": "你 好",
        "score": -0.5,
        "log_probability": -2.0,
        "truncated": False,
    }


def test_evaluation_by_beams(pairs, call, tmp_path):
    """The texts of a run, and of its export, are those of the signature; greedy ones are others."""
    arguments = ("--limit=3", "--beam_size=3", "--examples=0", "--nobaseline", f"--output={tmp_path}")
    found = []
    for source in (f"--workdir={pairs.workdir}", f"--model={pairs.model}"):
        done = call("evaluate", source, *arguments)
        assert done.code == 0, done.err
        found.append(json.loads((tmp_path / "report.json").read_text(encoding="utf-8")))
    assert found[0]["beam_size"] == 3 and found[0]["texts"][0]["source"]
    assert [text["answer"] for text in found[0]["texts"]] == [text["answer"] for text in found[1]["texts"]]
    model = load_once(pairs.model)
    own = DecodingConfig(**model.config["decoding"])
    request = {
        "text": [text["source"] for text in found[0]["texts"]],
        **beam_settings_lists(BeamConfig(3), own, 3),
        "stop": [[""]] * 3,
        "choices": [[""]] * 3,
    }
    expected = [text.decode() for text in model.predict("beam", request)["text"][:, 0]]
    assert [text["answer"] for text in found[0]["texts"]] == expected


def measured_task(task):
    return Measured(
        ExperimentConfig("a", DataConfig(source="chatterbot"), task=task), 1, lambda name: None, {}
    )


def test_what_is_not_evaluated_by_beams(pairs, call):
    done = call("evaluate", f"--workdir={pairs.workdir}", "--beam_size=3")
    check(done, 2, "--output is required with --beam_size, so that the run's own report stays as it is.")
    measured = measured_task(ChatConfig())
    with pytest.raises(UsageError, match="is for single questions; these are conversations: leave it out"):
        by_beams(measured, 3)("chat")
    with pytest.raises(UsageError, match="beam_size is 99, expected a whole number from 1 to 64"):
        by_beams(measured, 99)
    measured = measured_task(ClassificationConfig())
    with pytest.raises(UsageError, match="is for tasks of pairs; this model's is classification"):
        by_beams(measured, 3)
