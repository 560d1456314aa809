"""What commit 82625bc wrote loads, resumes and answers the same with the code of today.

`tests/data/frozen/` holds its configs, the signatures of its tasks, the variables of its models, four runs that were
stopped at step 25 of 50, and three exports with what they answered. `make.py` there made them, once; it is not run
again. Of commit 5b0f821 it holds the outputs of signatures and a chat that knows its texts by heart. A new field,
signature, input with a default or output may be added; nothing may be renamed or removed.
"""

import json
import pathlib
import re
import shutil
import tarfile

import numpy as np
import pytest

from tests.data.frozen.bodies import GREEDY
from tests.data.frozen.make import describe, one_layer
from tflm.config import from_dict, override, to_dict
from tflm.experiments import Experiment, ExperimentConfig
from tflm.recipes import load_preset
from tflm.serving import connect
from tflm.training.logs import read_log

FROZEN = pathlib.Path(__file__).parent / "data" / "frozen"
CONFIGS = json.loads((FROZEN / "configs.json").read_text(encoding="utf-8"))
TASKS = json.loads((FROZEN / "tasks.json").read_text(encoding="utf-8"))
OUTPUTS = json.loads((FROZEN / "outputs.json").read_text(encoding="utf-8"))
TEXTS = json.loads((FROZEN / "greedy.json").read_text(encoding="utf-8"))
# To trace one of these takes long, and most of their signatures are made as those of a chat, which is not among them.
SLOW_TO_TRACE = ("tiny_decoder", "tiny_lstm_seq2seq", "tiny_t5")
RUNS = ("tiny_decoder", "tiny_lstm", "tiny_chat", "tiny_bert_classifier")
# Signatures to call; a signature's first run takes seconds, and those of a chat are also those of a language model.
EXPORTS = {
    "tiny_chat": ("chat", "generate", "beam", "alternatives", "choose", "prefill"),
    "tiny_decoder": ("serving_default", "score", "tokenize"),
    "tiny_bert_classifier": ("classify", "serving_default", "tokenize"),
}
# Losses of another processor differ by rounding, which training makes larger; the first is nearly exact.
FIRST_LOSS, LAST_LOSS = 1e-4, 2e-2
# By how much, in log probability, the likeliest token of a greedy text is ahead of the next. Rounding is under 1e-4.
MARGIN = 1.0


@pytest.fixture(scope="module", name="files")
def files_fixture(tmp_path_factory):
    """The unpacked files: data/, runs/, exports/."""
    folder = tmp_path_factory.mktemp("frozen")
    with tarfile.open(FROZEN / "82625bc.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(name="workdir")
def workdir_fixture(files, tmp_path, monkeypatch):
    """A folder with the data, which the frozen configs name by a relative path."""
    shutil.copytree(files / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def differences(frozen, now, path=""):
    """Fields of `frozen` that are missing in `now` or have another value; what is new in `now` is not counted."""
    if isinstance(frozen, dict) and isinstance(now, dict):
        return [
            found
            for name, value in frozen.items()
            for found in differences(value, now.get(name, "(missing)"), f"{path}.{name}")
        ]
    return [] if frozen == now else [f"{path}: {frozen!r} became {now!r}"]


RENAMED = {"chat_demo": "chat_demo_long"}
"""Recipes that have another name today: `chat_demo` became a shorter training."""
IMPROVED = {
    "gpt_small": ("training.num_steps=1500", "model.ngram_contexts=[]", f"model.ngram_cells={2**22}"),
}
"""Settings with which a recipe that is another one today is the former one: `gpt_small` reads counted n-grams."""


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_config_loads_and_its_recipe_is_the_same(name):
    frozen = CONFIGS[name]
    loaded = to_dict(from_dict(ExperimentConfig, frozen))
    assert not differences(frozen, json.loads(json.dumps(loaded)))
    former = override(load_preset(RENAMED.get(name, name)), IMPROVED.get(name, ()))
    recipe = json.loads(json.dumps(to_dict(former)))
    recipe["data"]["path"] = frozen["data"]["path"]  # where this checkout is
    assert not differences({**frozen, "name": RENAMED.get(name, name)}, recipe)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_signatures_and_variables_are_the_same(name, workdir):
    frozen = TASKS[name]
    experiment = Experiment.create(from_dict(ExperimentConfig, frozen["config"]), "run")
    model = experiment.make_model()
    variables = ((variable.path, list(variable.shape)) for variable in model.variables)
    assert _unnumbered(variables) == _unnumbered(frozen["variables"].items())
    signatures = experiment.task.signatures(model)
    inputs = {name: _described(function.input_signature) for name, function in signatures.items()}
    assert not differences({name: each["inputs"] for name, each in frozen["signatures"].items()}, inputs)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_TO_TRACE else [])
        for name in sorted(OUTPUTS)
    ],
)
def test_outputs_of_signatures_are_the_same(name, workdir):
    config = from_dict(ExperimentConfig, one_layer(TASKS[name]["config"]))
    described = describe(Experiment.create(config, "run"))["signatures"]
    outputs = {signature: each["outputs"] for signature, each in described.items()}
    assert not differences(OUTPUTS[name], outputs)


def test_the_outputs_of_82625bc_are_among_them():
    assert {TASKS[name]["config"]["task"]["kind"] for name in OUTPUTS} == {
        task["config"]["task"]["kind"] for task in TASKS.values()
    }
    for name, frozen in OUTPUTS.items():
        before = {signature: each["outputs"] for signature, each in TASKS[name]["signatures"].items()}
        # State of a second layer: one is enough here.
        before = {
            signature: {output: spec for output, spec in each.items() if not output.endswith("_1")}
            for signature, each in before.items()
        }
        assert not differences(before, frozen)


@pytest.mark.parametrize("name", RUNS)
def test_fifty_losses_are_the_same(name, files, workdir):
    frozen = json.loads((files / "runs" / name / "losses.json").read_text(encoding="utf-8"))
    config = from_dict(
        ExperimentConfig, json.loads((files / "runs" / name / "config.json").read_text(encoding="utf-8"))
    )
    _train(Experiment.create(config, "run"))
    _check_losses(frozen, _losses("run"))


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_resumes(name, files, workdir):
    frozen = json.loads((files / "runs" / name / "losses.json").read_text(encoding="utf-8"))
    shutil.copytree(files / "runs" / name, "run")
    _train(Experiment.open("run"))
    losses = _losses("run")
    assert losses[:25] == frozen[:25], "what was logged before stays"
    _check_losses(frozen[25:], losses[25:])


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_an_export_answers_the_same(name, files, functions_as_written):
    folder = files / "exports" / name
    frozen = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    model = connect(str(folder))
    for signature in EXPORTS[name]:
        assert frozen[signature]
        for call in frozen[signature]:
            answer = model.predict(signature, call["request"])
            for output, expected in call["answer"].items():
                _check_equal(answer[output], expected, f"{signature}.{output}")


def test_greedy_texts_are_the_same(tmp_path, functions_as_written):
    """The model was trained until it knew its texts by heart. So that they cannot depend on how a processor rounds, it
    is checked here that at every step the likeliest token is far ahead of the second."""
    with tarfile.open(FROZEN / "greedy.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    model = connect(str(tmp_path / "chat"))
    settings = {name: [value] * len(TEXTS) for name, value in GREEDY.items()}
    answer = model.predict("generate", {"text": [*TEXTS], **settings})
    assert [text.decode() for text in answer["text"]] == [*TEXTS.values()]
    assert set(answer["finish_reason"].tolist()) == {b"stop"} and not answer["truncated"].any()

    chat = {"roles": [["user"]] * len(TEXTS), "messages": [[question] for question in TEXTS]}
    said = model.predict("chat", {**chat, **settings})
    assert said["text"].tolist() == answer["text"].tolist()
    alternatives = model.predict(
        "alternatives",
        {
            "text": [*TEXTS],
            "token_ids": answer["token_ids"],
            "max_new_tokens": settings["max_new_tokens"],
            "num_alternatives": [2] * len(TEXTS),
        },
    )
    for row, num_tokens in enumerate(answer["num_tokens"]):
        first, second = alternatives["alternative_log_probabilities"][row, :num_tokens].T
        assert num_tokens > 4 and (first - second).min() > MARGIN
        np.testing.assert_allclose(alternatives["log_probabilities"][row, :num_tokens], first)


def test_a_lost_or_changed_field_is_found():
    assert differences({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}) == []
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {}, "c": 3}) == [
        ".a.b: 1 became '(missing)'",
        ".c: 2 became 3",
    ]


def _unnumbered(variables):
    """Keras counts the random generators of a process: a checkpoint leaves their numbers out."""
    return sorted(
        (re.sub(r"seed_generator(_\d+)?/", "seed_generator/", path), shape) for path, shape in variables
    )


def _described(specs):
    return {spec.name: [spec.dtype.name, spec.shape.rank] for spec in specs}


def _train(experiment):
    trainer = experiment.trainer()
    trainer.train(experiment.batches("train", training=True), None)


def _losses(workdir):
    return [record["loss"] for record in read_log(workdir) if "loss" in record]


def _check_losses(frozen, losses):
    np.testing.assert_allclose(losses[0], frozen[0], rtol=FIRST_LOSS)
    np.testing.assert_allclose(losses, frozen, rtol=LAST_LOSS)


def _check_equal(answer, expected, place):
    answer = np.asarray(answer)
    if answer.dtype.kind == "f":
        np.testing.assert_allclose(
            answer, np.array(expected, np.float32), rtol=1e-3, atol=1e-4, err_msg=place
        )
        return
    decode = np.vectorize(
        lambda value: value.decode("utf-8") if isinstance(value, bytes) else value, otypes=[object]
    )
    assert (decode(answer) if answer.size else answer).tolist() == expected, place
