"""gRPC calls of a real model over a real socket, and the REST requests beside them."""

import http.client
import json
import time
from types import SimpleNamespace

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from starlette.middleware import Middleware
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as service

from tests.serving.conformance.served_model import Probe
from tests.serving.waiting import until
from tflm.serving.server import ModelConfig, ModelManager
from tflm.serving.server.auth.bearer import BearerInterceptor, TokenFile
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.grpc.server import GrpcServer
from tflm.serving.server.monitoring.access_log import AccessLog
from tflm.serving.server.monitoring.grpc import GrpcMonitoring, _status
from tflm.serving.server.monitoring.http import HttpMonitoring
from tflm.serving.server.monitoring.metrics import Metrics, watch_models
from tflm.serving.server.monitoring.monitor import Monitor
from tflm.serving.server.rest.http_server import RestServer


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    module = Probe(1)
    signatures = {name: getattr(module, name) for name in ("serving_default", "wait")}
    tf.saved_model.save(module, str(folder / "probe" / "1"), signatures=signatures)
    manager = ModelManager([ModelConfig("探针", str(folder / "probe"))])
    manager.start()
    yield manager
    manager.stop()


class Watched:
    """A server with its metrics and its log."""

    def __init__(self, manager, path, *interceptors):
        self.path, self.metrics, self.log = path, Metrics(), AccessLog(str(path), max_text=6)
        watch_models(self.metrics, manager)
        monitor = Monitor(self.metrics, self.log)
        self.grpc = GrpcServer(manager, 8, 5.0, interceptors=[GrpcMonitoring(monitor), *interceptors])
        middleware = [Middleware(HttpMonitoring, monitor=monitor)]
        self.rest = RestServer(manager, Runner(4, 30.0), 5.0, middleware=middleware)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc.start('127.0.0.1', 0)}")
        self.rest_port = self.rest.start("127.0.0.1", 0)

    def lines(self, count):
        end = time.monotonic() + 20
        while self.path.read_text(encoding="utf-8").count("\n") < count:
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.01)
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def counts(self):
        families = text_string_to_metric_families(self.metrics.exposition().decode())
        [family] = [family for family in families if family.name == ":tensorflow:serving:request_count"]
        return {(each.labels["model_name"], each.labels["status"]): each.value for each in family.samples}

    def close(self):
        self.channel.close()
        self.rest.stop()
        self.grpc.begin_stop().wait()
        self.log.close()


@pytest.fixture
def watched(manager, tmp_path):
    running = Watched(manager, tmp_path / "access.log")
    yield running
    running.close()


def predict_request(texts=("Ä好B",), name="探针", **spec):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for key, value in spec.items():
        setattr(request.model_spec, key, value)
    request.inputs["text"].CopyFrom(tf.make_tensor_proto(list(texts)))
    return request


def test_a_call_is_counted_and_logged(watched):
    stub, request = service.PredictionServiceStub(watched.channel), predict_request(["Ä好B", "CDEF"])
    response, call = stub.Predict.with_call(
        request, metadata=[("x-request-id", "id-1"), ("authorization", "xyz")]
    )
    assert dict(call.trailing_metadata())["x-request-id"] == "id-1"
    [line] = watched.lines(1)
    assert line.pop("ms") > 0
    assert line.pop("time")
    assert line.pop("client").startswith("127.0.0.1:")
    assert line.pop("rows", 2) == 2
    assert line.pop("signature", "serving_default") == "serving_default"
    assert line == {
        "request_id": "id-1",
        "entrypoint": "GRPC",
        "method": "POST",
        "path": "/tensorflow.serving.PredictionService/Predict",
        "api": "Predict",
        "model": "探针",
        "status": "OK",
        "bytes_in": request.ByteSize(),
        "bytes_out": response.ByteSize(),
        "request_text": "Ä好B\nCD",
        "response_text": "ä好b\ncd",
    }
    assert watched.counts() == {("探针", "OK"): 1}


def test_both_entrypoints_feed_one_count(watched):
    stub = service.PredictionServiceStub(watched.channel)
    for _ in range(3):
        stub.Predict(predict_request())
    connection = http.client.HTTPConnection("127.0.0.1", watched.rest_port, timeout=20)
    for _ in range(2):
        connection.request("POST", "/v1/models/%E6%8E%A2%E9%92%88:predict", b'{"instances": ["A"]}')
        assert json.loads(connection.getresponse().read()) == {"predictions": ["a"]}
    connection.close()
    watched.lines(5)
    assert watched.counts() == {("探针", "OK"): 5}
    text = watched.metrics.exposition().decode()
    labels = 'API="{}",entrypoint="{}",model_name="探针"'
    assert f":tensorflow:serving:request_latency_count{{{labels.format('Predict', 'GRPC')}}} 3.0\n" in text
    assert f":tensorflow:serving:request_latency_count{{{labels.format('predict', 'REST')}}} 2.0\n" in text


def test_every_code_has_its_own_count(watched):
    stub = service.PredictionServiceStub(watched.channel)
    asked = [
        (predict_request(signature_name="none"), "FAILED_PRECONDITION"),
        (predict_request(version_label="none"), "INVALID_ARGUMENT"),
        (predict_request(name="ghost"), "NOT_FOUND"),
        (predict_request(name="other ghost"), "NOT_FOUND"),
    ]
    for request, code in asked:
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request)
        assert caught.value.code().name == code
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "探针"
    model_service_pb2_grpc.ModelServiceStub(watched.channel).GetModelStatus(status)
    lines = watched.lines(5)
    assert [line["status"] for line in lines] == [code for _, code in asked] + ["OK"]
    assert (lines[0]["signature"], lines[1]["label"], lines[4]["api"]) == ("none", "none", "GetModelStatus")
    assert watched.counts() == {
        ("探针", "FAILED_PRECONDITION"): 1,
        ("探针", "INVALID_ARGUMENT"): 1,
        ("(unknown)", "NOT_FOUND"): 2,
        ("探针", "OK"): 1,
    }


def waiting_request():
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "探针", "wait"
    request.inputs["seconds"].CopyFrom(tf.make_tensor_proto([60.0], tf.float64))
    return request


def test_a_client_that_leaves_and_one_that_waits_no_longer(watched):
    stub = service.PredictionServiceStub(watched.channel)
    call = stub.Predict.future(waiting_request())
    until(lambda: b"requests_at_work 1.0" in watched.metrics.exposition())
    call.cancel()
    [line] = watched.lines(1)
    assert (line["status"], line["bytes_out"]) == ("CANCELLED", 0)
    for timeout in (
        0.2,
        2.0,
        20.0,
    ):  # on a busy machine a short one may be over before the server has the call
        call = stub.Predict.future(waiting_request(), timeout=timeout)
        is_there = lambda: b"requests_at_work 1.0" in watched.metrics.exposition()  # noqa: E731
        reached = []
        until(lambda: reached.append(is_there()) or reached[-1] or call.done(), 30)  # noqa: B023
        assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        if reached[-1]:
            break
    # The server's deadline begins when it reads the call, after the client's: the client may leave before.
    assert watched.lines(2)[-1]["status"] in ("DEADLINE_EXCEEDED", "CANCELLED")
    assert b"requests_at_work 0.0" in watched.metrics.exposition()


@pytest.mark.parametrize(
    "remaining, status",
    [(0.0, "DEADLINE_EXCEEDED"), (-0.1, "DEADLINE_EXCEEDED"), (0.1, "CANCELLED"), (None, "CANCELLED")],
)
def test_a_call_that_has_ended_before_its_answer(remaining, status):
    """Its deadline has passed, or its client has left before; which one does not depend on who is faster here."""
    context = SimpleNamespace(is_active=lambda: False, time_remaining=lambda: remaining)
    assert _status(context, has_answered=False) == status


def test_health_is_answered_and_not_logged(watched):
    health = health_pb2_grpc.HealthStub(watched.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError):
        service.PredictionServiceStub(watched.channel).Predict(predict_pb2.PredictRequest())
    [line] = watched.lines(1)
    assert (line["api"], line["status"]) == ("Predict", "INVALID_ARGUMENT")
    assert "model" not in line


def test_what_is_refused_for_its_token_is_logged_too(manager, tmp_path):
    (tmp_path / "tokens").touch(0o600)
    (tmp_path / "tokens").write_text("0123456789abcdef\n", encoding="utf-8")
    tokens = TokenFile(str(tmp_path / "tokens"))
    watched = Watched(manager, tmp_path / "access.log", BearerInterceptor(tokens))
    stub = service.PredictionServiceStub(watched.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(
            predict_request(), metadata=[("authorization", "Bearer wrong"), ("x-request-id", "id-2")]
        )
    assert dict(caught.value.trailing_metadata())["x-request-id"] == "id-2"
    [line] = watched.lines(1)
    assert (line["api"], line["status"], line["request_id"]) == ("Predict", "UNAUTHENTICATED", "id-2")
    assert "request_text" not in line and "wrong" not in watched.path.read_text(encoding="utf-8")
    watched.close()
