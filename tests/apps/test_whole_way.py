"""Each application the whole way, by its commands alone: a small file in English and Chinese, trained until it is known
by heart, measured, exported, asked as a folder and as a server."""

import functools
import json
import pathlib
import re
import subprocess
import sys
import types

import pytest

from tests.apps import whole_way_data
from tests.apps.whole_way_data import WAYS, make, said

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where everything is."""
    return tmp_path_factory.mktemp("ways")


@pytest.fixture(scope="module")
def made(folder, call):
    """made(NAME): the run `workdir`, the export `model` and the app's `input` of a way, made when first asked for."""

    @functools.cache
    def get(name):
        return types.SimpleNamespace(
            model=make(name, folder, call), workdir=f"{folder}/{name}/run", input=folder / name / "typed.txt"
        )

    return get


@pytest.fixture(scope="module")
def ask(made, call):
    """ask(NAME, URL or folder, *arguments): what the app says. The same is asked once."""
    return functools.cache(
        lambda name, model, *arguments: whole_way_data.ask(
            call, WAYS[name], model, made(name).input, *arguments
        )
    )


@pytest.fixture(scope="module")
def starting(made, folder):
    """One server of all models, a process of its own; it may not be ready yet."""
    entries = [
        f'config {{ name: "{name}" base_path: "{pathlib.Path(made(name).model).parent}" }}' for name in WAYS
    ]
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}", encoding="utf-8")
    command = [sys.executable, "-m", "apps.serve", f"--model_config_file={folder}/models.config"]
    command.append("--noenable_model_warmup")  # half of the signatures are not asked here
    with open(folder / "server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--rest_api_port=0", "--port=0"],
            cwd=pathlib.Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        )
    yield process
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def server(starting, folder):
    """server(NAME, "http" or "grpc"): the URL of a way's model."""
    ready = starting.stdout.readline()
    assert ready, (folder / "server.log").read_text(encoding="utf-8")
    first = next(iter(WAYS))
    prefixes = {kind: re.search(rf"{kind}://\S+/(?={first}[ ;])", ready)[0] for kind in ("http", "grpc")}
    return lambda name, kind: prefixes[kind] + name


@pytest.mark.parametrize("name", WAYS)
def test_the_app_says_what_was_learned(name, made, ask):
    assert said(WAYS[name], ask(name, made(name).model)) == WAYS[name].expected


@pytest.mark.parametrize("name", WAYS)
def test_a_run_and_its_export_get_the_same_figures(name, made, call, folder, starting):
    del starting  # the server loads meanwhile
    reports = []
    for which in (f"--workdir={made(name).workdir}", f"--model={made(name).model}"):
        output = folder / "reports" / name / which[2:7]
        done = call("evaluate", which, f"--output={output}", "--nobaseline", "--examples=0")
        assert done.code == 0, done.err
        reports.append(json.loads((output / "report.json").read_text(encoding="utf-8")))
    for part in ("this model", "texts"):
        assert_same(reports[0][part], reports[1][part])
    for measure, value in WAYS[name].measures.items():
        assert reports[0]["this model"][measure] == pytest.approx(value), measure


def assert_same(one, other):
    """Texts and counts are equal, measures to the rounding of float32: a function and a session may add up in other
    orders."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        assert len(one) == len(other)
        for each, its_other in zip(one, other, strict=True):
            assert_same(each, its_other)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-5)
    else:
        assert one == other


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_server_says_the_same(name, kind, made, ask, server):
    url, path = server(name, kind), made(name).model
    assert ask(name, url).out == ask(name, path).out
    assert ask(name, url, "--format=json").out == ask(name, path, "--format=json").out


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_streamed_conversation_is_the_same(kind, made, ask, server):
    expected = ask("chat", made("chat").model)
    assert ask("chat", made("chat").model, "--stream").out == expected.out
    assert ask("chat", server("chat", kind), "--stream").out == expected.out


@pytest.mark.parametrize("name", WAYS)
def test_its_page_shows_the_four_commands_that_ran_here(name):
    way, run = WAYS[name], "runs/"
    page = pathlib.Path(__file__).parents[2] / "docs" / "apps" / f"{way.app}.md"
    text = page.read_text(encoding="utf-8")
    shown = [line.split() for line in re.findall(r"^ {4}tflm (.*)$", text, re.MULTILINE)[:4]]
    train, evaluate, export, ask = (dict(_flag(word) for word in words[1:]) for words in shown)
    assert [words[0] for words in shown] == ["train", "evaluate", "export", way.app]
    assert train == {"--task": way.task, "--data": way.data, "--workdir": train["--workdir"]}
    assert train["--workdir"].startswith(run) and evaluate == {"--workdir": train["--workdir"]}
    assert export["--workdir"] == train["--workdir"] and ask["--model"] == export["--output"]
    assert way.app == "chat" or ask["--input"] == "typed.txt"


def _flag(word):
    name, _, value = word.partition("=")
    return name, value
