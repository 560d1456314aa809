"""--plugins: what a file registers can be listed, and a wrong name is refused before TensorFlow is imported."""

import pytest

from tests.apps.refusals import check
from tflm.registry import PLUGINS


@pytest.fixture(autouse=True)
def without_plugins(monkeypatch):
    monkeypatch.setenv(PLUGINS, "")


def test_recipes_of_a_plugin_are_listed(call, tmp_path):
    path = tmp_path / "poems.py"
    path.write_text('@recipe\ndef poems():\n    """Poems, 诗。"""\n', encoding="utf-8")
    done = call("train", "--list_presets", f"--plugins={path}")
    assert done.code == 0
    assert "poems: Poems, 诗。\n" in done.out and "tiny_lstm: An LSTM" in done.out


@pytest.mark.parametrize(
    "app, arguments",
    [
        ("train", ["--list_presets"]),
        ("evaluate", ["--workdir=none"]),
        ("export", ["--workdir=none", "--output=none"]),
        ("compare", ["none"]),
    ],
)
def test_a_plugin_that_is_not_there(app, arguments, call):
    check(call(app, *arguments, "--plugins=none.py"), 1, "there is no plugin 'none.py': no such file.")


def test_an_unknown_task_is_refused(call, tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\n", encoding="utf-8")
    done = call("train", "--task=poems", f"--data={tmp_path}/a.tsv", f"--workdir={tmp_path}/run")
    check(done, 2, "--task=poems: no such task. There are: chat, classification, language_modeling, pairs, ")


def test_names_are_completed(call):
    script = call("completion", "--shell=bash").out
    assert "question_answering" in script and "tiny_lstm" in script
