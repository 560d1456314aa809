"""The HTTP server: sockets, bodies and limits around the answers of `rest`, and room for more routes."""

import asyncio
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
from tflm.serving.server.core import json_text
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.core.status import HTTP_STATUS, ServingError
from tflm.serving.server.rest import handlers
from tflm.serving.server.rest.requests import BodyRefused, read_body

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
            drain_seconds: how long `stop` waits for requests in flight.
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
            UserError: a port that is in use or not permitted.
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
        """Takes no more requests, drains those in flight, and ends."""
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
                lambda cancellation: handlers.answer(self._manager, request.method, path, body, cancellation),
            )
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS["CANCELLED"])
        except BodyRefused as error:
            status, answer = error.status, json_text.error_body(str(error))
        except ServingError as error:
            status, answer = HTTP_STATUS[error.code], json_text.error_body(error.message)
        return Response(answer, status, media_type="application/json")


def taken(flag: str, host: str, port: int | None) -> str:
    """The message for a port that is in use or not permitted."""
    return f"cannot listen on {host}, --{flag}={port}: the port is in use or not permitted. Give another, or 0 for any."
