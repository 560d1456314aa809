"""What a route beyond TensorFlow Serving's answers when it fails: a status and a message."""

import logging

from starlette.requests import ClientDisconnect

from tflm.errors import UserError
from tflm.serving.server.request_facts import facts
from tflm.serving.server.rest_server import BodyRefused
from tflm.serving.server.status import HTTP_STATUS, ServingError

_log = logging.getLogger(__name__)


def failure(error: Exception) -> tuple[int, str]:
    """The HTTP status and the message; a bug of ours is logged, and no more is told of it than that it is one.

    The code is noted for the metrics and the access log: what fails in the midst of a stream has begun with 200.

    >>> failure(ServingError("NOT_FOUND", "no model m")), failure(KeyError("x"))
    ((404, 'no model m'), (500, "Internal error; the server's log has more."))
    """
    if isinstance(error, ServingError):
        facts().status = error.code
        return HTTP_STATUS[error.code], error.message
    if isinstance(error, BodyRefused):
        return error.status, str(error)
    if isinstance(error, UserError):
        return 400, str(error)
    if isinstance(error, ClientDisconnect):
        return HTTP_STATUS["CANCELLED"], "The client has left."
    if isinstance(error, RecursionError):
        return 400, "JSON Parse error: Nested too deep."
    facts().status = "INTERNAL"
    _log.error("a request failed", exc_info=error)
    return 500, "Internal error; the server's log has more."
