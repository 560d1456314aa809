"""Version numbers, and what happens when exports meet or crash."""

import os
import subprocess
import sys
import threading

import pytest

from tflm.errors import UserError
from tflm.export import versions
from tflm.export.versions import reserve, split_output, version_numbers


def publish(output):
    with reserve(str(output)) as reservation:
        with open(os.path.join(reservation.path, "file"), "w", encoding="utf-8") as file:
            file.write("whole")
        return reservation.publish()


def test_the_next_number_is_one_above_the_highest(tmp_path):
    model = tmp_path / "名字"
    assert publish(model) == str(model / "1")
    (model / "12").mkdir()
    (model / "notes").mkdir()
    (model / "013").mkdir()
    (model / "99").write_text("a file, not a version", encoding="utf-8")
    assert version_numbers(str(model)) == [1, 12]
    assert publish(f"{model}/") == str(model / "13")


def test_a_version_can_be_asked_for_once(tmp_path):
    assert split_output("a/b/7/") == ("a/b", 7)
    assert publish(tmp_path / "m" / "7") == str(tmp_path / "m" / "7")
    with pytest.raises(UserError, match=r"m/7' exists. Versions are never overwritten"):
        publish(tmp_path / "m" / "7")
    assert publish(tmp_path / "m") == str(tmp_path / "m" / "8")


def test_a_failed_block_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), reserve(str(tmp_path / "m")) as reservation:
        os.makedirs(os.path.join(reservation.path, "variables"))
        raise RuntimeError
    assert os.listdir(tmp_path / "m") == []


def test_what_a_killed_export_left_is_cleaned_and_its_number_used(tmp_path):
    script = (
        "import os, runpy, sys\nreserve = runpy.run_path(sys.argv[1])['reserve']\n"
        "with reserve(sys.argv[2]) as reservation:\n"
        "    os.mkdir(reservation.path + '/old')\n    open(reservation.path + '/stale', 'w').close()\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, versions.__file__, str(tmp_path / "m")]
    killed = subprocess.run(command, env=environment, check=False)
    assert killed.returncode == -9
    assert sorted(os.listdir(tmp_path / "m" / "1.tmp")) == ["old", "stale"]
    with reserve(str(tmp_path / "m")) as reservation:
        assert reservation.path == str(tmp_path / "m" / "1.tmp")
        assert os.listdir(reservation.path) == []


def test_exports_at_the_same_time_take_different_numbers(tmp_path):
    with reserve(str(tmp_path / "m")) as first, reserve(str(tmp_path / "m")) as second:
        assert (first.version, second.version) == (1, 2)
        with pytest.raises(UserError, match="is being written by another export"), reserve(f"{tmp_path}/m/1"):
            pass
        assert second.publish().endswith("/2")
        assert first.publish().endswith("/1")


def test_many_threads_all_publish(tmp_path):
    paths = []
    threads = [
        threading.Thread(target=lambda: paths.extend(publish(tmp_path / "m") for _ in range(5)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 40
    assert sorted(os.listdir(tmp_path / "m")) == sorted(os.path.basename(path) for path in paths)
    assert all(os.path.isfile(os.path.join(path, "file")) for path in paths)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1.tmp").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot write the export .*1.tmp': File exists"):
        publish(tmp_path / "m")
    assert os.listdir(tmp_path / "m") == ["1.tmp"]


def test_the_process_that_writes_a_version_is_named(tmp_path):
    with reserve(f"{tmp_path}/模型/3"):
        words = (
            rf"3 is being written by another export, process {os.getpid()} on host \S+, since .*\. Leave out"
        )
        with pytest.raises(UserError, match=words):
            publish(f"{tmp_path}/模型/3")
        assert publish(f"{tmp_path}/模型") == f"{tmp_path}/模型/1"


def test_a_version_that_was_published_before_its_lock_was_taken(tmp_path, monkeypatch):
    """Another export publishes between the look at the folder and the lock."""
    monkeypatch.setattr(versions, "version_numbers", lambda folder: [])
    for name in ("1", "2"):
        (tmp_path / "m" / name).mkdir(parents=True)
    assert publish(tmp_path / "m") == str(tmp_path / "m" / "3")


def test_a_number_taken_meanwhile_gives_the_next(tmp_path):
    taken = tmp_path / "m" / "1"
    with reserve(str(tmp_path / "m")) as reservation:
        taken.mkdir()
        (taken / "file").write_text("another program's", encoding="utf-8")
        assert reservation.publish() == str(tmp_path / "m" / "2")
    assert (taken / "file").read_text(encoding="utf-8") == "another program's"


def test_an_asked_for_number_taken_meanwhile_is_refused(tmp_path):
    taken = tmp_path / "m" / "1"
    with pytest.raises(UserError, match="Versions are never overwritten"), reserve(str(taken)) as reservation:
        taken.mkdir()
        (taken / "file").write_text("another program's", encoding="utf-8")
        reservation.publish()
    assert os.listdir(tmp_path / "m") == ["1"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "m").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot make the folder"), reserve(str(tmp_path / "m")):
        pass
