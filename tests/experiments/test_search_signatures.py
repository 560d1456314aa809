"""Which signatures an export has when they are asked for, and drafts whose run does not fit."""

import dataclasses
import json
import os
import shutil
import types

import pytest

from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.export_run import check_same_text, search_signatures
from tflm.tasks import DenoisingConfig
from tflm.tasks.signatures.writer import Writer


@pytest.fixture
def draft(trained, tmp_path):
    """A run with the same tokenizer and task."""
    shutil.copytree(trained.workdir, tmp_path / "draft")
    return Experiment.open(str(tmp_path / "draft"))


def writer_of(experiment):
    return Writer(experiment.task, experiment.trained_model()[0])


def test_none_unless_they_are_asked_for(trained):
    made = search_signatures(trained, None)
    assert not any(made)


def test_contrastive_search_of_an_lstm(trained):
    made = search_signatures(trained, writer_of(trained), contrastive=True)
    assert list(made.signatures) == list(made.requests) == ["contrastive"]
    assert not made.variables and not made.card


def test_a_draft_goes_with_a_transformer(trained, draft):
    with pytest.raises(UserError, match="the model is a lstm, which cannot take back what it has read"):
        search_signatures(trained, writer_of(trained), draft)


def test_a_draft_with_another_tokenizer(trained, draft):
    check_same_text(trained, draft)
    path = os.path.join(draft.workdir, "tokenizer", "tokenizer.json")
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**content, "other": 1}, file)
    with pytest.raises(
        UserError, match=r"the tokenizer of the draft .*draft' is not that of .* Train the draft on the same"
    ):
        check_same_text(trained, draft)
    os.rename(path, f"{path}.old")
    with pytest.raises(UserError, match="is not that of"):
        check_same_text(trained, draft)


def test_a_draft_of_another_task(trained, draft):
    other = Experiment(dataclasses.replace(draft.config, task=DenoisingConfig()), draft.workdir)
    with pytest.raises(
        UserError, match=r"the task of the draft .* is 'denoising', that of .* is 'language_modeling'"
    ):
        check_same_text(trained, other)


def test_a_task_that_writes_no_text(trained):
    search = types.SimpleNamespace(config=trained.config)
    with pytest.raises(
        UserError, match="are for tasks that write text; that of this run is 'language_modeling'"
    ):
        search_signatures(search, None, contrastive=True)
