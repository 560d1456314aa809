"""Configs: JSON both ways, overrides, and messages that say which field was meant."""

import dataclasses

import pytest

from tflm.config import from_dict, load_json, override, save_json, to_dict
from tflm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Small:
    kind: str = "small"
    width: int = 4
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)
    path: str | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is at least 1; got {self.width}.")


@dataclasses.dataclass(frozen=True)
class Large:
    kind: str = "large"
    depth: int = 2


@dataclasses.dataclass(frozen=True)
class Whole:
    part: Small | Large = dataclasses.field(default_factory=Small)
    title: str = "标题"


def test_json_round_trip(tmp_path):
    for config in (Whole(), Whole(part=Large(depth=7)), Whole(part=Small(names=("甲", "乙"), path="x"))):
        save_json(config, str(tmp_path / "c.json"))
        assert load_json(Whole, str(tmp_path / "c.json")) == config
        assert from_dict(Whole, to_dict(config)) == config


def test_override_leaves_the_original():
    config = Whole()
    assignments = ["part.width=8", "part.rate=1", 'part.names=["x","y"]', "title=123", "part.path=a=b"]
    changed = override(config, assignments)
    assert changed.part == Small(width=8, rate=1.0, names=("x", "y"), path="a=b")
    assert changed.title == "123"
    assert config == Whole()
    assert override(config, ["part.path=2024"]).part.path == "2024"
    assert override(changed, ["part.path=null"]).part.path is None


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("part.widht=8", r"no field part\.widht\. Did you mean part\.width\?"),
        ("prat.width=8", r"no field prat\. Did you mean part\?"),
        ("part.zzz=8", r"It has: kind, width"),
        ("part.width", r"has no '='"),
        ("part.width=wide", r"part\.width takes int; got 'wide'"),
        ("part.width=true", r"part\.width takes int; got True"),
        ("part.width=0", r"part: width is at least 1; got 0"),
        ("part.names=3", r"part\.names is a list"),
        ("title.x=3", r"'title' has no fields of its own"),
        ("part=3", r"part takes|section with fields"),
    ],
)
def test_bad_overrides(assignment, words):
    with pytest.raises(UserError, match=words):
        override(Whole(), [assignment])


def test_unknown_kind_and_bad_files(tmp_path):
    with pytest.raises(UserError, match=r"part\.kind is one of large, small; got 'huge'"):
        from_dict(Whole, {"part": {"kind": "huge"}})
    with pytest.raises(UserError, match="cannot read the config"):
        load_json(Whole, str(tmp_path / "none.json"))
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        load_json(Whole, str(tmp_path / "torn.json"))
