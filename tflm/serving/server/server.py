"""The server: REST and gRPC on two ports, each in threads of its own, over one set of models."""

import threading
from collections.abc import Collection

from starlette.middleware import Middleware

from tflm.serving.server import event_stream, openai_api
from tflm.serving.server.access_log import AccessLog
from tflm.serving.server.bearer import OPEN_PATHS, BearerAuth, BearerInterceptor, TokenFile
from tflm.serving.server.body_budget import BodyBudget
from tflm.serving.server.grpc_monitoring import GrpcMonitoring
from tflm.serving.server.grpc_server import GrpcServer
from tflm.serving.server.health_routes import health_routes
from tflm.serving.server.http_monitoring import HttpMonitoring
from tflm.serving.server.manager import ModelManager
from tflm.serving.server.metrics import Metrics
from tflm.serving.server.monitoring import LIVE_PATH, READY_PATH, Monitor
from tflm.serving.server.monitoring_config import MonitoringConfig
from tflm.serving.server.rest_server import RestServer, Routes
from tflm.serving.server.runner import Runner
from tflm.serving.server.tls import Tls

_SPARE_THREADS = 8  # to refuse what is too much


class Server:
    """Serves the models of a manager until it is stopped.

        with Server(manager, rest_port=8501) as server:
            print(server.rest_port)

    Attributes:
        rest_port, grpc_port: those that are listened on, also where 0 was asked for; None where none was.
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
    ) -> None:
        """Listens nowhere yet.

        Args:
            manager: already started.
            host: the address to listen on.
            rest_port, grpc_port: 0 for any free one, None for none.
            rest_timeout_seconds: after these a REST request is given up and answered with 504; of a stream, each piece.
            drain_seconds: how long `stop` waits for the requests that are being answered.
            metrics: what is counted, shown at `metrics_path`; that of the manager, too. None for none.
            access_log: gets a line for every request.
            tokens: without one of them nobody is answered.
            tls: None for plain text.
            pages: routes of web pages.
            open_paths: those of them that are for everybody.
        """
        self.manager, self.host, self.has_tls = manager, host, tls is not None
        self.rest_port, self.grpc_port = rest_port, grpc_port
        self._stopping = threading.Event()
        monitor = Monitor(metrics or Metrics(), access_log, (LIVE_PATH, READY_PATH, metrics_path))
        middleware = [Middleware(HttpMonitoring, monitor=monitor)]
        interceptors = [GrpcMonitoring(monitor)]
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
            UserError: a port that cannot be had.
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
        """Takes no more requests, waits for those at work, and ends."""
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
