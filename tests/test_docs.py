"""What the pages say is true: code runs, commands parse, links lead somewhere, both READMEs say the same."""

import importlib
import pathlib
import re
import shlex

import pytest

from tflm.config import override
from tflm.presets import load_preset

ROOT = pathlib.Path(__file__).parents[1]
READMES = [path for path in (ROOT / "README.md", ROOT / "README.zh-CN.md") if path.exists()]
PAGES = [*READMES, *sorted(ROOT.glob("docs/**/*.md"))]
RUNNING = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
POEM = "床前明月光\n疑是地上霜\n举头望明月\n低头思故乡\n" * 40


def names(pages):
    return [str(page.relative_to(ROOT)) for page in pages]


def blocks(page):
    """The ```python blocks of a page, each after as many blank lines as stand above it."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield "\n" * (text.count("\n", 0, found.start()) + 1) + found[1]


def run(page, namespace):
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), namespace)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page.name == "export.md" else ()) for page in RUNNING],
    ids=names(RUNNING),
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("poems.txt").write_text(POEM, encoding="utf-8")
    namespace = {}
    if page.name == "export.md":  # goes on where training.md ends
        run(ROOT / "docs/training.md", namespace)
    run(page, namespace)


def commands(page):
    """The command lines of a page that call an app, continued lines joined, up to a pipe or a redirection."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"python -m (apps\.\w+[^\n`]*)", text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = []
        for word in lexer:
            if set(word) <= set("|<>;&"):
                break
            words.append(word)
        yield words


COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("page, words", COMMANDS, ids=[f"{p.name}: {' '.join(w)}" for p, w in COMMANDS])
def test_a_command_names_an_app_flags_presets_and_fields_that_exist(page, words):
    name, *arguments = words
    if name == "apps.NAME":
        return
    flag_values = importlib.import_module(name).FLAGS
    flag_values.unparse_flags()
    arguments = [argument for argument in arguments if argument not in ("...", "--help", "\\")]
    if name == "apps.compare":  # takes runs without the flag's name
        arguments = [argument if argument.startswith("-") else f"--run={argument}" for argument in arguments]
    assert flag_values([name, *arguments]) == [name], "every argument is a flag"
    if "preset" in flag_values and flag_values.preset:
        config = load_preset(flag_values.preset)
        override(config, flag_values.set if "set" in flag_values else [])


def test_there_are_commands_and_code_to_check():
    assert len(COMMANDS) > 15 and len(RUNNING) >= 3


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(
        r"^ +make ([a-z-]+)|`make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE
    ):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), f"make {''.join(target)}"


@pytest.mark.skipif(len(READMES) < 2, reason="there is one README")
def test_both_readmes_have_the_same_commands_in_the_same_order():
    english, chinese = (
        re.findall(r"^ {4}((?:git|make|docker|curl|saved_model_cli|\S*python) .*)$", text, re.MULTILINE)
        for text in (page.read_text(encoding="utf-8") for page in READMES)
    )
    assert english == chinese
    assert len(english) >= 3
