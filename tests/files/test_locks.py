"""Locks: one owner, named in the refusal; a killed process locks nobody out."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from tflm.errors import UserError
from tflm.files import locks

HOLDER = """
import sys
from tflm.files.locks import hold
with hold(sys.argv[1], "it is held", ""):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `运行/train.lock` until a line comes, and that path."""
    path = str(tmp_path / "运行" / "train.lock")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, path]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process, path
        process.kill()


def test_a_second_process_is_refused_and_the_owner_named(holder):
    process, path = holder
    words = rf"'a run' is being trained by process {process.pid} on host \S+, since \d{{4}}-.*\. Wait\."
    with pytest.raises(UserError, match=words), locks.hold(path, "'a run' is being trained", "Wait."):
        pass
    process.communicate("\n")
    with locks.hold(path, "", ""):
        assert str(os.getpid()) in locks.owner(path)
    assert not os.path.exists(path)


def test_a_killed_owner_locks_nobody_out(holder):
    process, path = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.path.exists(path), "the file is left"
    with locks.hold(path, "", ""):
        pass
    assert not os.path.exists(path)


def test_the_same_thread_may_enter_again_and_another_may_not(tmp_path):
    path, refused = str(tmp_path / "a.lock"), []

    def enter():
        try:
            with locks.hold(path, "it is held", ""):
                pass
        except UserError as error:
            refused.append(str(error))

    with locks.hold(path, "", ""):
        with locks.hold(path, "", ""):
            pass
        assert os.path.exists(path), "the inner block does not release it"
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"it is held by process {os.getpid()} on host" in refused[0]
    enter()
    assert len(refused) == 1


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    with locks.hold(str(tmp_path / "new" / "a.lock"), "", ""):
        pass
    assert os.listdir(tmp_path) == []


def test_waiting_for_another(tmp_path):
    path, order = str(tmp_path / "a.lock"), []
    started = threading.Event()

    def second():
        started.set()
        with locks.wait_for(path, "the store"):
            order.append("second")

    with locks.wait_for(path, "the store"):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and os.listdir(tmp_path) == []


def test_many_threads_one_owner_at_a_time(tmp_path):
    path, inside, most = str(tmp_path / "a.lock"), [], []

    def work():
        for _ in range(20):
            with locks.wait_for(path, "it"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 120 and os.listdir(tmp_path) == []


def test_a_file_system_without_locks_is_reported_once(tmp_path, monkeypatch):
    def flock(handle, kind):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    warnings = []
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(locks.logging, "warning", lambda text, *values: warnings.append(text % values))
    for _ in range(2):
        with locks.hold(str(tmp_path / "a.lock"), "", ""):
            pass
    assert len(warnings) == 1 and "is on a file system without locks (No locks available)" in warnings[0]


def test_places_where_no_lock_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    made = locks.hold(str(tmp_path / "file" / "a.lock"), "", "")
    with pytest.raises(UserError, match=r"cannot make the folder .*file': File exists"), made:
        pass
    (tmp_path / "a.lock").mkdir()
    waited_for = locks.wait_for(str(tmp_path / "a.lock"), "")
    with pytest.raises(UserError, match=r"cannot write the lock .*a.lock': Is a directory"), waited_for:
        pass
