"""docs/extending.md: its task, tokenizer, model family, metric and recipe are written to a folder, trained, evaluated,
exported and served, by its own code and commands."""

import importlib
import json
import pathlib
import re
import shlex
import sys

import numpy as np
import pytest

from tflm.config import from_dict
from tflm.errors import UserError
from tflm.evaluation import METRICS, REPORT_FNS, read_report
from tflm.experiments import RECIPES, ExperimentConfig, list_recipes
from tflm.models import MODELS, build_model
from tflm.registry import PLUGINS
from tflm.serving import connect
from tflm.tasks import TASK_RECIPES, TASKS
from tflm.text import TokenizerConfig, train_tokenizer
from tflm.text.tokenizer_config import TOKENIZERS

PAGE = (pathlib.Path(__file__).parents[1] / "docs/extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FILES = {found[1]: code for _, code in BLOCKS if (found := re.match(r"# (mine/\w+\.py)\n", code))}
RUN = [code for language, code in BLOCKS if language == "python" and code not in FILES.values()]
COMMANDS = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
REGISTRIES = (TASKS, TASK_RECIPES, TOKENIZERS, MODELS, METRICS, REPORT_FNS, RECIPES)
NAMES = ("rating", "rating", "dna", "causal_convolution", "exact_match", "ratings", "tiny_complement")


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    """The folder with the files of the page, which is the current one; afterwards nothing of it is registered."""
    folder = tmp_path_factory.mktemp("extending")
    (folder / "mine").mkdir()
    for name, code in FILES.items():
        (folder / name).write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        patch.setenv(PLUGINS, "mine")
        exec(RUN[0], {})
        yield folder
    for registry, name in zip(REGISTRIES, NAMES, strict=True):
        registry.remove(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def call(line):
    """Runs a command line of the page in this process."""
    name, *arguments = shlex.split(line)[1:]
    assert importlib.import_module(f"apps.{name}").run([name, *arguments]) == 0, line


def test_names_are_known_and_nothing_is_imported(folder):
    assert len(FILES) == 5
    assert "mine" not in {name.partition(".")[0] for name in sys.modules}
    for registry, name in zip(REGISTRIES, NAMES, strict=True):
        assert name in registry.names()
    (found,) = [each for each in list_recipes() if each.name == "tiny_complement"]
    assert found.summary == "A causal convolution that writes the complement of eight bases."
    assert found.command.startswith("tflm train --plugins=mine")
    assert not {name for name in sys.modules if name.startswith("mine.")}


def test_without_the_plugin_the_message_says_what_to_do(folder, monkeypatch):
    monkeypatch.setenv(PLUGINS, "")
    config = {"name": "a", "data": {"source": "chatterbot"}, "task": {"kind": "rating"}}
    with pytest.raises(
        UserError, match=r"task\.kind is one of chat, .*; got 'rating'\. One of a plugin needs TFLM_PL"
    ):
        from_dict(ExperimentConfig, config)


@pytest.mark.slow
def test_the_code_of_the_page(folder, capsys):
    namespace = {}
    for code in RUN[1:]:
        exec(compile(code, "docs/extending.md", "exec"), namespace)
    report = namespace["report"]
    assert report["text_score"] == "exact_match"
    assert report["this model"]["exact_match"] > 90, "as the recipe promises"
    assert capsys.readouterr().out.splitlines()[-1] == "[b'TGCATGCA']"


def test_the_commands_of_the_page(folder, capsys, monkeypatch):
    monkeypatch.setenv(PLUGINS, "")
    for line in COMMANDS:
        call(line)
    out = capsys.readouterr().out
    assert re.search(r"within_one_star +[\d.]+ \[", out) and "rating: " not in out
    report = read_report("runs/rating/report.json")
    assert report["this model"]["mean_absolute_error"] < 1.2, "the mean alone is further off"
    assert {"text", "label", "answer", "within_one_star"} == set(report["texts"][0])
    assert "by within_one_star" in pathlib.Path("runs/rating/report.md").read_text(encoding="utf-8")
    assert json.loads(pathlib.Path("runs/rating/config.json").read_text(encoding="utf-8"))["task"] == {
        "kind": "rating",
        "dropout": 0.1,
    }


def test_the_export_is_served(folder):
    from tflm.serving.server import ModelConfig, ModelManager, Server

    texts = {"text": ["很好，下次再来", "bad film"]}
    expected = connect("saved_models/rating").predict("rate", texts)["rating"]
    assert expected[0] > expected[1]
    manager = ModelManager([ModelConfig("rating", str(folder / "saved_models/rating"))])
    manager.start()
    with Server(manager, rest_port=0, grpc_port=0) as running:
        served = connect(f"http://127.0.0.1:{running.rest_port}/v1/models/rating").predict("rate", texts)
    manager.stop()
    np.testing.assert_allclose(served["rating"], expected, rtol=1e-5)


def test_steps_are_the_whole_text_and_padding_leaves_no_trace(folder):
    config = MODELS.get("causal_convolution").config_class(
        vocab_size=9, hidden_dim=8, num_layers=2, kernel_size=3
    )
    model = build_model(config)
    whole = np.array([[4, 5, 6, 7, 8, 4]])
    expected = np.array(model(whole))
    state = model.initial_state(1, 8, num_padding=np.array([2]))
    logits, state = model.step(np.array([[0, 0, 4, 5, 6]]), state)
    parts = [np.array(logits)[:, 2:]]
    for token in whole[0, 3:]:
        logits, state = model.step(np.array([[token]]), state)
        parts.append(np.array(logits))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-5)


def test_bases_come_back(folder):
    tokenizer = train_tokenizer(TokenizerConfig(kind="dna"), [])
    text = ["acgtN", "", "中A"]
    assert [each.decode() for each in tokenizer.detokenize(tokenizer.tokenize(text)).numpy()] == [
        "ACGT\ufffd",
        "",
        "\ufffd\ufffd\ufffdA",
    ]
