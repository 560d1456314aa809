"""A module imports from lower ranks or from its own folder, never upward and never sideways."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
RANKS = {
    "errors": 0,
    "config": 1,
    "text": 2,
    "data": 3,
    "layers": 3,
    "decoding": 3,
    "models": 4,
    "tasks": 5,
    "training": 6,
    "evaluation": 6,
    "export": 6,
    "presets": 7,
    "serving": 7,
    "apps": 8,
}
# The folders that run on every Keras backend.
BACKEND_FREE = ("layers", "models")
MODULES = sorted([*ROOT.glob("tflm/**/*.py"), *ROOT.glob("apps/*.py")])


def imported_modules(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports anywhere, `from a import b` as `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(dotted: str) -> str | None:
    """The ranked part that a dotted name belongs to: text, data, ..., apps; None for other packages."""
    first, *rest = dotted.split(".")
    if first == "apps":
        return "apps"
    return rest[0] if first == "tflm" and rest and rest[0] in RANKS else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = part_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own is None:
        assert path == ROOT / "tflm/__init__.py"
        assert not imported_modules(path)
        return
    for name in imported_modules(path):
        other = part_of(name)
        if other is not None and other != own:
            assert RANKS[other] < RANKS[own], (
                f"{path} (rank {RANKS[own]}) imports {name} (rank {RANKS[other]})"
            )
        if own in BACKEND_FREE:
            assert name.split(".")[0] != "tensorflow", f"{path} imports {name}: it must run on every backend"


def test_every_folder_has_a_rank():
    parts = [path for path in (ROOT / "tflm").iterdir() if path.name not in ("__init__.py", "__pycache__")]
    assert {path.stem for path in parts} == RANKS.keys() - {"apps"}


def test_the_check_can_fail(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from tflm.training import Trainer\n", encoding="utf-8")
    assert [part_of(name) for name in imported_modules(bad)] == ["training"]
