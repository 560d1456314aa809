"""For the machines that watch a server: is it alive, is it ready, and its numbers.

GET /healthz                          200 while the process answers
GET /readyz                           200 while every configured model can be used; 503 with the reasons
GET /monitoring/prometheus/metrics    the metrics, where the stock server has them
"""

import threading
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tflm.serving.server.manager import ModelManager, Version
from tflm.serving.server.metrics import CONTENT_TYPE, Metrics
from tflm.serving.server.monitoring import LIVE_PATH, READY_PATH
from tflm.serving.server.monitoring_config import MonitoringConfig
from tflm.serving.server.rest_server import Routes
from tflm.serving.server.runner import Runner
from tflm.serving.server.status import ServingError


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
            where = ", ".join(_standing(version) for version in versions) or "there is none in its folder"
            reasons.append(f"model {config.name} has no version that is AVAILABLE: {where}")
    return reasons


def _standing(version: Version) -> str:
    return f"{version.number} is {version.state}" + (f" ({version.error.code})" if version.error else "")
