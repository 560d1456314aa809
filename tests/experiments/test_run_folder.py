"""A run that was begun by an earlier version."""

import json

import pytest

from tflm.config import override, to_dict
from tflm.errors import UserError
from tflm.experiments import run_folder
from tflm.experiments.run_folder import as_begun_there, is_taken_up
from tflm.recipes import load_preset


@pytest.fixture
def old_run(tmp_path, monkeypatch):
    """The path of the config of a trained run from before training.dropout_masks."""
    written = to_dict(load_preset("tiny_lstm"))
    del written["training"]["dropout_masks"]
    (tmp_path / "config.json").write_text(json.dumps(written), encoding="utf-8")
    monkeypatch.setattr(run_folder, "has_checkpoint", lambda workdir: True)
    return str(tmp_path / "config.json")


def test_it_goes_on_as_it_was_begun(old_run):
    config = as_begun_there(old_run, load_preset("tiny_lstm"))
    assert config.training.dropout_masks == "per_device"
    assert is_taken_up(old_run, config)


def test_a_setting_that_it_was_not_begun_with_is_refused(old_run):
    settings = ["training.dropout_masks=per_example"]
    config = as_begun_there(old_run, override(load_preset("tiny_lstm"), settings), settings)
    with pytest.raises(UserError, match=r"training\.dropout_masks.*per_device.*per_example"):
        is_taken_up(old_run, config)
