"""One line for each request, whatever a client sends."""

import json
import threading

import pytest

from tflm.errors import UserError
from tflm.serving.server.monitoring import access_log
from tflm.serving.server.monitoring.access_log import AccessLog, one_line

NASTY = 'a\nb\r\n{"model":"forged"}\x1b[31m\x7f\x85\x9b\u2028\u2029\u202e\u200b\ufeff\ud800"\\ 你好 🙂\x00'


def written(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_what_was_written(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.write({"model": "聊天", "label": None, "rows": 2})
    log.write({"model": "chat", "ms": 1.5})
    log.close()
    first, second = written(path)
    assert first.pop("time").endswith("Z")
    assert first == {"model": "聊天", "rows": 2}
    assert (second["model"], second["ms"]) == ("chat", 1.5)
    assert "聊天" in path.read_text(encoding="utf-8")


def test_lines_are_added_to_a_file_that_is_there(tmp_path):
    path = tmp_path / "access.log"
    path.write_text('{"old": 1}\n', encoding="utf-8")
    log = AccessLog(str(path))
    log.write({"new": 1})
    log.close()
    assert [sorted(line)[0] for line in written(path)] == ["old", "new"]


def test_nothing_that_a_client_sends_can_forge_a_line(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.write({"model": NASTY, NASTY: 1})
    log.write({"model": "next"})
    log.close()
    raw = path.read_bytes()
    assert raw.count(b"\n") == 2
    assert not [character for character in raw.decode() if character != "\n" and not character.isprintable()]
    nasty, after = written(path)
    assert nasty["model"] == NASTY
    assert after["model"] == "next"


def test_a_line_keeps_what_can_be_read():
    assert one_line({"text": "你好, 🙂 é\u200d"}) == '{"text":"你好, 🙂 é\\u200d"}'


def test_a_file_that_was_moved_away_is_begun_again(tmp_path):
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    log = AccessLog(str(path))
    log.write({"n": 1})
    until_written(path)
    path.rename(moved)
    log.write({"n": 2})
    log.close()
    assert [written(each)[0]["n"] for each in (moved, path)] == [1, 2]


def until_written(path):
    for _ in range(1000):
        if path.exists() and path.read_text(encoding="utf-8").endswith("\n"):
            return
        threading.Event().wait(0.01)
    raise AssertionError("waited in vain")


def test_a_disk_that_is_too_slow_loses_lines_and_says_how_many(tmp_path, monkeypatch):
    monkeypatch.setattr(access_log, "_MAX_WAITING", 3)
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    with log._handler.lock:  # the disk, for a while
        log.write({"n": 0})
        while log._queue.qsize():  # the thread has taken it, and waits for the disk
            threading.Event().wait(0.001)
        for n in range(1, 9):
            log.write({"n": n})
    until_written(path)
    while log._queue.qsize():
        threading.Event().wait(0.001)
    log.write({"n": 9})
    log.close()
    lines = written(path)
    assert [line["n"] for line in lines] == [0, 1, 2, 3, 9]
    assert lines[-1]["dropped_before"] == 5
    assert "dropped_before" not in lines[0]


def test_closing_writes_what_waits_and_threads_lose_nothing(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    threads = [
        threading.Thread(target=lambda k=k: [log.write({"n": 100 * k + i}) for i in range(100)])
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(line["n"] for line in written(path)) == list(range(800))


def test_standard_error_if_no_file_is_given(capsys):
    log = AccessLog()
    log.write({"model": "chat"})
    log.close()
    assert json.loads(capsys.readouterr().err)["model"] == "chat"


def test_a_file_that_cannot_be_written(tmp_path):
    path = tmp_path / "none" / "access.log"
    with pytest.raises(
        UserError, match=r"--access_log=.*none/access.log cannot be written: No such file.*folder"
    ):
        AccessLog(str(path))


def test_what_cannot_be_written_is_lost_alone(tmp_path, caplog):
    """The folder is gone, and comes back; the message says nothing of what was asked."""
    folder, moved = tmp_path / "logs", tmp_path / "moved"
    folder.mkdir()
    log = AccessLog(str(folder / "access.log"))
    log.write({"n": 0})
    until_written(folder / "access.log")
    folder.rename(moved)
    log.write({"request_text": "secret"})
    while not caplog.messages:
        threading.Event().wait(0.001)
    moved.rename(folder)
    log.write({"n": 2})
    log.close()
    assert [line["n"] for line in written(folder / "access.log")] == [0, 2]
    assert "access log: a line was dropped: [Errno 2] No such file" in caplog.text
    assert "secret" not in caplog.text
