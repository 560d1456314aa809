"""The server: REST and gRPC on two ports, each in threads of its own, over one set of models."""

import asyncio
import concurrent.futures
import gzip
import io
import os
import re
import socket
import threading
from typing import Any

import grpc
import uvicorn
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from tensorflow_serving.apis import (
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

from tflm.errors import UserError
from tflm.serving.server import json_text, rest
from tflm.serving.server.cancellation import Cancellation
from tflm.serving.server.grpc_service import ModelService, PredictionService
from tflm.serving.server.manager import ModelManager
from tflm.serving.server.status import HTTP_STATUS

MAX_BODY_BYTES = 64 * 2**20
_API = re.compile("/v1/.*", re.IGNORECASE)
_WORKERS = max(8, 4 * (os.cpu_count() or 1))
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]


class Server:
    """Serves the models of a manager until it is stopped.

        with Server(manager, rest_port=8501) as server:
            print(server.rest_port)

    Attributes:
        rest_port, grpc_port: those that are listened on, also where 0 was asked for; None where none was.
    """

    def __init__(
        self,
        manager: ModelManager,
        host: str = "127.0.0.1",
        rest_port: int | None = 8501,
        grpc_port: int | None = None,
        rest_timeout_seconds: float = 30.0,
        drain_seconds: float = 30.0,
    ) -> None:
        """Listens nowhere yet.

        Args:
            manager: already started.
            host: the address to listen on.
            rest_port, grpc_port: 0 for any free one, None for none.
            rest_timeout_seconds: after these a REST request is given up and answered with 504.
            drain_seconds: how long `stop` waits for the requests that are being answered.
        """
        self.manager, self.host = manager, host
        self.rest_port, self.grpc_port = rest_port, grpc_port
        self._drain_seconds = drain_seconds
        self._rest = _Rest(manager, rest_timeout_seconds, drain_seconds)
        self._grpc: grpc.Server | None = None

    def start(self) -> None:
        """Listens and answers.

        Raises:
            UserError: a port that cannot be had.
        """
        if self.grpc_port is not None:
            self._health = health.HealthServicer()
            self._grpc = _grpc_server(self.manager, self._health)
            try:
                self.grpc_port = self._grpc.add_insecure_port(f"{self.host}:{self.grpc_port}")
            except RuntimeError as error:
                raise UserError(_taken("port", self.host, self.grpc_port)) from error
        if self.rest_port is not None:
            self.rest_port = self._rest.start(self.host, self.rest_port)
        if self._grpc is not None:
            self._grpc.start()
            self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        """Takes no more requests, waits for those at work, and ends."""
        ended = None
        if self._grpc is not None:
            self._health.enter_graceful_shutdown()
            ended = self._grpc.stop(self._drain_seconds)
        self._rest.stop()
        if ended is not None:
            ended.wait()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Rest:
    """uvicorn in a thread of its own, so that signals stay the main program's."""

    def __init__(self, manager: ModelManager, timeout_seconds: float, drain_seconds: float) -> None:
        self._manager, self._timeout = manager, timeout_seconds
        self._workers = concurrent.futures.ThreadPoolExecutor(_WORKERS, "rest")
        app = Starlette(routes=[Route("/{path:path}", self._respond, methods=_METHODS)])
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
            )
        )
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> int:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise UserError(_taken("rest_api_port", host, port)) from error
        listener.listen(128)  # from here on connections wait until they are answered
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[listener])), name="rest", daemon=True
        )
        self._thread.start()
        return int(listener.getsockname()[1])

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _respond(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        if not _API.fullmatch(path):
            return Response("<html><body><h1>Not Found</h1></body></html>\n", 404, media_type="text/html")
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS["CANCELLED"])
        except _BodyRefused as error:
            return _json(error.status, json_text.error_body(str(error)))
        return _json(*await self._run(request, path, body))

    async def _run(self, request: Request, path: str, body: bytes) -> tuple[int, bytes]:
        """Answers in a worker; gives up at the deadline, and when the client has left."""
        cancellation = Cancellation()
        work = asyncio.get_running_loop().run_in_executor(
            self._workers, rest.answer, self._manager, request.method, path, body, cancellation
        )
        left = asyncio.ensure_future(_left(request))
        pair: set[asyncio.Future[Any]] = {work, left}
        try:
            done, _ = await asyncio.wait(pair, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                return work.result()
            if left in done:
                return HTTP_STATUS["CANCELLED"], b""
            return HTTP_STATUS["DEADLINE_EXCEEDED"], json_text.error_body(
                "Timed out waiting for notification"
            )
        finally:
            left.cancel()
            if not work.done():
                cancellation.cancel()
                work.cancel()


class _BodyRefused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _body(request: Request) -> bytes:
    """The body, unpacked where it is gzip, within `MAX_BODY_BYTES` before and after."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _BodyRefused(413, _too_large())
        chunks.append(chunk)
    body = b"".join(chunks)
    if "gzip" not in request.headers.get("content-encoding", "").lower():
        return body
    try:
        body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_BODY_BYTES + 1)
    except (OSError, EOFError, ValueError) as error:
        raise _BodyRefused(400, f"The request's body is not gzip: {error}") from error
    except Exception as error:  # zlib.error, for a damaged stream
        raise _BodyRefused(400, f"The request's gzip body is damaged: {error}") from error
    if len(body) > MAX_BODY_BYTES:
        raise _BodyRefused(413, _too_large())
    return body


async def _left(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")


def _too_large() -> str:
    return f"The request's body is larger than {MAX_BODY_BYTES} bytes. Send fewer rows at a time."


def _taken(flag: str, host: str, port: int | None) -> str:
    return f"--{flag}={port} on {host} cannot be listened on: it is taken, or not ours. Give another, or 0 for any."


def _grpc_server(manager: ModelManager, healthy: health.HealthServicer) -> grpc.Server:
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    options = [*unlimited, ("grpc.so_reuseport", 0)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(_WORKERS, "grpc"), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(manager), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), server)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    services: list[Any] = [
        prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
    ]
    names = [service.full_name for service in services]
    reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    return server
