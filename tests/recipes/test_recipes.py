"""Every recipe: it can be built, written down and changed, and it says what it costs and gives."""

import inspect
import re
import subprocess
import sys

import pytest

from apps.train import FLAGS
from tflm.config import from_dict, load_json, override, save_json, to_dict
from tflm.errors import UsageError, UserError
from tflm.experiments import ExperimentConfig
from tflm.models import build_model
from tflm.recipes import RECIPES, list_recipes, load_preset
from tflm.tasks import PairsConfig

NAMES = RECIPES.names()


def test_every_family_has_a_tiny_recipe_and_a_small_one():
    kinds = {size: set() for size in ("tiny", "small")}
    for name in NAMES:
        config = load_preset(name)
        size = "tiny" if name.startswith("tiny_") else "small"
        kinds[size].add((config.model.kind, config.task.kind))
    rows = {
        ("lstm", "language_modeling"),
        ("lstm_encoder", "classification"),
        ("lstm_encoder_decoder", "pairs"),
        ("transformer_encoder", "masked_language_modeling"),
        ("transformer_encoder", "classification"),
        ("transformer_decoder", "language_modeling"),
        ("transformer_decoder", "pairs"),
        ("transformer_encoder_decoder", "pairs"),
        ("transformer_encoder_decoder", "denoising"),
        ("skip_gram", "word_vectors"),
    }
    encoder_tasks = ("similarity", "tagging", "question_answering")
    rows |= {("transformer_decoder", "chat")} | {("transformer_encoder", task) for task in encoder_tasks}
    assert kinds["tiny"] == kinds["small"] == rows


@pytest.mark.parametrize("name", NAMES)
def test_the_config_has_its_name_and_survives_json(name, tmp_path):
    config = load_preset(name)
    assert config.name == name
    assert config == load_preset(name), "the same each time"
    assert from_dict(ExperimentConfig, to_dict(config)) == config
    save_json(config, str(tmp_path / "config.json"))
    assert load_json(ExperimentConfig, str(tmp_path / "config.json")) == config


@pytest.mark.parametrize("name", NAMES)
def test_overrides(name):
    config = override(load_preset(name), ["training.num_steps=7", "model.hidden_dim=120", "decoding.top_k=3"])
    assert (config.training.num_steps, config.model.hidden_dim, config.decoding.top_k) == (7, 120, 3)
    assert config.data == load_preset(name).data
    with pytest.raises(UserError, match=r"Did you mean model.hidden_dim\?"):
        override(load_preset(name), ["model.hiden_dim=1"])


@pytest.mark.parametrize("name", NAMES)
def test_prompt_and_answer_fit_into_the_context(name):
    config = load_preset(name)
    if isinstance(config.task, PairsConfig):
        task = config.task
        if config.model.kind == "transformer_decoder":
            assert task.max_source_length + task.max_target_length + 2 <= config.model.max_length
        else:
            assert max(task.max_source_length, task.max_target_length) + 2 <= config.model.max_length
        assert config.decoding.max_new_tokens <= task.max_target_length
        assert "separator" in config.tokenizer.special_tokens


@pytest.mark.parametrize("name", NAMES)
def test_the_model_can_be_built(name):
    config = override(load_preset(name), ["model.vocab_size=500"])
    assert build_model(config.model).num_parameters() > 10_000


@pytest.mark.parametrize("name", NAMES)
def test_it_is_headed_by_cost_result_and_command(name):
    doc = RECIPES.get(name).__doc__
    headings = re.findall(r"^ *(Cost|Result|Command): \S.*$", doc, re.MULTILINE)
    assert headings == ["Cost", "Result", "Command"], doc
    cost = re.search(r"Cost:(.*?)Result:", doc, re.DOTALL)[1]
    assert re.search(r"\d.* (second|minute)s?", cost, re.DOTALL), "how long it takes"
    command = re.search(r"Command:\s+(tflm train .*?)(\n *\n|\Z|$)", doc, re.DOTALL)[1]
    arguments = command.replace("\\\n", " ").split()[2:]
    FLAGS.unparse_flags()
    assert FLAGS(["train", *arguments]) == ["train"]
    assert FLAGS.preset == name
    override(load_preset(name), FLAGS.set)


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(
        UsageError, match=r"no preset 'tiny'. There are: bert_small, chat_demo, chat_demo_long, "
    ):
        load_preset("tiny")


def test_the_list_says_what_each_costs_and_gives():
    found = {each.name: each for each in list_recipes()}
    assert list(found) == NAMES
    poems = found["tiny_lstm"]
    assert poems.summary == "An LSTM over the bytes of Python code."
    assert poems.cost == "300 steps, about 30 seconds on two cores; 0.1M parameters."
    assert poems.result == "text that looks like code from afar."
    assert poems.command == "tflm train --preset=tiny_lstm --workdir=runs/tiny_lstm"
    assert poems.doc == inspect.getdoc(RECIPES.get("tiny_lstm"))
    assert all(all(each) for each in found.values())


def test_the_list_takes_no_tensorflow():
    code = "import sys, tflm.recipes; tflm.recipes.list_recipes(); print({'tensorflow', 'keras'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "set()\n"


def test_a_recipe_of_a_plugin(tmp_path, monkeypatch):
    path = tmp_path / "my_recipes.py"
    path.write_text(
        "from tflm.recipes import load_preset, recipe\n\n\n@recipe\ndef my_lstm():\n"
        '    """我的模型。"""\n    return load_preset(\'tiny_lstm\')\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("TFLM_PLUGINS", str(path))
    assert {each.name: each for each in list_recipes()}["my_lstm"].summary == "我的模型。"
    assert load_preset("my_lstm") == load_preset("tiny_lstm")
    RECIPES.remove("my_lstm")
