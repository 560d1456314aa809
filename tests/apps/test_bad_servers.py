"""A server that goes away while an app asks it: what was answered stays printed, one line says what happened and how to
go on, and the exit code is 1."""

import contextlib
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import types

import pytest

from apps.common.items import Printer
from tests.apps import small_models
from tests.apps.conftest import built_once
from tests.apps.refusals import check
from tests.apps.small_models import APPS

LINES = ["a", "你好", "😀", "b", ""]
WENT = "connection lost before the response was complete"


class Proxy(socketserver.ThreadingTCPServer):
    """Passes connections to the server behind it, so many; the next is ended in another way."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, port):
        self.behind, self.left, self.end = port, 0, b""
        super().__init__(("127.0.0.1", 0), Passing)


class Passing(socketserver.BaseRequestHandler):
    """One connection, which serves one request: the server is asked to close it."""

    def handle(self):
        self.server.left -= 1
        if self.server.left < 0:
            if self.server.end:
                self.request.recv(65536)
                self.request.sendall(self.server.end)
            return
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
            head = self.request.recv(65536)
            behind.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            threading.Thread(target=pump, args=[self.request, behind], daemon=True).start()
            pump(behind, self.request)


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Name to path of models."""
    return built_once(tmp_path_factory, "small_models", small_models.save_all)


@contextlib.contextmanager
def serving(models):
    """A server of ours with all models: its ports, and `stop()`."""
    from tflm.serving.server import ModelConfig, ModelManager, Server

    manager = ModelManager([ModelConfig(name, path) for name, path in models.items()])
    manager.start()
    with contextlib.ExitStack() as stack:
        stack.callback(manager.stop)
        running = stack.enter_context(Server(manager, rest_port=0, grpc_port=0, drain_seconds=1))
        yield types.SimpleNamespace(rest=running.rest_port, grpc=running.grpc_port, stop=stack.close)


@pytest.fixture(scope="module")
def proxy(small):
    with serving(small) as running, Proxy(running.rest) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def file(tmp_path):
    """The path of a file of LINES."""
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return f"{tmp_path}/lines.txt"


def from_folder(call, small, app, lines):
    """What an app prints for lines with the model's folder, one by one."""
    return "".join(call(app, f"--model={small[APPS[app]]}", f"--text={line}").out for line in lines)


@pytest.mark.parametrize("app", APPS)
def test_what_was_answered_stays_and_the_rest_follows_by_offset(call, proxy, small, file, app):
    url = f"http://127.0.0.1:{proxy.server_address[1]}/v1/models/{APPS[app]}"
    arguments = [app, f"--model={url}", f"--input={file}", "--batch_size=1"]
    proxy.left, proxy.end = 3, b""  # the signatures, and two lines
    done = call(*arguments)
    error = check(done, 1, WENT)
    assert done.out == from_folder(call, small, app, LINES[:2])
    assert error.endswith(" 2 lines are done; continue with --offset=2.")
    proxy.left = 99
    rest = call(*arguments, "--offset=2")
    assert rest.code == 0, rest.err
    assert done.out + rest.out == from_folder(call, small, app, LINES)


HTTP = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (b"", WENT),
        (HTTP % (b"200 OK", 500) + b'{"outputs": {"label', WENT),  # cut in the middle
        (b"\xff\xfe nonsense", WENT),
        (HTTP % (b"200 OK", 6) + b"<html>", "not the response of a model server: '<html>'"),
        (HTTP % (b"200 OK", 15) + b'{"outputs": {}}', "the response does not match the signature"),
        (HTTP % (b"500 Broken", 17) + b'{"error": "\xe5\x9d\x8f\xff"}', "坏? (HTTP 500)"),
        (HTTP % (b"404 Gone", 17) + b'{"error": "none"}', "none (HTTP 404)"),
    ],
    ids=range(7),
)
def test_ends_of_many_kinds(call, proxy, small, file, end, words):
    """A batch of two lines is answered, the next is not: none of it is printed."""
    url = f"http://127.0.0.1:{proxy.server_address[1]}/v1/models/labels"
    proxy.left, proxy.end = 2, end
    done = call("classify", f"--model={url}", f"--input={file}", "--batch_size=2")
    check(done, 1, words)
    assert done.out == from_folder(call, small, "classify", LINES[:2])
    proxy.left = 0
    done = call("classify", f"--model={url}", "--text=a")
    check(done, 1)
    assert done.out == ""


@pytest.mark.parametrize("stream", ["--stream", "--nostream"])
def test_in_the_middle_of_a_conversation(call, proxy, stream):
    """With --stream also in the middle of an answer: what came of it stays."""
    url = f"http://127.0.0.1:{proxy.server_address[1]}/v1/models/talker"
    proxy.left, proxy.end = 1 + (3 if stream == "--stream" else 1), b""
    done = call("chat", f"--model={url}", stream, stdin="你\nb\nc\n".encode())
    check(done, 1, WENT)
    assert done.out.splitlines() == (["<你>", "<"] if stream == "--stream" else ["<你>"])


def test_vectors_of_all_lines_or_no_file(call, proxy, file, tmp_path):
    url = f"http://127.0.0.1:{proxy.server_address[1]}/v1/models/vectors"
    proxy.left, proxy.end = 3, b""
    (tmp_path / "v.npy").write_bytes(b"before")
    done = call("embed", f"--model={url}", f"--input={file}", "--batch_size=1", f"--output={tmp_path}/v.npy")
    check(done, 1, WENT)
    assert done.out == ""
    assert (tmp_path / "v.npy").read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["lines.txt", "v.npy"]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_stops_for_good(call, small, file, monkeypatch, scheme):
    show = Printer.show
    with serving({"labels": small["labels"]}) as running:
        shown = []

        def show_and_stop(printer, record):
            show(printer, record)
            shown.append(record)
            if len(shown) == 3:
                running.stop()

        urls = {"http": f"http://127.0.0.1:{running.rest}/v1/models/labels"}
        urls["grpc"] = f"grpc://127.0.0.1:{running.grpc}/labels"
        expected = from_folder(call, small, "classify", LINES[:3])
        monkeypatch.setattr(Printer, "show", show_and_stop)
        done = call("classify", f"--model={urls[scheme]}", f"--input={file}", "--batch_size=1")
    error = check(done, 1, "cannot connect to the server")
    assert done.out == expected
    assert re.search(r"cannot connect to the server.* 3 lines are done; continue with --offset=3\.$", error)


@pytest.mark.slow
def test_a_server_of_its_own_that_is_killed(call, small, file, monkeypatch, checkout):
    command = [sys.executable, "-m", "apps.serve", f"--model_base_path={small['spans']}", "--model_name=标"]
    process = subprocess.Popen(
        [*command, "--rest_api_port=0", "--port=0"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    show = Printer.show
    try:
        url = process.stdout.readline().split()[1]
        expected = from_folder(call, small, "tag", LINES[:1])

        def show_and_kill(printer, record):
            show(printer, record)
            process.kill()
            process.wait()

        monkeypatch.setattr(Printer, "show", show_and_kill)
        done = call("tag", f"--model={url}", f"--input={file}", "--batch_size=1")
    finally:
        process.kill()
        process.communicate()
    assert done.out == expected
    assert check(done, 1).endswith(" 1 lines are done; continue with --offset=1.")
