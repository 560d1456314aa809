"""The HTTP server: sockets, bodies and limits around the answers of `rest`, and room for more routes."""

import asyncio
import gzip
import io
import re
import socket
import ssl
import threading
from collections.abc import Callable, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tflm.errors import UserError
from tflm.serving.server import json_text, rest
from tflm.serving.server.manager import ModelManager
from tflm.serving.server.runner import Runner
from tflm.serving.server.servable import MAX_BODY_BYTES
from tflm.serving.server.status import HTTP_STATUS, ServingError

_API = re.compile("/v1/.*", re.IGNORECASE)
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]

Routes = Callable[[ModelManager, Runner], Sequence[BaseRoute]]
"""Makes routes beyond TensorFlow Serving's; they are looked at first."""


class RestServer:
    """uvicorn in a thread of its own, so that signals stay the main program's."""

    def __init__(
        self,
        manager: ModelManager,
        runner: Runner,
        drain_seconds: float = 30.0,
        more_routes: Sequence[Routes] = (),
        middleware: Sequence[Middleware] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listens nowhere yet.

        Args:
            drain_seconds: how long `stop` waits for the requests that are being answered.
            more_routes: such as `event_stream.routes`.
            middleware: the outermost first.
            tls: None for plain text.
        """
        self._manager, self._runner = manager, runner
        routes = [route for make in more_routes for route in make(manager, runner)]
        routes.append(Route("/{path:path}", self._respond, methods=_METHODS))
        app = Starlette(routes=routes, middleware=middleware)
        app.router.redirect_slashes = False  # another path is another path, as for the stock server
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client could write any address into the log
            ws="none",
            timeout_graceful_shutdown=max(1, round(drain_seconds)),
        )
        config.load()
        config.ssl = tls
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> int:
        """Listens and answers; the port.

        Raises:
            UserError: a port that cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Without the protocol's number asyncio would leave Nagle's algorithm on: 40 ms for each request.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise UserError(taken("rest_api_port", host, port)) from error
        listener.listen(128)  # from here on connections wait until they are answered
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[listener])), name="rest", daemon=True
        )
        self._thread.start()
        return int(listener.getsockname()[1])

    def stop(self) -> None:
        """Takes no more requests, waits for those at work, and ends."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._runner.close()

    async def _respond(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        if not _API.fullmatch(path):
            return Response("<html><body><h1>Not Found</h1></body></html>\n", 404, media_type="text/html")
        try:
            body = await read_body(request)
            status, answer = await self._runner.run(
                request,
                lambda cancellation: rest.answer(self._manager, request.method, path, body, cancellation),
            )
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS["CANCELLED"])
        except BodyRefused as error:
            status, answer = error.status, json_text.error_body(str(error))
        except ServingError as error:
            status, answer = HTTP_STATUS[error.code], json_text.error_body(error.message)
        return Response(answer, status, media_type="application/json")


class BodyRefused(Exception):
    """A body that is too large, or not what it says it is.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request) -> bytes:
    """The body, unpacked where it is gzip, within `MAX_BODY_BYTES` before and after.

    Raises:
        BodyRefused: too large, or not gzip.
        ClientDisconnect: the client has left.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyRefused(413, _too_large())
        chunks.append(chunk)
    body = b"".join(chunks)
    if "gzip" not in request.headers.get("content-encoding", "").lower():
        return body
    try:
        body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_BODY_BYTES + 1)
    except (OSError, EOFError, ValueError) as error:
        raise BodyRefused(400, f"The request's body is not gzip: {error}") from error
    except Exception as error:  # zlib.error, for a damaged stream
        raise BodyRefused(400, f"The request's gzip body is damaged: {error}") from error
    if len(body) > MAX_BODY_BYTES:
        raise BodyRefused(413, _too_large())
    return body


def taken(flag: str, host: str, port: int | None) -> str:
    """The message for a port that cannot be had."""
    return f"--{flag}={port} on {host} cannot be listened on: it is taken, or not ours. Give another, or 0 for any."


def _too_large() -> str:
    return f"The request's body is larger than {MAX_BODY_BYTES} bytes. Send fewer rows at a time."
