"""What is done with every finished request: metrics and a line in the access log.

The middleware in `http.py` and the interceptor in `grpc.py` report each finished request to the monitor.
"""

import contextlib
import dataclasses
import re
import secrets
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any

from tflm.errors import UserError
from tflm.serving.protos import server_config_pb2
from tflm.serving.server.core.telemetry import RequestFacts
from tflm.serving.server.core.text_proto import read_text_proto
from tflm.serving.server.monitoring.access_log import AccessLog
from tflm.serving.server.monitoring.metrics import Metrics

_FLAG = "monitoring_config_file"
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_LONGEST_NAME = 500


@dataclasses.dataclass(frozen=True)
class MonitoringConfig:
    """Metrics for Prometheus, with the defaults that TensorFlow Serving has.

    Raises:
        ValueError: an invalid path.
    """

    enable: bool = False
    """Whether the metrics are served."""
    path: str = "/monitoring/prometheus/metrics"
    """Under the REST port."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"path is {self.path!r}; expected one that begins with /.")


def read_monitoring_file(path: str) -> MonitoringConfig:
    """The settings of a text file.

    >>> read_monitoring_file("monitoring.config")        # with "prometheus_config { enable: true }"
    MonitoringConfig(enable=True, path="/monitoring/prometheus/metrics")

    Raises:
        UserError: no such file, an unknown field or a wrong type, with its line, or an invalid path.
    """
    example = "prometheus_config { enable: true }"
    message = read_text_proto(path, _FLAG, server_config_pb2.MonitoringConfig(), example).prometheus_config
    try:
        return MonitoringConfig(message.enable, message.path or MonitoringConfig.path)
    except ValueError as error:
        raise UserError(f"--{_FLAG}={path}: prometheus_config: {error}") from error


LIVE_PATH, READY_PATH = "/healthz", "/readyz"
PROBE_PATHS = (LIVE_PATH, READY_PATH, MonitoringConfig.path)


@dataclasses.dataclass(slots=True)
class Exchange:
    """One request and its answer."""

    entrypoint: str
    """REST or GRPC."""
    method: str
    path: str
    """Without a query."""
    client: str
    """Its address and port."""
    request_id: str
    facts: RequestFacts
    status: str = "UNKNOWN"
    """The code's name."""
    http_status: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    """Until the last byte of the answer."""
    request_text: str | None = None
    response_text: str | None = None


class Monitor:
    """Feeds the metrics and the access log."""

    def __init__(
        self, metrics: Metrics, log: AccessLog | None = None, probe_paths: Collection[str] = PROBE_PATHS
    ) -> None:
        """
        Args:
            metrics: that are fed.
            log: where there is to be one.
            probe_paths: requests for these are not counted as in flight, and logged only when they fail.
        """
        self._metrics, self._log, self._probe_paths = metrics, log, frozenset(probe_paths)

    @property
    def max_text(self) -> int:
        """How many characters of texts are wanted."""
        return 0 if self._log is None else self._log.max_text

    def is_probe(self, path: str) -> bool:
        """Whether it is a health probe or a metrics scrape."""
        return path in self._probe_paths or path.startswith("/grpc.health.")

    def at_work(self, path: str) -> AbstractContextManager[Any]:
        """A block in which the request is being answered."""
        return contextlib.nullcontext() if self.is_probe(path) else self._metrics.at_work()

    def finished(self, exchange: Exchange) -> None:
        """The exchange is over."""
        facts = exchange.facts
        if facts.model is not None:
            self._metrics.request_done(
                facts.model, facts.api, exchange.entrypoint, exchange.status, exchange.seconds
            )
            if facts.num_tokens:
                self._metrics.tokens_done(facts.model, facts.num_tokens, exchange.seconds)
        if self._log is not None and not (self.is_probe(exchange.path) and exchange.status == "OK"):
            self._log.write(_record(exchange))


def request_id(sent: str | None) -> str:
    """The client's id, so that its log and ours can be joined, if it is short and plain; otherwise a new one."""
    return sent if sent is not None and _SANE_ID.fullmatch(sent) else secrets.token_hex(16)


def _record(exchange: Exchange) -> dict[str, Any]:
    facts = exchange.facts
    return {
        "request_id": exchange.request_id,
        "client": exchange.client,
        "entrypoint": exchange.entrypoint,
        "method": exchange.method,
        "path": _short(exchange.path),
        "api": _short(facts.api) or None,
        "model": _short(facts.model),
        "version": facts.version,
        "label": _short(facts.label),
        "signature": _short(facts.signature),
        "status": exchange.status,
        "http_status": exchange.http_status,
        "rows": facts.num_rows,
        "tokens": facts.num_tokens,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "ms": round(1000 * exchange.seconds, 3),
        "request_text": exchange.request_text,
        "response_text": exchange.response_text,
    }


def _short(name: str | None) -> str | None:
    return None if name is None else name[:_LONGEST_NAME]
