"""Liveness and readiness probes."""

import http.client
import json
import threading
import types

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tflm.serving.server.core.runner import Runner
from tflm.serving.server.core.status import ServingError
from tflm.serving.server.monitoring.http import health_routes
from tflm.serving.server.monitoring.metrics import Metrics
from tflm.serving.server.rest.http_server import RestServer


class Models:
    """A manager whose versions are in the given states."""

    def __init__(self):
        self.states = {}

    def configs(self):
        return [types.SimpleNamespace(name=name) for name in self.states]

    def status(self, name):
        if not self.states[name]:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        return [
            types.SimpleNamespace(number=number, state=state, error=error)
            for number, state, error in self.states[name]
        ]


@pytest.fixture
def served():
    manager, stopping, metrics = Models(), threading.Event(), Metrics()
    server = RestServer(
        manager, Runner(2, 5.0), 1.0, more_routes=[health_routes(stopping, metrics, "/numbers")]
    )
    port = server.start("127.0.0.1", 0)

    def ask(path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, response.headers["Content-Type"], body

    yield types.SimpleNamespace(manager=manager, stopping=stopping, metrics=metrics, ask=ask)
    server.stop()


def ready(served):
    status, _, body = served.ask("/readyz")
    answer = json.loads(body)
    assert (status == 200) == (answer["status"] == "ready")
    return status, answer.get("reasons")


def test_alive_whatever_the_models_do(served):
    served.manager.states["chat"] = []
    status, kind, body = served.ask("/healthz")
    assert (status, kind, json.loads(body)) == (200, "application/json", {"status": "alive"})


def test_ready_when_every_model_has_a_version(served):
    served.manager.states["chat"] = [(3, "LOADING", None)]
    assert ready(served) == (503, ["model chat has no version that is AVAILABLE: 3 is LOADING"])
    served.manager.states["chat"] = [(3, "LOADING", None), (2, "AVAILABLE", None)]
    assert ready(served) == (200, None)
    served.manager.states["聊天"] = []
    assert ready(served) == (
        503,
        ["model 聊天 has no version that is AVAILABLE: no version in its folder"],
    )


def test_reasons_tell_no_paths(served):
    error = ServingError("NOT_FOUND", "/secret/folder is not a SavedModel")
    served.manager.states["chat"] = [(3, "END", error)]
    assert ready(served) == (503, ["model chat has no version that is AVAILABLE: 3 is END (NOT_FOUND)"])


def test_not_ready_once_it_is_stopping(served):
    served.manager.states["chat"] = [(1, "AVAILABLE", None)]
    served.stopping.set()
    assert ready(served) == (503, ["the server is stopping"])
    assert served.ask("/healthz")[0] == 200


def test_the_metrics_page(served):
    served.metrics.tokens_done("聊天", 5, 1.0)
    status, kind, body = served.ask("/numbers")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    [sample] = families[":tflm:serving:generated_tokens"].samples
    assert (sample.labels, sample.value) == ({"model_name": "聊天"}, 5.0)
    assert served.ask("/monitoring/prometheus/metrics")[0] == 404
