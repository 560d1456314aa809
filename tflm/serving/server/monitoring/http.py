"""Monitoring over HTTP: middleware that times every request, streams included; liveness and readiness.

GET /healthz                          200 while the process answers
GET /readyz                           200 while every configured model can be used; 503 with the reasons
GET /monitoring/prometheus/metrics    the metrics, where the stock server has them
"""

import re
import threading
import time
import urllib.parse
import zlib
from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tflm.serving.server.core.manager import ModelManager, Version
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.core.status import HTTP_STATUS, ServingError
from tflm.serving.server.core.telemetry import RequestFacts, gathering
from tflm.serving.server.monitoring.metrics import CONTENT_TYPE, Metrics
from tflm.serving.server.monitoring.monitor import (
    LIVE_PATH,
    READY_PATH,
    Exchange,
    Monitor,
    MonitoringConfig,
    request_id,
)
from tflm.serving.server.rest.http_server import Routes

_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())} | {500: "INTERNAL"}
_LEFT = HTTP_STATUS["CANCELLED"]
_MODEL = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,19})|/labels/(?P<label>[^/:]+))?"
    r"(?::(?P<verb>[a-z_]{1,40})|(?P<metadata>/metadata))?",
    re.IGNORECASE,
)


class HttpMonitoring:
    """Pure ASGI middleware; the outermost, so that what others refuse is seen, too.

    RestServer(manager, runner, middleware=[Middleware(HttpMonitoring, monitor=monitor)])

    An answer is over with its last byte; a client that leaves before has the status 499, CANCELLED, whatever was begun.
    The answer carries the request's id as `X-Request-Id`.
    """

    def __init__(self, app: ASGIApp, monitor: Monitor) -> None:
        self._app, self._monitor = app, monitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        with gathering() as facts:
            _read_path(_raw_path(scope), facts)
            watched = _Watched(scope, receive, send, facts, self._monitor.max_text)
            try:
                with self._monitor.at_work(scope["path"]):
                    await self._app(scope, watched.receive, watched.send)
            except (ClientDisconnect, OSError):
                watched.has_left = True
                raise
            finally:
                self._monitor.finished(watched.exchange_after(time.perf_counter() - began))


class _Watched:
    """Looks at what goes to and fro in one request."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, facts: RequestFacts, max_text: int
    ) -> None:
        self._receive, self._send, self._max_text = receive, send, max_text
        headers = dict(scope["headers"])
        self.has_left = False
        self._is_complete = False
        self._is_packed = b"gzip" in headers.get(b"content-encoding", b"").lower()
        self._question, self._answer = bytearray(), bytearray()
        sent_id = headers.get(b"x-request-id", b"").decode("latin-1")
        self._exchange = Exchange(
            "REST",
            scope["method"],
            _raw_path(scope),
            "{}:{}".format(*scope["client"]) if scope.get("client") else "",
            request_id(sent_id),
            facts,
        )

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.has_left |= not self._is_complete
        else:
            body = message.get("body", b"")
            self._exchange.bytes_in += len(body)
            self._question += body[: self._room(self._question)]
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._exchange.http_status = message["status"]
            identity = (b"x-request-id", self._exchange.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), identity]}
        await self._send(message)
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            self._exchange.bytes_out += len(body)
            self._answer += body[: self._room(self._answer)]
            self._is_complete = not message.get("more_body", False)

    def exchange_after(self, seconds: float) -> Exchange:
        """What has happened, once the app has returned or failed."""
        exchange = self._exchange
        exchange.seconds = seconds
        if self.has_left:
            exchange.http_status, exchange.status = _LEFT, "CANCELLED"
        elif not self._is_complete:  # it failed with an exception
            exchange.http_status, exchange.status = exchange.http_status or 500, "INTERNAL"
        else:
            exchange.status = exchange.facts.status or _code(exchange.http_status or 500)
        if self._max_text:
            exchange.request_text = _text(self._question, self._is_packed, self._max_text)
            exchange.response_text = _text(self._answer, False, self._max_text)
        return exchange

    def _room(self, kept: bytearray) -> int:
        return 4 * self._max_text - len(kept)  # a character has up to four bytes


def _read_path(raw_path: str, facts: RequestFacts) -> None:
    """Model, version, label and verb of TensorFlow Serving's URLs.

    >>> _read_path("/v1/models/chat/versions/2:predict", facts)
    RequestFacts(model="chat", version=2, api="predict")
    """
    match = _MODEL.fullmatch(raw_path)
    if match is None:
        return
    facts.model = urllib.parse.unquote(match["name"])
    facts.version = None if match["version"] is None else int(match["version"])
    facts.label = None if match["label"] is None else urllib.parse.unquote(match["label"])
    call = "GetModelMetadata" if match["metadata"] else "GetModelStatus"
    facts.api = match["verb"].lower() if match["verb"] else call


def _raw_path(scope: Scope) -> str:
    return scope["raw_path"].decode("latin-1")


def _code(status: int) -> str:
    if status < 400:
        return "OK"
    return _CODES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")


def _text(body: bytearray, is_packed: bool, max_text: int) -> str:
    data = bytes(body)
    if is_packed:
        try:
            data = zlib.decompressobj(31).decompress(data, 4 * max_text)
        except zlib.error:
            return "(not gzip)"
    return data.decode("utf-8", "replace")[:max_text]


def health_routes(
    stopping: threading.Event,
    metrics: Metrics | None = None,
    metrics_path: str = MonitoringConfig.path,
) -> Routes:
    """Makes the routes, for `RestServer(..., more_routes=[health_routes(stopping, metrics)])`.

    Args:
        stopping: set when the server takes no more requests: from then on it is not ready.
        metrics: None for no metrics page.
        metrics_path: where they are.
    """

    def make(manager: ModelManager, runner: Runner) -> Sequence[BaseRoute]:
        async def live(request: Request) -> Response:
            return JSONResponse({"status": "alive"})

        async def ready(request: Request) -> Response:
            reasons = ["the server is stopping"] if stopping.is_set() else not_ready(manager)
            if reasons:
                return JSONResponse({"status": "not ready", "reasons": reasons}, 503)
            return JSONResponse({"status": "ready"})

        routes = [Route(LIVE_PATH, live), Route(READY_PATH, ready)]
        if metrics is not None:

            def page(request: Request) -> Response:  # in a thread of its own: it takes milliseconds
                return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

            routes.append(Route(metrics_path, page))
        return routes

    return make


def not_ready(manager: ModelManager) -> list[str]:
    """Why the configured models cannot all be used, a sentence for each that cannot; none when they can.

    >>> not_ready(manager)
    ['model chat has no version that is AVAILABLE: 3 is LOADING']

    Codes, not messages: a message may name a path, and everybody may ask.
    """
    reasons = []
    for config in manager.configs():
        try:
            versions = manager.status(config.name)
        except ServingError:
            versions = []
        if not any(version.state == "AVAILABLE" for version in versions):
            where = ", ".join(_standing(version) for version in versions) or "no version in its folder"
            reasons.append(f"model {config.name} has no version that is AVAILABLE: {where}")
    return reasons


def _standing(version: Version) -> str:
    return f"{version.number} is {version.state}" + (f" ({version.error.code})" if version.error else "")
