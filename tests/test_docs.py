"""What the pages say is true: code runs, commands parse, links lead somewhere, both READMEs say the same.

Also: the reference of the configuration is current, and what users read has no banned turns.
"""

import ast
import functools
import importlib
import importlib.util
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import tarfile

import pytest

from apps.main import COMMANDS
from tflm import serving
from tflm.config import override, to_dict
from tflm.recipes import load_preset
from tflm.registry import Registry
from tflm.serving.runtime.local import LocalModel

ROOT = pathlib.Path(__file__).parents[1]
READMES = [path for path in (ROOT / "README.md", ROOT / "README.zh-CN.md") if path.exists()]
PAGES = [*READMES, *sorted(ROOT.glob("docs/**/*.md"))]
SLOW = ("compression.md", "training.md", "tuning.md")
OWN_TEST = "extending.md"  # tests/test_extending.py runs it
RUNNING = [
    page for page in PAGES if "```python" in page.read_text(encoding="utf-8") and page.name != OWN_TEST
]
NAMELESS = {"compare": "run", "completion": "shell", "report": "workdir"}
BANNED = ("so many", "as many as may", "is told", "anew", "is none", "stands in")
"""Turns that are neither idiomatic nor terms of the field; CONTRIBUTING.md has the words to use."""
ALLOWED = ("freeze is none, body", "is none of the")
"""Where one of them is the name of a value, or English."""
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


@pytest.fixture(scope="module")
def models(tmp_path_factory, functions_as_written):
    """A folder with saved_models/NAME, of presets with few steps. Each is loaded once for all pages."""
    folder = tmp_path_factory.mktemp("models")
    with tarfile.open(ROOT / "tests/data/frozen/82625bc.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "exports").rename(folder / "saved_models")
    connect = functools.cache(serving.connect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tflm.serving.connect", connect)
        patch.setattr(LocalModel, "close", lambda model: None)
        yield folder


def test_the_tour_runs(models, monkeypatch, capsys):
    monkeypatch.chdir(models)
    runpy.run_path(str(ROOT / "docs/tour.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "user: 你是谁" in shown and "Did you mean temperature?" in shown


@pytest.fixture
def registered(monkeypatch):
    """What a page registers is gone after it: other tests look at all that there is."""
    added, add = [], Registry.add

    def remembered(registry, name, thing):
        added.append((registry, name))
        return add(registry, name, thing)

    monkeypatch.setattr(Registry, "add", remembered)
    yield
    for registry, name in added:
        if name not in registry.declarations():
            registry.remove(name)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.name in SLOW else ())
        for page in RUNNING
        if page.name != "export.md"
    ],
    ids=lambda page: f"docs/{page.name}",
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, request, tmp_path, monkeypatch, registered):
    del registered
    monkeypatch.chdir(request.getfixturevalue("models") if page.name == "python.md" else tmp_path)
    pathlib.Path("poems.txt").write_text(POEM, encoding="utf-8")
    namespace = {}
    run(page, namespace)
    if page.name == "training.md":  # export.md uses its task and model
        run(ROOT / "docs/export.md", namespace)


_COMMAND = re.compile(
    r"python -m apps\.([a-z_]+\b[^\n`]*)|^ {4,}(?:.*[ |;&(])?tflm ([a-z_]+\b[^\n]*)$|`tflm ([a-z_]+\b[^`\n]*)`",
    re.MULTILINE,
)


def commands(page):
    """The commands of a page, `python -m apps.NAME ...` and `tflm NAME ...`, up to a pipe or a redirection."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    text = re.sub(r"^```python\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for found in _COMMAND.finditer(text):
        lexer = shlex.shlex(found[1] or found[2] or found[3], posix=True, punctuation_chars="|<>;&")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = []
        for word in lexer:
            if set(word) <= set("|<>;&"):
                break
            words.append(word)
        yield words


def around(words):
    """A command; of one with another after --, such as launch, both.

    >>> [*around(["launch", "--num_workers=2", "--", "train", "--preset=a"])]
    [['launch', '--num_workers=2'], ['train', '--preset=a']]
    """
    if "--" not in words:
        return [words]
    place = words.index("--")
    return [part for part in (words[:place], words[place + 1 :]) if part and part != ["..."]]


COMMAND_LINES = [
    (page, words)
    for page in PAGES
    if page.name != OWN_TEST
    for line in commands(page)
    for words in around(line)
    if words[0] not in ("COMMAND", "NAME")
]


@pytest.mark.parametrize(
    "page, words", COMMAND_LINES, ids=[f"{page.name}: {' '.join(words)}" for page, words in COMMAND_LINES]
)
def test_a_command_names_a_subcommand_flags_presets_and_fields_that_exist(page, words):
    name, *arguments = words
    assert name in COMMANDS
    flag_values = importlib.import_module(f"apps.{name}").FLAGS
    flag_values.unparse_flags()
    arguments = [argument for argument in arguments if argument not in ("...", "--help", "\\")]
    if name in NAMELESS:  # the flag's name may be left out
        flag = NAMELESS[name]
        arguments = [
            argument if argument.startswith("-") else f"--{flag}={argument}" for argument in arguments
        ]
    assert flag_values([name, *arguments]) == [name], "every argument is a flag"
    if "preset" in flag_values and flag_values.preset not in (None, "NAME"):
        config = load_preset(flag_values.preset)
        override(config, flag_values.set if "set" in flag_values else [])


def test_there_are_commands_and_code_to_check():
    assert len(COMMAND_LINES) > 15 and len(RUNNING) >= 3


@pytest.mark.parametrize(
    "line, expected",
    [
        ("    tflm train --preset=tiny_chat  # seconds", ["train", "--preset=tiny_chat"]),
        ("    printf 'a' | tflm chat --model=m > out", ["chat", "--model=m"]),
        ("after `tflm export --step=3`, and", ["export", "--step=3"]),
        ("`python -m apps.tag --segment`", ["tag", "--segment"]),
    ],
)
def test_commands_are_found_in_code_blocks_pipes_and_sentences(line, expected, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"tflm trains models.\n\n{line}\n", encoding="utf-8")
    assert list(commands(page)) == [expected]


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}, and there is no such heading"


def test_the_site_has_every_page_once():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page not in READMES]
    assert sorted(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)) == sorted(pages)


def make_configuration():
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs/make_configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_reference_is_current():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    message = "Run: python docs/make_configuration.py"
    assert make_configuration().configuration_page() == page, message


@pytest.mark.parametrize(
    "preset", ["tiny_chat", "tiny_bert_classifier", "tiny_transformer", "tiny_lstm_seq2seq"]
)
def test_the_configuration_reference_has_every_field(preset):
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for section, value in to_dict(load_preset(preset)).items():
        names = [name for name in value if name != "kind"] if isinstance(value, dict) else []
        for name in (section, *names):
            assert f"| `{name}` |" in page, f"{section}.{name}"
        if section in ("model", "task"):
            assert f"`kind={value['kind']}`" in page


def fields_without_docstring(configs):
    return [
        f"{config.path}: {config.name}.{field.name}"
        for config in configs
        for field in config.fields
        if field.name != "kind" and not field.doc
    ]


def test_every_field_of_every_config_has_a_docstring():
    configs = make_configuration().configs_of(ROOT / "tflm")
    assert len(configs) > 20
    assert fields_without_docstring(configs) == []


def test_a_field_without_docstring_is_found(tmp_path, monkeypatch):
    maker = make_configuration()
    monkeypatch.setattr(maker, "ROOT", tmp_path)
    fields = "    kind: str = 'a'\n    size: int = 1\n    rate: float = 0.5\n    'A rate.'\n"
    source = f"@dataclass\nclass AConfig:\n{fields}"
    (tmp_path / "a.py").write_text(source, encoding="utf-8")
    assert fields_without_docstring(maker.configs_of(tmp_path)) == ["a.py: AConfig.size"]


def banned_turns(text):
    """Each banned turn in a text, with the words around it."""
    text = " ".join(text.split())
    for phrase in ALLOWED:
        text = text.replace(phrase, "")
    for turn in BANNED:
        for found in re.finditer(rf"\b{turn}\b", text, re.IGNORECASE):
            yield f"{turn!r} in ...{text[max(0, found.start() - 40) : found.end() + 40]}..."


def strings(path):
    """The strings of a module that users can see: literals that are no docstrings, and the help of an app."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    is_app = path.parent.name == "apps"
    hidden = {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and not (is_app and node is module.body[0])
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in hidden:
            yield node.lineno, node.value


def test_messages_flags_and_help_have_no_banned_turns():
    paths = sorted([*ROOT.glob("tflm/**/*.py"), *ROOT.glob("apps/**/*.py")])
    found = [
        f"{path.relative_to(ROOT)}:{line}: {turn}"
        for path in paths
        for line, text in sorted(strings(path))
        for turn in banned_turns(text)
    ]
    assert not found, "\n".join(found)


def test_docstrings_and_comments_have_no_banned_turns():
    found = []
    for path in sorted(
        path for folder in ("tflm", "apps", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
    ):
        turns = banned_turns(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(ROOT)}: {turn}" for turn in turns if not turn.startswith("'is none'")]
    assert not found, "\n".join(found)  # `is None` is code


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_pages_have_no_banned_turns(page):
    if page.name != "log.md":
        found = "\n".join(banned_turns(page.read_text(encoding="utf-8")))
        assert not found, found


def test_banned_turns_are_found_in_strings_and_not_in_docstrings(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('"""It is told."""\n\nx = f"{1} of so\\nmany"\ny = "is none"\n', encoding="utf-8")
    found = [turn for _, text in sorted(strings(module)) for turn in banned_turns(text)]
    assert found == ["'so many' in ...of so many...", "'is none' in ...is none..."]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(
        r"^ +make ([a-z-]+)|`make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE
    ):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), f"make {''.join(target)}"


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make; to test that: apt-get install make")
def test_make_help_has_a_line_for_each_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    done = subprocess.run(["make", "help"], capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    assert re.findall(r"^  make (\S+) +\w.*$", done.stdout, re.MULTILINE) == targets


@pytest.mark.skipif(len(READMES) < 2, reason="there is one README")
def test_both_readmes_have_the_same_commands_in_the_same_order():
    english, chinese = (
        re.findall(r"^ {4}((?:git|make|docker|curl|saved_model_cli|tflm|\S*python) .*)$", text, re.MULTILINE)
        for text in (page.read_text(encoding="utf-8") for page in READMES)
    )
    assert english == chinese
    assert len(english) >= 3
