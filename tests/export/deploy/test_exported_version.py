"""Sizes and kinds of signatures, from the files alone."""

import pytest

from tflm.errors import UserError
from tflm.export.deploy.exported_version import read_exported_version


def test_a_model_that_writes(made):
    model = made(made.writer, "聊天", 3, max_length=100, num_weight_bytes=5000).model
    assert (model.name, model.version, model.previous_version) == ("聊天", 3, None)
    assert model.num_weight_bytes == 5000
    assert model.writes
    assert model.list_signatures == ("chat",)
    assert model.state_signatures == ("decode",)
    assert not model.may_be_batched
    assert model.num_state_bytes == 4 * 100 * 4 * 16 + 50  # a cache of 100 places, and 50 flags


def test_a_classifier(made):
    model = made(made.classifier).model
    assert (model.writes, model.may_be_batched, model.num_state_bytes) == (False, True, 0)


def test_plain_text_to_text_writes_and_may_be_batched(made):
    model = made({"serving_default": made.writer["serving_default"]}).model
    assert (model.writes, model.may_be_batched) == (True, True)


def test_the_version_before_it(made):
    for version in (2, 5, 9):
        made(made.classifier, version=version)
    assert made(made.classifier, version=7).model.previous_version == 5


def test_a_config_that_does_not_tell_the_length(made, tmp_path):
    path = made(made.writer).path
    (tmp_path / "chat" / "1" / "config.json").write_text("[]", encoding="utf-8")
    assert read_exported_version(path).num_state_bytes == 4 * 1024 * 4 * 16 + 50


def test_no_model(tmp_path):
    with pytest.raises(UserError, match="is not a SavedModel"):
        read_exported_version(str(tmp_path / "m" / "1"))
