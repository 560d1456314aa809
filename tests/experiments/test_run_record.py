"""What is recorded of each start of a training."""

import json
import os
import subprocess

import pytest

from tflm.experiments.run_record import STARTS_FILE, git_state, record_start
from tflm.training import make_strategy


def test_each_start_is_a_line(trained):
    for step in (0, 2):
        record_start(trained, make_strategy("one_device"), step)
    with open(os.path.join(trained.workdir, STARTS_FILE), encoding="utf-8") as file:
        first, second = map(json.loads, file)
    assert (first["step"], second["step"]) == (0, 2)
    assert first["data_sha256"]["train"] == trained.store("train").fingerprint
    assert len(first["config_sha256"]) == 64 and first["config_sha256"] == second["config_sha256"]
    assert first["packages"]["tensorflow"] and first["num_replicas"] == 1 and first["command"]


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
        return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()

    (tmp_path / "file").write_text("文字", encoding="utf-8")
    git("init", "--quiet")
    git("add", "file")
    git("commit", "--quiet", "--message=one")
    return tmp_path, git("rev-parse", "HEAD")


def test_the_commit_and_whether_files_have_changed(repository):
    folder, commit = repository
    assert git_state(str(folder)) == {"commit": commit, "changed": False}
    (folder / "file").write_text("other", encoding="utf-8")
    assert git_state(str(folder)) == {"commit": commit, "changed": True}


def test_without_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(str(tmp_path)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(str(tmp_path)) is None
