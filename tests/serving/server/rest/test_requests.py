"""The bodies of all requests together take no more memory than they may, and what they took comes back."""

import json
import socket

import pytest
from starlette.middleware import Middleware

from tests.serving.conformance import served_model
from tests.serving.server.writing_models import ask
from tests.serving.waiting import until
from tflm.serving.server import ModelConfig, ModelManager
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.rest.http_server import RestServer
from tflm.serving.server.rest.requests import BodyBudget

PATH = "/v1/models/probe:predict"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    served_model.write(folder, versions=[1])
    manager = ModelManager([ModelConfig("probe", str(folder / "probe"))])
    manager.start()
    server = RestServer(
        manager, Runner(8, 20.0), drain_seconds=1.0, middleware=[Middleware(BodyBudget, max_bytes=5000)]
    )
    yield server.start("127.0.0.1", 0)
    server.stop()
    manager.stop()


def body(size):
    text = "你" * ((size - 20) // 3)
    return json.dumps({"instances": [text]}, ensure_ascii=False).encode().ljust(size)


def begun(port, size, sent):
    """A connection over which a part of a request has been sent."""
    connection = socket.create_connection(("127.0.0.1", port), 20)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    connection.sendall(head + body(size)[:sent])
    return connection


def test_a_body_beyond_the_budget(port):
    for _ in range(3):
        status, _, answer = ask(port, body(5001), PATH)
        assert (
            status == 503
            and "server overloaded: request bodies in flight exceed" in json.loads(answer)["error"]
        )
        assert ask(port, body(5000), PATH)[0] == 200, "what was taken has come back"


def test_what_another_request_holds_is_missing_until_it_is_answered(port):
    with begun(port, 4000, 3000) as connection:
        until(lambda: ask(port, body(3000), PATH)[0] == 503)
        assert ask(port, body(1500), PATH)[0] == 200
        connection.sendall(body(4000)[3000:])
        assert connection.recv(2**12).startswith(b"HTTP/1.1 200")
        until(lambda: ask(port, body(3000), PATH)[0] == 200)


def test_what_a_client_that_left_had_sent_comes_back(port):
    with begun(port, 4000, 3000):
        until(lambda: ask(port, body(3000), PATH)[0] == 503)
    until(lambda: ask(port, body(5000), PATH)[0] == 200)
