"""Configs: JSON both ways, overrides, and messages that say which field was meant."""

import dataclasses
import json
from typing import ClassVar

import pytest

from tflm.config import (
    KindConfig,
    as_begun,
    from_dict,
    load_json,
    option,
    override,
    save_json,
    since,
    to_dict,
)
from tflm.errors import UserError
from tflm.registry import Registry

PARTS = Registry("part", "register_part", "tflm.files")


@dataclasses.dataclass(frozen=True)
class Part(KindConfig):
    registry: ClassVar[Registry] = PARTS


@dataclasses.dataclass(frozen=True)
class Small(Part):
    kind: str = "small"
    width: int = 4
    rate: float = 0.5
    names: tuple[str, ...] = ("a",)
    path: str | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is at least 1; got {self.width}.")


@dataclasses.dataclass(frozen=True)
class Large(Part):
    kind: str = "large"
    depth: int = 2


@dataclasses.dataclass(frozen=True)
class Whole:
    part: Part = dataclasses.field(default_factory=Small)
    title: str = "标题"


for config_class in (Small, Large):
    PARTS.add(
        config_class().kind,
        type("Configured", (), {"config_class": config_class, "__qualname__": config_class().kind}),
    )


def test_json_round_trip(tmp_path):
    for config in (Whole(), Whole(part=Large(depth=7)), Whole(part=Small(names=("甲", "乙"), path="x"))):
        save_json(config, str(tmp_path / "c.json"))
        assert load_json(Whole, str(tmp_path / "c.json")) == config
        assert from_dict(Whole, to_dict(config)) == config


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_config_that_an_editor_saved_with_a_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(to_dict(Whole()), ensure_ascii=False), encoding=encoding)
    assert load_json(Whole, str(path)) == Whole()
    path.write_text(json.dumps(to_dict(Whole()), ensure_ascii=False), encoding="gb18030")
    with pytest.raises(UserError, match=r"c\.json' is not UTF-8: .*; save the file as UTF-8$"):
        load_json(Whole, str(path))


def test_an_option_is_written_where_it_is_used():
    @dataclasses.dataclass(frozen=True)
    class Sizes:
        width: int = 8
        soft_cap: float = option(0.0)

    assert to_dict(Sizes()) == {"width": 8}
    assert to_dict(Sizes(soft_cap=30.0)) == {"width": 8, "soft_cap": 30.0}
    assert from_dict(Sizes, {"width": 8}) == Sizes()
    assert override(Sizes(), ["soft_cap=2.5"]).soft_cap == 2.5


@dataclasses.dataclass(frozen=True)
class Grown:
    width: int = 4
    masks: str = since("per_example", before="per_device")


@dataclasses.dataclass(frozen=True)
class Outer:
    part: Grown = dataclasses.field(default_factory=Grown)


def test_a_field_that_a_file_lacks_means_what_it_did_before():
    assert Grown().masks == from_dict(Grown, to_dict(Grown())).masks == "per_example"
    assert from_dict(Outer, {"part": {"width": 8}}) == Outer(Grown(8, "per_device"))
    assert override(Outer(), ["part.width=8"]) == Outer(Grown(8, "per_example"))


def test_a_config_for_a_run_that_was_begun_without_a_field():
    new = Outer(Grown(8))
    assert as_begun(new, {"part": {"width": 8}}) == Outer(Grown(8, "per_device"))
    assert as_begun(new, to_dict(new)) == new
    assert as_begun(new, to_dict(Outer(Grown(8, "per_device")))) == new, "what is written may be refused"


def test_override_leaves_the_original():
    config = Whole()
    assignments = ["part.width=8", "part.rate=1", 'part.names=["x","y"]', "title=123", "part.path=a=b"]
    changed = override(config, assignments)
    assert changed.part == Small(width=8, rate=1.0, names=("x", "y"), path="a=b")
    assert changed.title == "123"
    assert config == Whole()
    assert override(config, ["part.path=2024"]).part.path == "2024"
    assert override(changed, ["part.path=null"]).part.path is None


def test_another_kind_drops_the_fields_that_it_does_not_have():
    assert override(Whole(part=Small(width=9)), ["part.kind=large"]) == Whole(part=Large())
    assert override(Whole(part=Small(width=9)), ["part.kind=small"]) == Whole(part=Small(width=9))


def test_another_kind_has_its_own_fields_in_the_same_command():
    assert override(Whole(), ["part.kind=large", "part.depth=5"]) == Whole(part=Large(depth=5))
    with pytest.raises(UserError, match=r"^Large has no field part\.width\. Did you mean part\.depth\?$"):
        override(Whole(), ["part.kind=large", "part.width=5"])
    with pytest.raises(UserError, match=r"part\.kind is one of large, small; got 'huge'"):
        override(Whole(), ["part.kind=huge", "part.width=5"])


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
    (tmp_path / "torn.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="is not JSON"):
        load_json(Whole, str(tmp_path / "torn.json"))
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"expected a JSON object, found list\. Give the config.json of a run"
    ):
        load_json(Whole, str(tmp_path / "list.json"))
