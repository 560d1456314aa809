"""The gRPC server: PredictionService, ModelService, health and reflection on one port."""

import concurrent.futures
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

from tflm.errors import UserError
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.grpc.services import ModelService, PredictionService
from tflm.serving.server.rest.http_server import taken


class GrpcServer:
    """Answers until it is stopped."""

    def __init__(
        self,
        manager: ModelManager,
        num_threads: int,
        drain_seconds: float = 30.0,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """Listens nowhere yet.

        Args:
            num_threads: the limit of requests that are handled at a time.
            drain_seconds: how long `stop` waits for requests in flight.
            interceptors: the outermost first.
            credentials: for TLS.
        """
        self._drain_seconds, self._credentials = drain_seconds, credentials
        self._health = health.HealthServicer()
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(num_threads, "grpc"),
            interceptors=interceptors,
            options=[*unlimited, ("grpc.so_reuseport", 0)],
        )
        _add_services(self._server, manager, self._health)

    def start(self, host: str, port: int) -> int:
        """Listens and answers; the port.

        Raises:
            UserError: a port that is in use or not permitted.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise UserError(taken("port", host, port)) from error
        self._server.start()
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    def begin_stop(self) -> Any:
        """Takes no more requests; `.wait()` of the returned event waits for those in flight."""
        self._health.enter_graceful_shutdown()
        return self._server.stop(self._drain_seconds)


def _add_services(server: grpc.Server, manager: ModelManager, healthy: health.HealthServicer) -> None:
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
