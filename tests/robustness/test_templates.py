"""Files of templates: slots, the three kinds of tests, and every mistake with its message."""

import json
import sys

import pytest

from tflm.errors import UserError
from tflm.robustness import read_templates

SLOTS = {"thing": ["food", "service"], "praise": ["great", "很好"], "n": ["1"]}


def read(tmp_path, content, names=("text",), name="tests.json", **options):
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_templates(str(tmp_path / name), names, **options)


def one(tmp_path, test, **options):
    (found,) = read(tmp_path, {"slots": SLOTS, "tests": [{"name": "t", **test}]}, **options)
    return found


def test_a_minimum_functionality_test(tmp_path):
    found = one(tmp_path, {"template": ["The {thing} was {praise}.", "Fine"], "label": "good"})
    assert found.rows == (
        ("The food was great.",),
        ("The food was 很好.",),
        ("The service was great.",),
        ("The service was 很好.",),
        ("Fine",),
    )
    assert (found.label, found.groups, found.then) == ("good", (), ())


def test_an_invariance_test(tmp_path):
    found = one(tmp_path, {"template": "{praise}, {thing}", "vary": "thing"})
    assert [row[0] for row in found.rows] == [
        "great, food",
        "great, service",
        "很好, food",
        "很好, service",
    ]
    assert found.groups == (0, 0, 1, 1)


def test_a_directional_test(tmp_path):
    found = one(tmp_path, {"template": "{praise}", "then": "very {praise}", "label": 1, "tolerance": 0})
    assert found.then == (("very great",), ("very 很好",)) and found.rows == (("great",), ("很好",))
    assert (found.label, found.change, found.tolerance) == ("1", "no_fall", 0.0)


def test_pairs(tmp_path):
    test = {"template": {"question": "Who?", "context": "{thing}"}, "label": "x"}
    found = one(tmp_path, test, names=("question", "context"))
    assert found.rows == (("Who?", "food"), ("Who?", "service"))


def test_a_limit_draws_by_the_seed(tmp_path):
    slots = {"a": [str(n) for n in range(30)], "b": ["x", "y"]}
    content = {"slots": slots, "tests": [{"name": "t", "template": "{a}{b}", "label": "l", "limit": 9}]}
    (first,), (again,), (other,) = (read(tmp_path, content, seed=seed) for seed in (0, 0, 1))
    assert len(first.rows) == 9 and first == again != other
    content["tests"][0] = {"name": "t", "template": "{a}{b}", "vary": "b", "limit": 9}
    (groups,) = read(tmp_path, content)
    assert len(groups.rows) == 8 and len(set(groups.groups)) == 4, "whole groups"


def test_yaml(tmp_path):
    pytest.importorskip("yaml")
    text = "slots:\n  a: [很好, 不错]\n  b: one\ntests:\n- template: '{a}{b}'\n  label: good\n"
    (found,) = read(tmp_path, text, name="tests.yaml")
    assert found.name == "template 1" and [row[0] for row in found.rows] == ["很好one", "不错one"]


def test_yaml_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(
        UserError, match=r'PyYAML, which is not installed: pip install "tflm\[check\]"; or .* JSON'
    ):
        read(tmp_path, "tests: []", name="tests.yaml")


@pytest.mark.parametrize(
    "content,words",
    [
        ("[", "is not JSON: "),
        ([], "expected a mapping with `slots` and a list of `tests`; found list"),
        ({"tests": 3}, "expected a mapping with `slots` and a list of `tests`"),
        ({"slots": [], "tests": []}, None),
        ({"slots": ["a"], "tests": []}, "`slots` maps names to lists of texts; found list"),
        ({"slots": {"a": [True]}, "tests": []}, "the slot 'a': expected texts; found list.* Quote numbers"),
        ({"slots": {"a": []}, "tests": []}, "the slot 'a': expected texts"),
        ({"tests": ["x"]}, "test 1: expected a mapping with name, template"),
        ({"tests": [{"labels": "x"}]}, "test 1 has 'labels'; a test has name, template, label"),
        ({"tests": [{"name": "n", "label": "x"}]}, "test 'n' has no `template`"),
        (
            {"tests": [{"template": 3, "label": "x"}]},
            "a template is a text; found tuple|a template is a text",
        ),
        ({"tests": [{"template": "a"}]}, "give the expected `label`, or `vary`"),
        ({"tests": [{"template": "a", "label": True}]}, "`label` is True, a truth value in YAML. Quote it"),
        ({"tests": [{"template": "{a}", "label": "x"}]}, "there is no slot 'a'; the slots are none"),
        ({"tests": [{"template": "a", "vary": "b"}]}, "no template has the slot 'b'"),
        ({"slots": {"b": "x"}, "tests": [{"template": "{b}", "vary": "b"}]}, "or it has a single text"),
        (
            {"tests": [{"template": "a", "then": ["b", "c"], "label": "x"}]},
            "`then` has 2 texts, and `template` 1",
        ),
        (
            {"tests": [{"template": "a", "then": "b", "label": "x", "change": "up"}]},
            "`change` is 'up', expected no_fall",
        ),
        ({"tests": [{"template": "a", "then": "b", "vary": "x"}]}, "has both `vary` and `then`"),
        (
            {"tests": [{"template": "a", "label": "x", "tolerance": 2}]},
            "`tolerance` is 2, expected a number from 0",
        ),
        ({"tests": [{"template": "a", "label": "x", "limit": 0}]}, "`limit` is 0, expected a whole number"),
        ({"tests": [{"template": {"text": "a", "b": "c"}, "label": "x"}]}, "this model takes text"),
        ({"tests": [{"name": "n", "template": "a", "label": "x"}] * 2}, "two tests are named 'n'"),
    ],
)
def test_mistakes(tmp_path, content, words):
    if words is None:
        assert read(tmp_path, content) == []
        return
    with pytest.raises(UserError, match=words):
        read(tmp_path, content)


def test_a_pair_without_names(tmp_path):
    with pytest.raises(UserError, match="this model takes text and text_pair: write a template as a mapping"):
        one(tmp_path, {"template": "a", "label": "x"}, names=("text", "text_pair"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read --templates=.*none.json: No such file"):
        read_templates(str(tmp_path / "none.json"), ("text",))
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"a\.json is not UTF-8: .* save it as UTF-8"):
        read_templates(str(tmp_path / "a.json"), ("text",))
