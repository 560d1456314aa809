"""Every number, read back with Prometheus's own parser."""

import logging
import threading
import types

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tflm.serving.server.core.status import ServingError
from tflm.serving.server.monitoring.metrics import UNKNOWN_MODEL, Metrics, watch_models


class Models:
    """A manager of models in given states."""

    def __init__(self, states):
        self.states = states

    def configs(self):
        return [types.SimpleNamespace(name=name) for name in self.states]

    def status(self, name):
        if not self.states[name]:
            raise ServingError("NOT_FOUND", "none")
        pairs = self.states[name].items()
        return [types.SimpleNamespace(number=number, state=state, error=None) for number, state in pairs]


@pytest.fixture
def metrics():
    metrics = Metrics()
    watch_models(metrics, Models({"chat": {2: "LOADING", 1: "AVAILABLE"}, "聊天": {}}))
    return metrics


def read(metrics):
    """(name without `:tensorflow:serving:`, values of its labels in their alphabetical order) to number."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            # The parser gives every counter the suffix _total; whether the text has it is tested below.
            name = sample.name.replace("request_count_total", "request_count")
            key = (name.removeprefix(":tensorflow:serving:"), *sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def test_requests_are_counted_and_timed_under_the_stock_names(metrics):
    metrics.request_done("chat", "predict", "REST", "OK", 0.02)
    metrics.request_done("chat", "predict", "REST", "OK", 0.00001)
    metrics.request_done("chat", "predict", "REST", "INVALID_ARGUMENT", 5.0)
    metrics.request_done("聊天", "Predict", "GRPC", "OK", 0.5)
    found = read(metrics)
    assert found["request_count", "chat", "OK"] == 2
    assert found["request_count", "chat", "INVALID_ARGUMENT"] == 1
    assert found["request_count", "聊天", "OK"] == 1
    # Only those that succeeded, in microseconds.
    assert found["request_latency_count", "predict", "REST", "chat"] == 2
    assert found["request_latency_sum", "predict", "REST", "chat"] == pytest.approx(20010)
    assert found["request_latency_sum", "Predict", "GRPC", "聊天"] == pytest.approx(500000)


def test_the_text_has_the_stock_names_and_types(metrics):
    metrics.request_done("chat", "predict", "REST", "OK", 0.02)
    text = metrics.exposition().decode()
    assert '\n:tensorflow:serving:request_count{model_name="chat",status="OK"} 1.0\n' in text
    assert "\n# TYPE :tensorflow:serving:request_count counter\n" in text
    assert "\n# TYPE :tensorflow:serving:request_example_count_total counter\n" in text
    assert "\n# TYPE :tensorflow:serving:request_latency histogram\n" in text
    assert "request_count_total" not in text
    assert "_created" not in text


def test_the_limits_of_the_stock_server(metrics):
    metrics.request_done("chat", "predict", "REST", "OK", 100e-6)
    found = read(metrics)
    limits = [key[3] for key in found if key[0] == "request_latency_bucket"]
    assert limits[:6] == ["10.0", "18.0", "32.4", "58.32", "104.976", "188.957"]
    assert limits[-1] == "+Inf"
    assert len(limits) == 34
    counts = [found[key] for key in found if key[0] == "request_latency_bucket"]
    assert counts == [0.0] * 4 + [1.0] * 30


def test_models_that_are_not_there_make_no_labels(metrics):
    for index in range(50):
        metrics.request_done(f"made-up-{index}", "predict", "REST", "NOT_FOUND", 0.001)
    metrics.request_done("chat", "predict", "REST", "NOT_FOUND", 0.001)
    found = {key: value for key, value in read(metrics).items() if key[0] == "request_count"}
    assert found == {
        ("request_count", UNKNOWN_MODEL, "NOT_FOUND"): 50,
        ("request_count", "chat", "NOT_FOUND"): 1,
    }


def test_runs_batches_tokens_and_warm_ups(metrics):
    metrics.run_done("chat", "predict", "generate", 0.25, 3)
    metrics.run_done("chat", "Classify", "classify", 0.001, 5)
    metrics.batch_done("chat", "generate", 4)
    metrics.batch_done("chat", "generate", 5)
    metrics.tokens_done("chat", 64, 0.5)
    metrics.tokens_done("chat", 0, 0.0)
    metrics.warmed("/m/chat/1", "OK", 1.5)
    found = read(metrics)
    assert found["runtime_latency_sum", "Predict", "chat", "TF1"] == pytest.approx(250000)
    assert found["runtime_latency_count", "Classify", "chat", "TF1"] == 1
    # Examples are what classify and regress take.
    assert found["request_example_count_total", "chat"] == 5
    assert found["request_example_counts_count", "chat"] == 1
    assert found["model_warmup_latency_sum", "/m/chat/1", "OK"] == pytest.approx(1.5e6)
    assert found[":tflm:serving:rows_total", "chat", "generate"] == 3
    assert found[":tflm:serving:run_latency_count", "chat", "generate"] == 1
    assert found[":tflm:serving:batch_size_sum", "chat", "generate"] == 9
    assert found[":tflm:serving:batch_size_bucket", "4.0", "chat", "generate"] == 1
    assert found[":tflm:serving:generated_tokens_total", "chat"] == 64
    assert found[":tflm:serving:tokens_per_second_sum", "chat"] == 128
    assert found[":tflm:serving:tokens_per_second_count", "chat"] == 1


def test_watched_numbers_are_read_when_asked_for(metrics, caplog):
    depth = {("chat",): 3.0, ("聊天",): 0.0}
    metrics.watch("queue_depth", lambda: depth, ["model_name"])
    metrics.watch("free_slots", lambda: 7)
    metrics.watch("broken", lambda: 1 // 0)
    depth[("chat",)] = 5.0
    with caplog.at_level(logging.ERROR):
        found = read(metrics)
    assert found[":tflm:serving:queue_depth", "chat"] == 5
    assert found[":tflm:serving:queue_depth", "聊天"] == 0
    assert found[(":tflm:serving:free_slots",)] == 7
    assert (":tflm:serving:broken",) not in found
    assert "the metric broken cannot be read" in caplog.text


def test_the_states_of_versions(metrics):
    states = {key for key in read(metrics) if key[0] == ":tflm:serving:model_version_state"}
    assert {key[1:] for key in states} == {("chat", "LOADING", "2"), ("chat", "AVAILABLE", "1")}


def test_the_process(metrics):
    found = read(metrics)
    assert found[("process_resident_memory_bytes",)] > 1e6
    assert found[("process_open_fds",)] > 0


def test_requests_at_work(metrics):
    with metrics.at_work(), metrics.at_work():
        assert read(metrics)[(":tflm:serving:requests_at_work",)] == 2
    assert read(metrics)[(":tflm:serving:requests_at_work",)] == 0


def test_labels_are_escaped():
    metrics = Metrics()
    metrics.warmed('a\\b"c\nd 你', "OK", 1.0)
    assert read(metrics)["model_warmup_latency_count", 'a\\b"c\nd 你', "OK"] == 1


def test_two_servers_do_not_share_numbers():
    one, other = Metrics(), Metrics()
    one.tokens_done("chat", 1, 1.0)
    assert (":tflm:serving:generated_tokens_total", "chat") not in read(other)


def test_no_count_is_lost_between_threads(metrics):
    def work():
        for _ in range(500):
            metrics.request_done("chat", "predict", "REST", "OK", 0.001)
            metrics.tokens_done("chat", 2, 0.01)
            with metrics.at_work():
                metrics.batch_done("chat", "generate", 3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(metrics)
    assert found["request_count", "chat", "OK"] == 4000
    assert found["request_latency_bucket", "predict", "REST", "+Inf", "chat"] == 4000
    assert found[":tflm:serving:generated_tokens_total", "chat"] == 8000
    assert found[":tflm:serving:batch_size_sum", "chat", "generate"] == 12000
    assert found[(":tflm:serving:requests_at_work",)] == 0
