"""Metrics of the server for Prometheus: TensorFlow Serving's, under its names, and our own under `:tflm:serving:`.

Names, labels, units and buckets are those of the stock server: `servables/tensorflow/util.cc`,
`saved_model_warmup_util.cc` and `batching/batching_session.cc`, exported by `util/prometheus_exporter.cc`. As there,
times are in microseconds and only requests that succeeded count in the latencies. A bucket's limit belongs to it, as
Prometheus has it (the stock server counts a value on the limit in the next one).
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.status import ServingError
from tflm.serving.server.core.telemetry import Observer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN_MODEL = "(unknown)"
"""The label of all models that are not configured: clients must not be able to create labels."""

_STOCK, _OURS = ":tensorflow:serving:", ":tflm:serving:"
_EXAMPLE_APIS = ("classify", "regress", "multiinference")
# prometheus_client ends every counter's name with _total; the stock server does not.
_SUFFIX = re.compile(rb"^((?:# (?:HELP|TYPE) )?:tensorflow:serving:request_count)_total\b", re.MULTILINE)
_log = logging.getLogger(__name__)

Readings = float | Mapping[tuple[str, ...], float]
"""What a watched callback returns: a number, or one for each combination of labels."""


def _exponential(scale: float, factor: float, count: int) -> tuple[float, ...]:
    """Limits of buckets, written as the stock server writes them: with six digits."""
    return tuple(float(f"{scale * factor**index:.6g}") for index in range(count))


_TIMES = _exponential(10, 1.8, 33)  # 10 µs to about 20 minutes
_SIZES = _exponential(1, 2, 15)


class Metrics(Observer):
    """Of one server. Every method may be called from any thread, and costs a few microseconds.

    metrics = Metrics()
    watch_models(metrics, manager)
    metrics.request_done("chat", "predict", "REST", "OK", seconds=0.021)
    page = metrics.exposition()
    """

    def __init__(self) -> None:
        """All at zero."""
        self._registry = prometheus_client.CollectorRegistry()
        self._watched: dict[str, tuple[Callable[[], Readings], Sequence[str]]] = {}
        self._models: set[str] = set()
        self._is_model: Callable[[str], bool] = lambda name: False
        prometheus_client.ProcessCollector(registry=self._registry)
        self._registry.register(self)
        self._make_stock()
        self._make_ours()

    def _make_stock(self) -> None:
        self._requests = self._counter(
            f"{_STOCK}request_count", "The total number of requests.", "model_name", "status"
        )
        self._request_times = self._histogram(
            f"{_STOCK}request_latency",
            "Microseconds that requests took.",
            _TIMES,
            "model_name",
            "API",
            "entrypoint",
        )
        self._run_times = self._histogram(
            f"{_STOCK}runtime_latency",
            "Microseconds that TensorFlow took.",
            _TIMES,
            "model_name",
            "API",
            "runtime",
        )
        self._example_counts = self._histogram(
            f"{_STOCK}request_example_counts", "tf.train.Examples in a request.", _SIZES, "model"
        )
        self._examples = self._counter(
            f"{_STOCK}request_example_count_total", "The total number of tf.train.Examples.", "model"
        )
        self._warmups = self._histogram(
            f"{_STOCK}model_warmup_latency",
            "Microseconds that warming a model up took.",
            _TIMES,
            "model_path",
            "status",
        )

    def _make_ours(self) -> None:
        self._at_work = Gauge(f"{_OURS}requests_at_work", "Requests in flight.", registry=self._registry)
        self._signature_times = self._histogram(
            f"{_OURS}run_latency", "Microseconds that a signature took.", _TIMES, "model_name", "signature"
        )
        self._rows = self._counter(
            f"{_OURS}rows_total", "Rows that a signature has answered.", "model_name", "signature"
        )
        self._batch_sizes = self._histogram(
            f"{_OURS}batch_size", "Rows in a batch that was run.", _SIZES, "model_name", "signature"
        )
        self._tokens = self._counter(
            f"{_OURS}generated_tokens_total", "Tokens that were generated.", "model_name"
        )
        self._token_rates = self._histogram(
            f"{_OURS}tokens_per_second", "Tokens per second of a generation.", _SIZES, "model_name"
        )

    def at_work(self) -> AbstractContextManager[Any]:
        """Counts one more request in flight inside the block."""
        return self._at_work.track_inprogress()

    def request_done(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """A request was answered.

        Args:
            model: as the client named it; counted as `UNKNOWN_MODEL` if not configured.
            api: as in `RequestFacts.api`.
            entrypoint: "REST" or "GRPC".
            status: the code's name, "OK" or "INVALID_ARGUMENT".
        """
        name = model if self._knows(model) else UNKNOWN_MODEL
        self._requests.labels(name, status).inc()
        if status == "OK":
            self._request_times.labels(name, api, entrypoint).observe(seconds * 1e6)

    def run_done(self, model: str, api: str, signature: str, seconds: float, num_examples: int) -> None:
        """TensorFlow has run a signature.

        Args:
            model: the name under which it is served.
            api: with a capital in the labels, "Predict", as the stock server has it for REST, too.
            num_examples: rows; those of classify and regress are counted as examples, too.
        """
        self._run_times.labels(model, api[:1].upper() + api[1:], "TF1").observe(seconds * 1e6)
        self._signature_times.labels(model, signature).observe(seconds * 1e6)
        self._rows.labels(model, signature).inc(num_examples)
        if api.lower() in _EXAMPLE_APIS:
            self._example_counts.labels(model).observe(num_examples)
            self._examples.labels(model).inc(num_examples)

    def batch_done(self, model: str, signature: str, size: int) -> None:
        """A batch of `size` rows, of one request or several, was run."""
        self._batch_sizes.labels(model, signature).observe(size)

    def tokens_done(self, model: str, count: int, seconds: float) -> None:
        """`count` tokens were generated in `seconds`."""
        self._tokens.labels(model).inc(count)
        if count and seconds > 0:
            self._token_rates.labels(model).observe(count / seconds)

    def warmed(self, model_path: str, status: str, seconds: float) -> None:
        """A version was warmed up, or failed to be."""
        self._warmups.labels(model_path, status).observe(seconds * 1e6)

    def watch(self, name: str, callback: Callable[[], Readings], labels: Sequence[str] = ()) -> None:
        """A gauge that is read when somebody asks.

        >>> metrics.watch("queue_depth", lambda: {("chat",): 3}, ["model_name"])
        >>> metrics.exposition()
        b'...:tflm:serving:queue_depth{model_name="chat"} 3.0...'

        Args:
            name: without `:tflm:serving:`. A second callback of the same name takes the place of the first.
            callback: a number, or with `labels` a number for each tuple of their values. One that fails is left out.
        """
        self._watched[name] = (callback, tuple(labels))

    def set_known_models(self, is_model: Callable[[str], bool]) -> None:
        """Which names may be labels.

        Args:
            is_model: name to whether a model of that name is configured.
        """
        self._is_model = is_model

    def exposition(self) -> bytes:
        """All numbers in Prometheus's text format, version 0.0.4."""
        return _SUFFIX.sub(rb"\1", prometheus_client.generate_latest(_WithoutTimes(self._registry)))

    def collect(self) -> Iterator[Metric]:
        """What is watched; prometheus_client calls it."""
        for name, (callback, labels) in list(self._watched.items()):
            family = GaugeMetricFamily(f"{_OURS}{name}", name.replace("_", " "), labels=labels)
            try:
                readings = callback()
                for values, number in (readings if isinstance(readings, Mapping) else {(): readings}).items():
                    family.add_metric(values, float(number))
            except Exception:  # a metric that fails must not hide the others
                _log.exception("the metric %s cannot be read", name)
                continue
            yield family

    def _knows(self, model: str) -> bool:
        if model not in self._models:
            if not self._is_model(model):
                return False
            self._models.add(model)
        return True

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self._registry)

    def _histogram(self, name: str, help: str, limits: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, help, labels, buckets=limits, registry=self._registry)


class _WithoutTimes:
    """A registry without the `_created` times that prometheus_client adds to each counter and histogram."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def watch_models(metrics: Metrics, manager: ModelManager) -> None:
    """Adds the gauge `model_version_state`, and lets the names of the configured models be labels."""
    metrics.set_known_models(lambda name: any(config.name == name for config in manager.configs()))
    metrics.watch("model_version_state", lambda: version_states(manager), ("model_name", "version", "state"))


def version_states(manager: ModelManager) -> dict[tuple[str, ...], float]:
    """1 for the model, version and state of each version.

    >>> version_states(manager)
    {("chat", "2", "AVAILABLE"): 1.0}
    """
    states: dict[tuple[str, ...], float] = {}
    for config in manager.configs():
        try:
            versions = manager.status(config.name)
        except ServingError:  # it has no version
            continue
        for version in versions:
            states[config.name, str(version.number), version.state] = 1.0
    return states
