"""What becomes of a request that is over."""

import contextlib

import pytest

from tflm.serving.server.core.telemetry import RequestFacts
from tflm.serving.server.monitoring.monitor import Exchange, Monitor, request_id


class Recorder:
    """Metrics and log in one."""

    max_text = 9

    def __init__(self):
        self.requests, self.tokens, self.lines, self.num_at_work = [], [], [], 0

    def request_done(self, *values):
        self.requests.append(values)

    def tokens_done(self, *values):
        self.tokens.append(values)

    def write(self, record):
        self.lines.append({key: value for key, value in record.items() if value is not None})

    @contextlib.contextmanager
    def at_work(self):
        self.num_at_work += 1
        yield


def test_a_request_is_counted_and_logged():
    recorder = Recorder()
    monitor = Monitor(recorder, recorder)
    facts = RequestFacts("聊天", 2, None, "predict", "chat", 3, 40)
    exchange = Exchange("REST", "POST", "/p", "127.0.0.1:9", "id", facts, "OK", 200, 5, 7, 0.0123456)
    monitor.finished(exchange)
    assert recorder.requests == [("聊天", "predict", "REST", "OK", 0.0123456)]
    assert recorder.tokens == [("聊天", 40, 0.0123456)]
    assert recorder.lines == [
        {
            "request_id": "id",
            "client": "127.0.0.1:9",
            "entrypoint": "REST",
            "method": "POST",
            "path": "/p",
            "api": "predict",
            "model": "聊天",
            "version": 2,
            "signature": "chat",
            "status": "OK",
            "http_status": 200,
            "rows": 3,
            "tokens": 40,
            "bytes_in": 5,
            "bytes_out": 7,
            "ms": 12.346,
        }
    ]


def test_names_of_any_length_make_short_lines():
    recorder = Recorder()
    facts = RequestFacts("m" * 10_000, signature="s" * 10_000, label="l" * 10_000, api="a" * 10_000)
    Monitor(recorder, recorder).finished(Exchange("REST", "GET", "/" + "p" * 10_000, "", "id", facts))
    assert max(len(value) for value in recorder.lines[0].values() if isinstance(value, str)) == 500


def test_probes_are_logged_when_they_fail_alone():
    recorder = Recorder()
    monitor = Monitor(recorder, recorder)
    for path in ("/healthz", "/readyz", "/monitoring/prometheus/metrics", "/grpc.health.v1.Health/Check"):
        monitor.finished(Exchange("REST", "GET", path, "", "id", RequestFacts(), "OK"))
        with monitor.at_work(path):
            pass
    assert (recorder.lines, recorder.requests, recorder.num_at_work) == ([], [], 0)
    monitor.finished(Exchange("REST", "GET", "/readyz", "", "id", RequestFacts(), "UNAVAILABLE"))
    with monitor.at_work("/page"):
        pass
    assert (len(recorder.lines), recorder.requests, recorder.num_at_work) == (1, [], 1)


def test_texts_are_wanted_only_by_a_log():
    assert (Monitor(Recorder()).max_text, Monitor(Recorder(), Recorder()).max_text) == (0, 9)


def test_a_plain_id_is_kept():
    assert request_id("trace-1.2:3/4_5=") == "trace-1.2:3/4_5="


@pytest.mark.parametrize("sent", [None, "", "a b", "a\nb", "你", "x" * 129, '"'], ids=range(7))
def test_any_other_is_made_anew(sent):
    made = request_id(sent)
    assert made != sent
    assert len(made) == 32
    assert made != request_id(sent)
