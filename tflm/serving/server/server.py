"""The server: REST and gRPC on two ports, each in threads of its own, over one set of models."""

import os

from tflm.serving.server.grpc_server import GrpcServer
from tflm.serving.server.manager import ModelManager
from tflm.serving.server.rest_server import RestServer
from tflm.serving.server.runner import Runner

_NUM_THREADS = max(8, 4 * (os.cpu_count() or 1))


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
        self._rest = RestServer(manager, Runner(_NUM_THREADS, rest_timeout_seconds), drain_seconds)
        self._grpc = None if grpc_port is None else GrpcServer(manager, _NUM_THREADS, drain_seconds)

    def start(self) -> None:
        """Listens and answers.

        Raises:
            UserError: a port that cannot be had.
        """
        if self._grpc is not None and self.grpc_port is not None:
            self.grpc_port = self._grpc.start(self.host, self.grpc_port)
        if self.rest_port is not None:
            self.rest_port = self._rest.start(self.host, self.rest_port)

    def stop(self) -> None:
        """Takes no more requests, waits for those at work, and ends."""
        ended = None if self._grpc is None else self._grpc.begin_stop()
        self._rest.stop()
        if ended is not None:
            ended.wait()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
