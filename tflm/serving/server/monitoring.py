"""What is done with every request once it is over: counted, and a line in the access log.

`http_monitoring` and `grpc_monitoring` stand around the answers and tell the monitor when one has ended.
"""

import contextlib
import dataclasses
import re
import secrets
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any

from tflm.serving.server.access_log import AccessLog
from tflm.serving.server.metrics import Metrics
from tflm.serving.server.monitoring_config import MonitoringConfig
from tflm.serving.server.request_facts import RequestFacts

LIVE_PATH, READY_PATH = "/healthz", "/readyz"
PROBE_PATHS = (LIVE_PATH, READY_PATH, MonitoringConfig.path)
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_LONGEST_NAME = 500


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
            probe_paths: requests for these are not at work, and not logged while they succeed: nothing but them
                would be in the log.
        """
        self._metrics, self._log, self._probe_paths = metrics, log, frozenset(probe_paths)

    @property
    def max_text(self) -> int:
        """How many characters of texts are wanted."""
        return 0 if self._log is None else self._log.max_text

    def is_probe(self, path: str) -> bool:
        """Whether it is asked by a machine, again and again."""
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
