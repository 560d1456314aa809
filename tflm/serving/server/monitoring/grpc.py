"""Times every gRPC call and reports it to the monitor: an interceptor around the services."""

import functools
import itertools
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from tflm.serving.server.core.telemetry import RequestFacts, gathering
from tflm.serving.server.monitoring.monitor import Exchange, Monitor, request_id

_ID = "x-request-id"


class GrpcMonitoring(grpc.ServerInterceptor):
    """The outermost interceptor, so that what others refuse is seen, too.

    GrpcServer(manager, num_threads, interceptors=[GrpcMonitoring(monitor)])

    Calls with one message each way, which are all those to models; and those with a stream each way, such as
    `BearerInterceptor` puts in the place of what it refuses, of which no message is looked at. The request's id comes
    as the metadata `x-request-id`, and goes back in the trailing metadata.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The handler, timed."""
        handler = continuation(handler_call_details)
        path = handler_call_details.method
        for kind, make, timed in (
            ("unary_unary", grpc.unary_unary_rpc_method_handler, self._timed),
            ("stream_stream", grpc.stream_stream_rpc_method_handler, self._timed_stream),
        ):
            if handler is not None and (answer := getattr(handler, kind)) is not None:
                work = functools.partial(timed, path, answer)
                return make(work, handler.request_deserializer, handler.response_serializer)
        return handler

    def _timed(
        self, path: str, answer: Callable[[Any, Any], Any], request: Any, context: grpc.ServicerContext
    ) -> Any:
        began, response = time.perf_counter(), None
        with gathering() as facts:
            _read_request(path, request, facts)
            exchange = _begin(path, context, facts)
            exchange.bytes_in = request.ByteSize()
            try:
                with self._monitor.at_work(path):
                    response = answer(request, context)
                return response
            finally:
                exchange.status = _status(context, response is not None)
                exchange.bytes_out = 0 if response is None else response.ByteSize()
                if self._monitor.max_text:
                    exchange.request_text = _texts(request, "inputs", self._monitor.max_text)
                    exchange.response_text = _texts(response, "outputs", self._monitor.max_text)
                exchange.seconds = time.perf_counter() - began
                self._monitor.finished(exchange)

    def _timed_stream(
        self, path: str, answer: Callable[[Any, Any], Any], requests: Any, context: grpc.ServicerContext
    ) -> Iterator[Any]:
        began, has_answered = time.perf_counter(), False
        exchange = _begin(path, context, RequestFacts(api=path.rpartition("/")[2]))
        try:
            yield from answer(requests, context)
            has_answered = True
        finally:
            exchange.status = _status(context, has_answered)
            exchange.seconds = time.perf_counter() - began
            self._monitor.finished(exchange)


def _begin(path: str, context: grpc.ServicerContext, facts: RequestFacts) -> Exchange:
    sent_id = dict(context.invocation_metadata()).get(_ID)
    exchange = Exchange("GRPC", "POST", path, _client(context), request_id(_plain(sent_id)), facts)
    context.set_trailing_metadata(((_ID, exchange.request_id),))
    return exchange


def _read_request(path: str, request: Any, facts: RequestFacts) -> None:
    """What the messages have in common: their `model_spec`; MultiInference has one for each task, all of one model."""
    facts.api = path.rpartition("/")[2]
    tasks = getattr(request, "tasks", ())
    spec = tasks[0].model_spec if tasks else getattr(request, "model_spec", None)
    if spec is None or not spec.name:
        return
    facts.model, facts.signature = spec.name, spec.signature_name or None
    facts.label = spec.version_label or None
    facts.version = spec.version.value if spec.HasField("version") else None


def _status(context: Any, has_answered: bool) -> str:
    if not context.is_active():  # the client has left, or waited no longer
        remaining = context.time_remaining()
        return "DEADLINE_EXCEEDED" if remaining is not None and remaining <= 0 else "CANCELLED"
    code = context.code()
    if code is None:
        return "OK" if has_answered else "UNKNOWN"
    return str(code.name)


def _client(context: grpc.ServicerContext) -> str:
    """>>> _client(context)      # whose peer is "ipv6:%5B::1%5D:4711"
    '[::1]:4711'
    """
    return urllib.parse.unquote(context.peer()).partition(":")[2]


def _plain(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _texts(message: Any, field: str, max_text: int) -> str | None:
    """The beginnings of the strings in a message's tensors, with newlines between."""
    tensors: Iterable[Any] = getattr(message, field, {}).values() if message is not None else ()
    strings = itertools.chain.from_iterable(tensor.string_val for tensor in tensors)
    some = [string[: 4 * max_text] for string in itertools.islice(strings, max_text)]
    return b"\n".join(some).decode("utf-8", "replace")[:max_text] or None
