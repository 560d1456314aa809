"""The server: REST and gRPC on two ports, each in threads of its own, over one set of models."""

import threading
from collections.abc import Collection
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from tflm.serving.server.auth.bearer import OPEN_PATHS, BearerAuth, BearerInterceptor, TokenFile
from tflm.serving.server.auth.tls import Tls
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.grpc.server import GrpcServer
from tflm.serving.server.monitoring.access_log import AccessLog
from tflm.serving.server.monitoring.grpc import GrpcMonitoring
from tflm.serving.server.monitoring.http import HttpMonitoring, health_routes
from tflm.serving.server.monitoring.metrics import Metrics
from tflm.serving.server.monitoring.monitor import LIVE_PATH, READY_PATH, Monitor, MonitoringConfig
from tflm.serving.server.openai import api as openai_api
from tflm.serving.server.rest import event_stream
from tflm.serving.server.rest.http_server import RestServer, Routes
from tflm.serving.server.rest.requests import BodyBudget

_SPARE_THREADS = 8  # to refuse requests over the limit
_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": ["*"],
    "expose_headers": ["X-Request-Id"],
}


class Server:
    """Serves the models of a manager until it is stopped.

        with Server(manager, rest_port=8501) as server:
            print(server.rest_port)

    Attributes:
        rest_port, grpc_port: the ports, also where 0 was asked for; None for none.
        has_tls: whether it speaks https.
    """

    def __init__(
        self,
        manager: ModelManager,
        host: str = "127.0.0.1",
        rest_port: int | None = 8501,
        grpc_port: int | None = None,
        rest_timeout_seconds: float = 30.0,
        drain_seconds: float = 30.0,
        *,
        metrics: Metrics | None = None,
        metrics_path: str = MonitoringConfig.path,
        access_log: AccessLog | None = None,
        tokens: TokenFile | None = None,
        tls: Tls | None = None,
        pages: Routes | None = None,
        open_paths: Collection[str] = (),
        cors_origins: Collection[str] = (),
    ) -> None:
        """Listens nowhere yet.

        Args:
            manager: already started.
            host: the address to listen on.
            rest_port, grpc_port: 0 for any free one, None for none.
            rest_timeout_seconds: deadline of a REST request, then 504; of a stream, of each piece.
            drain_seconds: how long `stop` waits for requests in flight.
            metrics: what is counted, shown at `metrics_path`; that of the manager, too. None for none.
            access_log: gets a line for every request.
            tokens: requests without one of them are refused.
            tls: None for plain text.
            pages: routes of web pages.
            open_paths: those of them that are for everybody.
            cors_origins: origins of other sites whose pages may ask the server from a browser, "*" for any.
        """
        self.manager, self.host, self.has_tls = manager, host, tls is not None
        self.rest_port, self.grpc_port = rest_port, grpc_port
        self._stopping = threading.Event()
        monitor = Monitor(metrics or Metrics(), access_log, (LIVE_PATH, READY_PATH, metrics_path))
        middleware = [Middleware(HttpMonitoring, monitor=monitor)]
        interceptors = [GrpcMonitoring(monitor)]
        if cors_origins:  # outside of BearerAuth: a browser's preflight request has no token
            middleware.append(Middleware(CORSMiddleware, allow_origins=list(cors_origins), **_CORS))
        if tokens is not None:
            everybodys = {*OPEN_PATHS, *open_paths}
            middleware.append(Middleware(BearerAuth, tokens=tokens, open_paths=everybodys))
            interceptors.append(BearerInterceptor(tokens))
        middleware.append(Middleware(BodyBudget))
        routes = [
            health_routes(self._stopping, metrics, metrics_path),
            event_stream.routes,
            openai_api.routes,
        ]
        num_threads = manager.options.max_requests
        self._rest = RestServer(
            manager,
            Runner(num_threads, rest_timeout_seconds),
            drain_seconds,
            routes if pages is None else [*routes, pages],
            middleware,
            None if tls is None else tls.context,
        )
        self._grpc = (
            None
            if grpc_port is None
            else GrpcServer(
                manager,
                num_threads + _SPARE_THREADS,
                drain_seconds,
                interceptors,
                None if tls is None else tls.credentials,
            )
        )

    def start(self) -> None:
        """Listens and answers.

        Raises:
            UserError: a port that is in use or not permitted.
        """
        if self.rest_port is not None:
            self.rest_port = self._rest.start(self.host, self.rest_port)
        if self._grpc is not None and self.grpc_port is not None:
            try:
                self.grpc_port = self._grpc.start(self.host, self.grpc_port)
            except BaseException:
                self._rest.stop()
                raise

    def stop(self) -> None:
        """Takes no more requests, drains those in flight, and ends."""
        self._stopping.set()
        ended = None if self._grpc is None else self._grpc.begin_stop()
        self._rest.stop()
        if ended is not None:
            ended.wait()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
