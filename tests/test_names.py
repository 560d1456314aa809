"""One name for one thing: no two classes share a name."""

import ast
import collections
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
SHARED = {
    "ModelConfig": "the config of a model, and of a served model, which TensorFlow Serving's message calls so",
}
"""Names that two classes share, and why."""


def class_names(path):
    """The classes of a file, those inside functions and classes too."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in ast.walk(module) if isinstance(node, ast.ClassDef)]


def test_no_two_classes_share_a_name():
    places = collections.defaultdict(list)
    for path in sorted([*ROOT.glob("tflm/**/*.py"), *ROOT.glob("apps/**/*.py")]):
        for name in class_names(path):
            places[name].append(path.relative_to(ROOT).as_posix())
    shared = {name: paths for name, paths in places.items() if len(paths) > 1 and name not in SHARED}
    assert not shared, f"rename one of each: {shared}"


def test_classes_are_found_anywhere_in_a_file(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("class A:\n    class B: ...\ndef f():\n    class C: ...\n", encoding="utf-8")
    assert sorted(class_names(path)) == ["A", "B", "C"]
