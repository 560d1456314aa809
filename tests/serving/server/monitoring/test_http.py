"""Requests over a real socket: what is counted, what is logged, also of streams and of clients that leave."""

import asyncio
import gzip
import http.client
import json
import socket
import threading
import time
import urllib.parse

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.middleware import Middleware
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.core.telemetry import facts
from tflm.serving.server.monitoring.access_log import AccessLog
from tflm.serving.server.monitoring.http import HttpMonitoring
from tflm.serving.server.monitoring.metrics import Metrics
from tflm.serving.server.monitoring.monitor import Monitor
from tflm.serving.server.rest.http_server import RestServer
from tflm.serving.server.rest.requests import BodyRefused, read_body

MODEL = "聊天"
PATH = "/v1/models/" + urllib.parse.quote(MODEL)


def routes(manager, runner):
    async def predict(request):
        try:
            body = await read_body(request)
        except BodyRefused as error:
            return Response(str(error), error.status)
        facts().signature, facts().num_rows = "chat", 2
        facts().add_tokens(3)
        return Response(body[::-1])

    async def refuse(request):
        facts().status = "FAILED_PRECONDITION"
        return Response("no", 400)

    async def stream(request):
        async def pieces():
            for piece in (b"one ", b"two ", b"three"):
                await asyncio.sleep(0.05)
                yield piece

        return StreamingResponse(pieces())

    async def endless(request):
        async def pieces():
            while True:
                yield b"more "
                await asyncio.sleep(0.01)

        return StreamingResponse(pieces())

    async def break_down(request):
        raise RuntimeError("a bug")

    handlers = {
        ":predict": predict,
        ":classify": refuse,
        "/versions/7:stream": stream,
        "/labels/canary:endless": endless,
        ":regress": break_down,
    }
    return [
        Route(f"/v1/models/{MODEL}{end}", handler, methods=["POST"]) for end, handler in handlers.items()
    ] + [Route("/healthz", lambda request: Response("alive"))]


class Watched:
    """A server with its metrics and its log."""

    def __init__(self, folder, max_text=0):
        self.metrics, self.path = Metrics(), folder / "access.log"
        self.metrics.set_known_models(lambda name: name == MODEL)
        self.log = AccessLog(str(self.path), max_text)
        middleware = Middleware(HttpMonitoring, monitor=Monitor(self.metrics, self.log))
        manager = ModelManager([])
        self.server = RestServer(manager, Runner(4, 30.0), 5.0, more_routes=[routes], middleware=[middleware])
        self.port = self.server.start("127.0.0.1", 0)

    def ask(self, path, body=b"", method="POST", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def lines(self, count):
        """The log's lines, once the expected number is there: another thread writes them."""
        end = time.monotonic() + 20
        while True:
            text = self.path.read_text(encoding="utf-8")
            if text.count("\n") >= count:
                return [json.loads(line) for line in text.splitlines()]
            assert time.monotonic() < end, text
            time.sleep(0.01)

    def number(self, name, **labels):
        for family in text_string_to_metric_families(self.metrics.exposition().decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def close(self):
        self.server.stop()
        self.log.close()


@pytest.fixture
def watched(tmp_path):
    running = Watched(tmp_path)
    yield running
    running.close()


def requests(watched, status, model=MODEL):
    return watched.number(":tensorflow:serving:request_count_total", model_name=model, status=status)


def test_a_request_is_counted_and_logged(watched):
    status, answer, headers = watched.ask(
        PATH + ":predict?token=secret", b"Hello", headers={"X-Request-Id": "id-1"}
    )
    assert (status, answer, headers["X-Request-Id"]) == (200, b"olleH", "id-1")
    [line] = watched.lines(1)
    assert line.pop("ms") > 0
    assert line.pop("time")
    assert line.pop("client").startswith("127.0.0.1:")
    assert line == {
        "request_id": "id-1",
        "entrypoint": "REST",
        "method": "POST",
        "path": PATH + ":predict",
        "api": "predict",
        "model": MODEL,
        "signature": "chat",
        "status": "OK",
        "http_status": 200,
        "rows": 2,
        "tokens": 3,
        "bytes_in": 5,
        "bytes_out": 5,
    }
    assert requests(watched, "OK") == 1
    latency = {"model_name": MODEL, "API": "predict", "entrypoint": "REST"}
    assert watched.number(":tensorflow:serving:request_latency_count", **latency) == 1


def test_every_status_has_its_own_count(watched):
    for _ in range(3):
        watched.ask(PATH + ":classify")
    watched.ask(PATH, method="GET")
    watched.ask("/v1/models/none:predict", b'{"instances": [1]}')
    watched.ask("/v1/models/other:predict", b'{"instances": [1]}')
    lines = watched.lines(6)
    assert requests(watched, "FAILED_PRECONDITION") == 3
    assert requests(watched, "NOT_FOUND") == 1
    assert requests(watched, "NOT_FOUND", "(unknown)") == 2
    assert requests(watched, "OK") is None
    assert [line["http_status"] for line in lines] == [400, 400, 400, 404, 404, 404]
    assert [line["api"] for line in lines[3:]] == ["GetModelStatus", "predict", "predict"]


def test_a_stream_ends_with_its_last_byte(watched):
    status, answer, _ = watched.ask(PATH + "/versions/7:stream", b"{}")
    assert (status, answer) == (200, b"one two three")
    [line] = watched.lines(1)
    assert (line["bytes_out"], line["version"], line["api"], line["status"]) == (13, 7, "stream", "OK")
    assert line["ms"] >= 100


def test_a_client_that_leaves(watched):
    with socket.create_connection(("127.0.0.1", watched.port), timeout=20) as client:
        path = PATH + "/labels/canary:endless"
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        received = b""
        while received.count(b"more") < 2:
            received += client.recv(65536)
        assert watched.number(":tflm:serving:requests_at_work") == 1
    [line] = watched.lines(1)
    assert (line["http_status"], line["status"], line["label"]) == (499, "CANCELLED", "canary")
    assert line["bytes_out"] >= 9
    assert requests(watched, "CANCELLED") == 1
    assert watched.number(":tflm:serving:requests_at_work") == 0


def test_a_bug_is_counted_as_such(watched):
    assert watched.ask(PATH + ":regress")[0] == 500
    [line] = watched.lines(1)
    assert (line["http_status"], line["status"]) == (500, "INTERNAL")
    assert requests(watched, "INTERNAL") == 1


def test_probes_are_neither_logged_nor_counted(watched):
    assert watched.ask("/healthz", method="GET")[0] == 200
    watched.ask("/page", method="GET")
    [line] = watched.lines(1)
    assert (line["path"], line["status"], line["http_status"]) == ("/page", "NOT_FOUND", 404)
    assert "model" not in line
    assert "request_count{" not in watched.metrics.exposition().decode()


def test_many_at_once_are_all_counted(watched):
    def work():
        for _ in range(10):
            watched.ask(PATH + ":predict", b"x")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = watched.lines(80)
    assert requests(watched, "OK") == 80
    assert len({line["request_id"] for line in lines}) == 80
    assert {line["tokens"] for line in lines} == {3}


def test_nothing_of_a_request_forges_a_line_or_tells_a_token(watched):
    headers = {"Authorization": "Bearer top-secret", "X-Request-Id": '"} {"model": "forged"}'}
    watched.ask("/v1/models/a%0A%7B%22forged%22%3A1%7D%1B%5B31m:predict", b"top-secret", headers=headers)
    raw = watched.lines(1) and watched.path.read_text(encoding="utf-8")
    [line] = watched.lines(1)
    assert line["model"] == 'a\n{"forged":1}\x1b[31m'
    assert raw.count("\n") == 1
    assert "\x1b" not in raw
    assert "top-secret" not in raw
    assert len(line["request_id"]) == 32


def test_texts_are_kept_if_asked_for_and_cut(tmp_path):
    watched = Watched(tmp_path, max_text=4)
    try:
        watched.ask(PATH + ":predict", "你好世界再见\n".encode())
        watched.ask(PATH + ":predict", gzip.compress(b"packed"), headers={"Content-Encoding": "gzip"})
        watched.ask(PATH + ":predict", b"junk", headers={"Content-Encoding": "gzip"})
        lines = watched.lines(3)
    finally:
        watched.close()
    assert [line["request_text"] for line in lines] == ["你好世界", "pack", "(not gzip)"]
    assert lines[1]["response_text"] == "dekc"
