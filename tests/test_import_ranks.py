"""A module imports from lower ranks or from its own folder, typing imports included; there are no circles."""

import ast
import importlib.util
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RANKS = {
    "errors": 0,
    "lazy": 0,
    "progress": 0,
    "registry": 1,
    "files": 1,
    "config": 2,
    "text": 3,
    "data": 4,
    "layers": 4,
    "generation": 4,
    "models": 5,
    "tasks": 6,
    "training": 7,
    "compression": 7,
    "evaluation": 7,
    "export": 7,
    "experiments": 8,
    "serving": 8,
    "recipes": 9,
    "retrieval": 9,
    "robustness": 9,
    "run_model": 9,
    "resident_memory": 9,
    "apps": 10,
    "__main__": 11,
}
# The folders that run on every Keras backend.
BACKEND_FREE = ("layers", "models")
MODULES = sorted([*ROOT.glob("tflm/**/*.py"), *ROOT.glob("apps/**/*.py")])


def dotted_name(path: pathlib.Path) -> str:
    """The module's name; of a package without `__init__`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports anywhere, also under `TYPE_CHECKING`; `from a import b` as `a.b`.

    The modules of `apps` import each other by relative names, since the folder is called `tflm_apps` where the package
    is installed; those of tflm do not.
    """
    names = set()
    is_app = path.is_relative_to(ROOT / "apps")
    folder = ".".join(path.relative_to(ROOT).parent.parts) if is_app else ""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert is_app or not node.level, f"{path}: relative imports hide where a name comes from"
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), folder)
            assert not (is_app and not node.level and part_of(module) == "apps"), (
                f"{path}: import {module} by a relative name; where the package is installed there is no `apps`"
            )
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def part_of(dotted: str) -> str | None:
    """The ranked part that a dotted name belongs to: text, data, ..., apps; None for other packages."""
    first, *rest = dotted.split(".")
    if first == "apps":
        return "apps"
    return rest[0] if first == "tflm" and rest and rest[0] in RANKS else None


def import_graph(paths: list[pathlib.Path]) -> dict[str, set[str]]:
    """Module to the modules among `paths` that it imports; a package's `__init__` counts for the names it exports."""
    names = {dotted_name(path): path for path in paths}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        graph[name] = set()
        for imported in imported_modules(path):
            while imported and imported not in names:
                imported = imported.rpartition(".")[0]
            if imported and imported != name:
                graph[name].add(imported)
    return graph


def importers(paths: list[pathlib.Path]) -> dict[str, set[str]]:
    """Module to the modules that import it, also through the package that exports its names.

    `from tflm.tasks import Chat` in a recipe is an import of `tflm.tasks.chat`; so is the export itself, by
    `tflm.tasks`.
    """
    names = {dotted_name(path): path for path in paths}
    exports = {}
    for name, path in names.items():
        if path.name == "__init__.py":
            exports |= {
                f"{name}.{imported.rpartition('.')[2]}": imported.rpartition(".")[0]
                for imported in imported_modules(path)
                if imported not in names
            }
    found: dict[str, set[str]] = {name: set() for name in names}
    for name, path in names.items():
        for imported in imported_modules(path):
            imported = exports.get(imported, imported)
            while imported and imported not in names:
                imported = imported.rpartition(".")[0]
            if imported and imported != name:
                found[imported].add(name)
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan, 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in number:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own is None:
        assert path == ROOT / "tflm/__init__.py"
        return
    for name in imported_modules(path):
        other = part_of(name)
        if other is not None and other != own:
            assert RANKS[other] < RANKS[own], (
                f"{path} (rank {RANKS[own]}) imports {name} (rank {RANKS[other]})"
            )
        if own in BACKEND_FREE:
            assert name.split(".")[0] != "tensorflow", f"{path} imports {name}: it must run on every backend"


def test_there_are_no_circles():
    assert circles(import_graph(MODULES)) == []


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == [["b", "c"]]


def test_few_modules_have_one_importer():
    """Slivers with one caller are merged into it, or with a neighbour of the same subject. Recipes and the families of
    public checkpoints are files of their own by design, and a package's `__init__` is its list of public names."""
    by_design = ("tflm.recipes.", "tflm.models.checkpoints.")
    modules = {
        name: found
        for name, found in importers(MODULES).items()
        if name.startswith("tflm.") and not name.startswith(by_design) and len(name.split(".")) > 1
    }
    packages = {dotted_name(path) for path in MODULES if path.name == "__init__.py"}
    single = sorted(name for name, found in modules.items() if name not in packages and len(found) == 1)
    share = len(single) / len(modules.keys() - packages)
    assert share <= 0.25, f"{share:.0%} of the modules have one importer: {', '.join(single)}"


def test_importers_are_found_through_a_package(tmp_path, monkeypatch):
    sources = {
        "tflm/a/__init__.py": "from tflm.a.b import B",
        "tflm/a/b.py": "class B: ...",
        "tflm/c.py": "from tflm.a import B",
        "tflm/d.py": "from tflm.a import b",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    found = importers([tmp_path / name for name in sources])
    assert found == {
        "tflm.a": set(),
        "tflm.a.b": {"tflm.a", "tflm.c", "tflm.d"},
        "tflm.c": set(),
        "tflm.d": set(),
    }


def test_every_folder_has_a_rank():
    parts = [
        path
        for path in (ROOT / "tflm").iterdir()
        if path.name not in ("__init__.py", "__pycache__", "py.typed")
    ]
    assert {path.stem for path in parts} == RANKS.keys() - {"apps"}


def test_typing_imports_are_read_too(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "if TYPE_CHECKING:\n    from tflm.training import Trainer\ndef f():\n    import tflm.text\n",
        encoding="utf-8",
    )
    assert {part_of(name) for name in imported_modules(bad)} == {"training", "text"}
