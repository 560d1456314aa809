"""Sockets, limits and stopping: what is around the answers."""

import contextlib
import gzip
import http.client
import json
import socket
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from tests.serving.conformance import served_model
from tests.serving.waiting import until
from tflm.errors import UserError
from tflm.serving import connect
from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server import (
    BatchingConfig,
    Metrics,
    ModelConfig,
    ModelManager,
    Server,
    ServingError,
    ServingOptions,
    TokenFile,
)
from tflm.serving.server.monitoring.metrics import watch_models
from tflm.serving.server.rest import requests as rest_requests


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    served_model.write(folder, versions=[1])
    manager = ModelManager([ModelConfig("probe", str(folder / "probe"))])
    manager.start()
    yield manager
    manager.stop()


def post(port, body, path="/v1/models/probe:predict", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def waiting(seconds):
    return json.dumps({"signature_name": "wait", "inputs": [seconds]}).encode()


def in_flight(manager):
    return manager.status("probe")[0].in_flight


def test_a_request_that_takes_too_long_is_given_up_and_ended(manager):
    with Server(manager, rest_port=0, rest_timeout_seconds=0.3) as running:
        assert post(running.rest_port, waiting(60)) == (504, {"error": "Timed out waiting for notification"})
        until(lambda: in_flight(manager) == 0)
        assert post(running.rest_port, b'{"instances": ["A"]}') == (200, {"predictions": ["a"]})


def test_a_client_that_leaves_stops_costing(manager):
    with Server(manager, rest_port=0) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.rest_port)
        connection.request("POST", "/v1/models/probe:predict", waiting(60))
        until(lambda: in_flight(manager) == 1)
        connection.close()
        until(lambda: in_flight(manager) == 0)


def test_one_that_leaves_does_not_end_the_others(manager):
    """Also what is cancelled after it has ended, as gRPC does with every call."""
    cancellations = [Cancellation() for _ in range(4)]
    found = {}

    def work(index):
        seconds = np.array([0.5 if index % 2 else 60.0])
        try:
            with manager.use("probe") as servable:
                found[index] = servable.run("wait", {"seconds": seconds}, cancellation=cancellations[index])
        except ServingError as error:
            found[index] = error

    threads = [threading.Thread(target=work, args=[index]) for index in range(4)]
    for thread in threads:
        thread.start()
    for index in (0, 2):
        cancellations[index].cancel()
    for thread in threads:
        thread.join()
    assert [found[index].code for index in (0, 2)] == ["CANCELLED", "CANCELLED"]
    assert [found[index]["seconds"].tolist() for index in (1, 3)] == [[0.5], [0.5]]


def test_stopping_answers_what_is_at_work_and_takes_no_more(manager):
    running = Server(manager, rest_port=0)
    running.start()
    answers = []
    asker = threading.Thread(target=lambda: answers.append(post(running.rest_port, waiting(1.0))))
    asker.start()
    until(lambda: answers or in_flight(manager) == 1)
    running.stop()
    asker.join()
    assert answers == [(200, {"outputs": [1.0]})]
    with pytest.raises(OSError):
        post(running.rest_port, b"{}")


def test_stopping_does_not_wait_for_ever(manager):
    running = Server(manager, rest_port=0, drain_seconds=1)
    running.start()
    asker = threading.Thread(target=_quietly, args=[running])
    asker.start()
    until(lambda: in_flight(manager) == 1)
    running.stop()
    until(lambda: in_flight(manager) == 0)
    asker.join()


def _quietly(running):
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        post(running.rest_port, waiting(60))


def test_limits(manager, monkeypatch):
    monkeypatch.setattr(rest_requests, "MAX_BODY_BYTES", 1000)
    large = json.dumps({"instances": ["A" * 2000]}).encode()
    with Server(manager, rest_port=0) as running:
        status, answer = post(running.rest_port, large)
        assert (status, answer["error"]) == (
            413,
            "The request's body is larger than 1000 bytes. Send fewer rows at a time.",
        )
        packed = {"Content-Encoding": "gzip"}
        assert post(running.rest_port, gzip.compress(large), **packed)[0] == 413
        status, answer = post(running.rest_port, b"no gzip", **packed)
        assert (status, "The request's body is not gzip" in answer["error"]) == (400, True)
        damaged = gzip.compress(b'{"instances": ["A"]}')
        damaged = damaged[:12] + bytes(8) + damaged[20:]
        assert post(running.rest_port, damaged, **packed)[0] == 400
        assert post(running.rest_port, gzip.compress(large[:50])[:-9], **packed)[0] == 400


@pytest.mark.parametrize(
    "body, words",
    [
        (b"[" * 100_000, "JSON Parse error: Nested too deep."),
        (
            b'{"instances": [' + b"9" * 5000 + b"]}",
            "JSON Parse error: Number too big to be stored in double.",
        ),
        (b'{"instances": ["\\ud800"]}', "The surrogate pair in string is invalid."),
        (
            b'{"instances": [1 2]}',
            "JSON Parse error: Missing a comma or ] after an array element. at offset: 17",
        ),
        (b'{"a": 1 "b"', "JSON Parse error: Missing a comma or } after an object member. at offset: 8"),
        (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        (b"{1: 1}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b'{"a": "x', "JSON Parse error: Missing a closing quotation mark in string."),
        (b'{"a": "\\x"}', "JSON Parse error: Invalid escape character in string."),
        (b'{"instances": ' + b"[" * 40 + b"]" * 40 + b"}", "Lists are nested more than 32 deep"),
        (
            b'{"inputs": 1, "instances": ' + b"[" * 900 + b"]" * 900 + b"}",
            "...TRUNCATED Not formatted correctly expecting only",
        ),
        (b" \n ", "JSON Parse error: The document is empty. at offset: 3"),
    ],
    ids=range(12),
)
def test_bodies_that_are_no_json(manager, body, words):
    with Server(manager, rest_port=0) as running:
        status, answer = post(running.rest_port, body)
    assert status == 400
    assert words in answer["error"]


MISSHAPEN = [
    ("serving_default", {"inputs": {"text": "你好"}}, "'text' takes string [B]; got a single value, '你好'"),
    ("serving_default", {"inputs": "hello"}, "'text' takes string [B]; got a single value, 'hello'"),
    ("serving_default", {"instances": [["a", "b"]]}, "'text' takes string [B]; got the shape [1, 2]"),
    ("linear", {"inputs": {"x": [1, 2, 3], "n": [1]}}, "'x' takes float32 [B, 3]; got the shape [3]"),
    ("linear", {"inputs": {"x": [[1, 2, 3]], "n": 2}}, "'n' takes int32 [B]; got a single value, 2"),
    ("linear", {"instances": [{"x": [1, 2], "n": 1}]}, "'x' takes float32 [B, 3]; got the shape [1, 2]"),
    ("joined", {"inputs": {"words": ["a"]}}, "'words' takes string [B, any]; got the shape [1]"),
]  # fmt: skip


@pytest.mark.parametrize("batching", [None, BatchingConfig(batch_timeout_micros=0)], ids=["", "batching"])
def test_an_input_of_another_shape_is_refused_by_name(manager, batching):
    """Over REST, in columns and rows, and over gRPC."""
    served = ModelManager([manager.configs()[0]], options=ServingOptions(batching))
    served.start()
    with Server(served, rest_port=0, grpc_port=0) as running:
        for signature, body, words in MISSHAPEN:
            answer = post(running.rest_port, json.dumps({"signature_name": signature, **body}))
            assert answer[0] == 400 and words in answer[1]["error"].replace(
                f" of signature {signature!r}", ""
            )
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "probe"
        request.inputs["text"].CopyFrom(tf.make_tensor_proto("你好"))
        with (
            grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            PredictionServiceStub(channel).Predict(request)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert (
            caught.value.details()
            .replace(" of signature 'serving_default'", "")
            .startswith(f"Input {MISSHAPEN[0][2]}")
        )
    served.stop()


def test_an_address_of_ipv6(manager):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here; to test it: sysctl net.ipv6.conf.lo.disable_ipv6=0")
    with Server(manager, "::1", rest_port=0, grpc_port=0) as running:
        for url in (
            f"http://[::1]:{running.rest_port}/v1/models/probe",
            f"grpc://[::1]:{running.grpc_port}/probe",
        ):
            assert connect(url).predict("serving_default", {"text": ["AB"]})["text"].tolist() == [b"ab"]


def test_a_port_that_is_taken(manager):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for ports in ({"rest_port": port}, {"rest_port": None, "grpc_port": port}):
            with pytest.raises(
                UserError, match=rf"cannot listen on 127.0.0.1, --\w+={port}: the port is in use .* 0 for any"
            ):
                Server(manager, **ports).start()


def asked_by_a_page(port, method, path, **headers):
    """Status, and the headers of CORS."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, b'{"instances": ["A"]}' if method == "POST" else None, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    found = {name.lower(): value for name, value in response.getheaders()}
    return response.status, {name: value for name, value in found.items() if "access-control" in name}


PREDICT, PAGE = "/v1/models/probe:predict", "https://xn--fsqu00a.cn"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


@pytest.mark.parametrize("with_tokens", [False, True])
def test_pages_of_other_sites_may_ask(manager, tmp_path, with_tokens):
    tokens = None
    if with_tokens:
        (tmp_path / "tokens").touch(0o600)
        (tmp_path / "tokens").write_text("0123456789abcdef\n")
        tokens = TokenFile(str(tmp_path / "tokens"))
    with Server(manager, rest_port=0, tokens=tokens, cors_origins=[PAGE]) as running:
        for path in (PREDICT, "/v1/chat/completions", "/v1/models"):
            status, headers = asked_by_a_page(running.rest_port, "OPTIONS", path, Origin=PAGE, **PREFLIGHT)
            assert status == 200 and headers["access-control-allow-origin"] == PAGE
            assert "POST" in headers["access-control-allow-methods"]
            assert "authorization" in headers["access-control-allow-headers"]
        status, headers = asked_by_a_page(running.rest_port, "POST", PREDICT, Origin=PAGE)
        assert status == (401 if with_tokens else 200), "a page can read a refusal, too"
        assert headers["access-control-allow-origin"] == PAGE
        bearer = {"Authorization": "Bearer 0123456789abcdef"}
        status, headers = asked_by_a_page(running.rest_port, "POST", PREDICT, Origin=PAGE, **bearer)
        assert status == 200 and headers["access-control-expose-headers"] == "X-Request-Id"
        other = {"Origin": "https://other.com"}
        assert asked_by_a_page(running.rest_port, "OPTIONS", PREDICT, **other, **PREFLIGHT)[0] == 400
        headers = asked_by_a_page(running.rest_port, "POST", PREDICT, **other, **bearer)[1]
        assert "access-control-allow-origin" not in headers


def test_pages_of_any_site_and_of_none(manager):
    with Server(manager, rest_port=0, cors_origins=["*"]) as running:
        headers = asked_by_a_page(running.rest_port, "POST", PREDICT, Origin="https://other.com")[1]
        assert headers["access-control-allow-origin"] == "*"
    with Server(manager, rest_port=0) as running:
        assert asked_by_a_page(running.rest_port, "POST", PREDICT, Origin=PAGE) == (200, {})
        assert asked_by_a_page(running.rest_port, "OPTIONS", PREDICT, Origin=PAGE, **PREFLIGHT) == (400, {})


def test_a_slash_too_many_is_another_path(manager):
    with Server(manager, rest_port=0) as running:
        for path in ("/v1/models/probe:predict/", "/v1/completions/"):
            status, answer = post(running.rest_port, b"{}", path)
            assert (status, answer["error"]) == (400, f"Malformed request: POST {path}")


def test_what_is_counted(manager):
    """By the server as it is put together: what a request leaves at the metrics, and what a run does."""
    metrics = Metrics()
    config = manager.configs()[0]
    counted = ModelManager(
        [config], options=ServingOptions(BatchingConfig(batch_timeout_micros=0)), observer=metrics
    )
    counted.start()
    watch_models(metrics, counted)
    examples = json.dumps({"signature_name": "classify", "examples": [{"age": 0.25}] * 3}).encode()
    with Server(counted, rest_port=0, metrics=metrics) as running:
        assert post(running.rest_port, b'{"instances": ["A", "B"]}')[0] == 200
        assert post(running.rest_port, examples, "/v1/models/probe:classify")[0] == 200
        assert post(running.rest_port, b"{}")[0] == 400
        connection = http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=20)
        connection.request("GET", "/monitoring/prometheus/metrics")
        page = connection.getresponse().read().decode()
        connection.close()
    counted.stop()
    for line in (
        ':tensorflow:serving:request_count{model_name="probe",status="OK"} 2.0',
        ':tensorflow:serving:request_count{model_name="probe",status="INVALID_ARGUMENT"} 1.0',
        ':tensorflow:serving:runtime_latency_count{API="Predict",model_name="probe",runtime="TF1"} 1.0',
        ':tensorflow:serving:runtime_latency_count{API="Classify",model_name="probe",runtime="TF1"} 1.0',
        ':tensorflow:serving:request_example_count_total{model="probe"} 3.0',
        ':tflm:serving:rows_total{model_name="probe",signature="serving_default"} 2.0',
        ':tflm:serving:batch_size_sum{model_name="probe",signature="classify"} 3.0',
        ':tflm:serving:model_version_state{model_name="probe",state="AVAILABLE",version="1"} 1.0',
    ):
        assert line in page.splitlines(), page
