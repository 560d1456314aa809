"""The folder: all that it names is there, what was changed is kept, and no reader takes it for a version."""

import os
import shutil

import pytest

from tflm.errors import UserError
from tflm.export import version_numbers
from tflm.export.deploy import DEPLOY_FOLDER, write_deployment
from tflm.serving.runtime.local import find_version
from tflm.serving.server import ModelConfig

FILES = {
    "README.md",
    "batching.config",
    "docker-compose.yaml",
    "kubernetes.yaml",
    "kustomization.yaml",
    "models.config",
    "monitoring.config",
}


def test_the_files(made, tmp_path):
    done = write_deployment(made(made.writer).path)
    assert done.folder == str(tmp_path / "chat" / DEPLOY_FOLDER)
    assert set(done.written) == FILES
    assert done.kept == ()
    assert set(os.listdir(done.folder)) == FILES | {".written.json"}


def test_unchanged_files_follow_the_model(made, tmp_path):
    write_deployment(made(made.classifier).path)
    batching = tmp_path / "chat" / DEPLOY_FOLDER / "batching.config"
    assert "NOT USED" not in batching.read_text(encoding="utf-8")
    done = write_deployment(made(made.writer, version=2).path)
    assert set(done.written) == FILES
    assert "NOT USED" in batching.read_text(encoding="utf-8")


def test_changed_files_are_kept(made, tmp_path):
    write_deployment(made(made.classifier).path)
    changed = tmp_path / "chat" / DEPLOY_FOLDER / "models.config"
    changed.write_text("# 我的\n", encoding="utf-8")
    for version in (2, 3):
        done = write_deployment(made(made.writer, version=version).path)
        assert done.kept == ("models.config",)
        assert changed.read_text(encoding="utf-8") == "# 我的\n"
    changed.unlink()
    assert "models.config" in write_deployment(made(made.writer, version=4).path).written


def test_files_that_were_there_before_are_kept(made, tmp_path):
    folder = tmp_path / "chat" / DEPLOY_FOLDER
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("mine", encoding="utf-8")
    (folder / ".written.json").write_text("no JSON", encoding="utf-8")
    assert write_deployment(made(made.writer).path).kept == ("README.md",)
    assert (folder / "README.md").read_text(encoding="utf-8") == "mine"


def test_no_reader_takes_it_for_a_version(made, tmp_path):
    path = made(made.writer, version=3).path
    write_deployment(path)
    folder = str(tmp_path / "chat")
    assert version_numbers(folder) == [3]
    assert find_version(folder) == path
    assert ModelConfig("chat", folder, num_latest=0).wanted() == {3: path}


def test_a_folder_that_cannot_be_written(made, tmp_path):
    path = made(made.writer).path
    (tmp_path / "chat" / DEPLOY_FOLDER).write_text("a file", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"cannot write .*deploy.*The model itself is exported: .*--deploy=false"
    ):
        write_deployment(path)


def test_the_version_may_end_in_a_slash(made, tmp_path):
    path = made(made.writer).path
    assert write_deployment(f"{path}/").folder == str(tmp_path / "chat" / DEPLOY_FOLDER)
    shutil.rmtree(tmp_path / "chat" / DEPLOY_FOLDER)
