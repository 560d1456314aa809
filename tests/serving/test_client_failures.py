"""Servers that are slow, busy, broken or none at all: the client says which, in time, and tries again what may be."""

import contextlib
import email.utils
import http.server
import json
import socket
import socketserver
import threading
import time
from typing import ClassVar

import pytest

from tflm.serving.client.grpc import GrpcModel
from tflm.serving.client.remote import (
    DeadlineExceeded,
    NotFound,
    Overloaded,
    RequestError,
    ServerError,
    Unauthorized,
)
from tflm.serving.client.rest import RestModel


def test_a_slow_answer_is_given_up(server):
    for model in (RestModel(f"{server.url}/v1/models/probe"), GrpcModel(f"grpc://{server.grpc}/probe")):
        model._timeout = 0.4  # from here on: connecting may take longer on a busy machine
        with pytest.raises(DeadlineExceeded, match=r"deadline exceeded: no response within 0.4 seconds"):
            model.predict("wait", {"seconds": [20.0]})


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers from a list of (status, body, headers); None closes the connection without a word."""

    answers: ClassVar[list] = []
    asked, last_path = 0, ""

    def do_GET(self):
        type(self).asked += 1
        type(self).last_path = self.path
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.answers.pop(0)
        if answer is not None:
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            for name, value in answer[2:]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer[1])

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def scripted():
    """`scripted(answers)` is the URL of a model whose server gives them in turn."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()

    def start(*answers):
        Scripted.answers, Scripted.asked = list(answers), 0
        return f"http://127.0.0.1:{server.server_port}/v1/models/m"

    yield start
    server.shutdown()
    server.server_close()


EMPTY = json.dumps({"metadata": {"signature_def": {"signature_def": {}}}}).encode()
BUSY = (503, b'{"error": "The batch scheduling queue is full"}')


@pytest.mark.parametrize("typed", ["聊 天", "%E8%81%8A%20天"])
def test_a_name_is_percent_encoded_once(scripted, typed):
    RestModel(scripted((200, EMPTY)).removesuffix("m") + typed)
    assert Scripted.last_path == "/v1/models/%E8%81%8A%20%E5%A4%A9/metadata"


def test_a_number_that_the_declared_dtype_cannot_hold(scripted):
    side = {"x": {"dtype": "DT_UINT8", "tensor_shape": {"dim": [{"size": "-1"}]}}}
    declared = {"metadata": {"signature_def": {"signature_def": {"s": {"inputs": side, "outputs": side}}}}}
    model = RestModel(scripted((200, json.dumps(declared).encode()), (200, b'{"outputs": [300]}')))
    with pytest.raises(ServerError, match="/m: the response does not match the signature: OverflowError"):
        model.predict("s", {"x": [1]})


def test_unavailable_is_tried_again(scripted):
    assert RestModel(scripted(BUSY, BUSY, (200, EMPTY))).signatures == {}
    with pytest.raises(Overloaded, match=r"queue is full \(HTTP 503\)"):
        RestModel(scripted(BUSY, BUSY), retries=1)
    assert Scripted.asked == 2


@pytest.mark.parametrize("status", [503, 429])
def test_a_server_says_when_to_come_again(scripted, status, monkeypatch):
    pauses = []
    monkeypatch.setattr("tflm.serving.client.remote.time.sleep", pauses.append)
    later = email.utils.formatdate(time.time() + 60, usegmt=True)
    busy = [(status, BUSY[1], ("Retry-After", value)) for value in ("7", later)]
    assert RestModel(scripted(*busy, (200, EMPTY))).signatures == {}
    assert pauses[0] == 7.0
    assert 50 < pauses[1] <= 60
    pauses.clear()
    with pytest.raises(Overloaded, match=rf"queue is full \(HTTP {status}\)"):
        RestModel(scripted((status, BUSY[1], ("Retry-After", "3600"))))  # longer than the deadline
    assert pauses == []


@pytest.mark.parametrize(
    "status, kind, code",
    [
        (400, RequestError, "INVALID_ARGUMENT"),
        (401, Unauthorized, "UNAUTHENTICATED"),
        (403, Unauthorized, "PERMISSION_DENIED"),
        (404, NotFound, "NOT_FOUND"),
        (413, RequestError, "INVALID_ARGUMENT"),
        (429, Overloaded, "RESOURCE_EXHAUSTED"),
        (499, ServerError, "CANCELLED"),
        (500, ServerError, "INTERNAL"),
        (502, ServerError, "INTERNAL"),
        (504, DeadlineExceeded, "DEADLINE_EXCEEDED"),
    ],
)
def test_every_status_has_a_class_and_a_code(scripted, status, kind, code):
    with pytest.raises(kind, match=rf"/m: 不 \(HTTP {status}\)") as caught:
        RestModel(scripted((status, '{"error": "不"}'.encode()), (200, EMPTY)))
    assert (type(caught.value), caught.value.code, Scripted.asked) == (kind, code, 1)


def test_a_server_that_comes_back_is_found(server):
    """Also by gRPC, which itself would wait longer before it looks again."""
    proxy = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Passing, bind_and_activate=False)
    proxy.server_bind()  # connections are refused until it listens, and no other process can take the port
    port, found = proxy.socket.getsockname()[1], []
    asker = threading.Thread(
        target=lambda: found.append(GrpcModel(f"grpc://127.0.0.1:{port}/probe", retries=9))
    )
    asker.start()
    time.sleep(0.3)
    with proxy:
        proxy.server_activate()
        proxy.daemon_threads, proxy.behind = True, server.grpc.rsplit(":", 1)
        threading.Thread(target=proxy.serve_forever, args=[0.01], daemon=True).start()
        asker.join()
        found[0].close()
        proxy.shutdown()
    assert "serving_default" in found[0].signatures


class Passing(socketserver.BaseRequestHandler):
    """Passes a connection on."""

    def handle(self):
        with socket.create_connection(self.server.behind) as behind:
            threading.Thread(target=pump, args=[self.request, behind], daemon=True).start()
            pump(behind, self.request)


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("end", [None, b"\xff\xfe nonsense\r\n\r\n"], ids=["silent", "garbage"])
@pytest.mark.parametrize(
    "form", ["http://{}/v1/models/m", "https://{}/v1/models/m", "grpc://{}/m", "grpcs://{}/m"]
)
def test_what_listens_there_is_no_model_server(end, form):
    """It takes connections and says nothing, or nonsense, whatever the protocol: an error, in time."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            if end:
                self.request.sendall(end)
                self.request.recv(65536)
            else:
                over.wait(20)

    over, model = threading.Event(), GrpcModel if "grpc" in form else RestModel
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        with pytest.raises(ServerError, match="/m: ") as caught:
            model(form.format(f"127.0.0.1:{server.server_address[1]}"), timeout=0.3)
        over.set()
        server.shutdown()
    assert "\n" not in str(caught.value)
    if not end and form.startswith(("http:", "grpc:")):  # after 20 seconds it would go away
        assert isinstance(caught.value, DeadlineExceeded)


@pytest.mark.parametrize(
    "answer, words",
    [
        (None, "connection lost before the response was complete"),
        ((500, b'{"error": "kernel\xff"}'), r"kernel. \(HTTP 500\)"),
        ((504, b'{"error": "Timed out"}'), r"Timed out \(HTTP 504\)"),
        ((200, b"<html>"), "not the response of a model server: '<html>'"),
        ((200, b"{}"), "not the metadata of a model server"),
        ((302, b""), "not the response of a model server"),
    ],
)
def test_other_failures_are_not_tried_again(scripted, answer, words):
    with pytest.raises(ServerError, match=words) as caught:
        RestModel(scripted(answer, (200, EMPTY)))
    assert "\n" not in str(caught.value)
    assert Scripted.asked == 1
