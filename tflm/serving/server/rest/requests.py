"""What every route does with a request: its body within limits, its failure as a status and a message."""

import gzip
import io
import logging

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tflm.errors import UserError
from tflm.serving.server.core import json_text
from tflm.serving.server.core.servable import MAX_BODY_BYTES
from tflm.serving.server.core.status import HTTP_STATUS, ServingError
from tflm.serving.server.core.telemetry import facts

MAX_BODIES_BYTES = 16 * MAX_BODY_BYTES
_log = logging.getLogger(__name__)


class BodyRefused(Exception):
    """A body that is too large, or not what it says it is.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request) -> bytes:
    """The body, unpacked where it is gzip, within `MAX_BODY_BYTES` before and after.

    Raises:
        BodyRefused: too large, or not gzip.
        ClientDisconnect: the client disconnected.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BodyRefused(413, _too_large())
        chunks.append(chunk)
    body = b"".join(chunks)
    if "gzip" not in request.headers.get("content-encoding", "").lower():
        return body
    try:
        body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_BODY_BYTES + 1)
    except (OSError, EOFError, ValueError) as error:
        raise BodyRefused(400, f"The request's body is not gzip: {error}") from error
    except Exception as error:  # zlib.error, for a damaged stream
        raise BodyRefused(400, f"The request's gzip body is damaged: {error}") from error
    if len(body) > MAX_BODY_BYTES:
        raise BodyRefused(413, _too_large())
    return body


def _too_large() -> str:
    return f"The request's body is larger than {MAX_BODY_BYTES} bytes. Send fewer rows at a time."


class BodyBudget:
    """A limit on the memory of request bodies in flight; a request over it is refused with 503, and the rest of its
    body is not read.

    For one event loop: nothing is locked.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODIES_BYTES) -> None:
        self._app, self._max_bytes, self._left = app, max_bytes, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            size = len(message.get("body", b""))
            if size > self._left:
                raise _TooMuch
            self._left -= size
            taken += size
            return message

        try:
            await self._app(scope, counted, send)
        except _TooMuch:
            words = f"server overloaded: request bodies in flight exceed {self._max_bytes} bytes; retry later"
            body = json_text.error_body(words)
            refusal = Response(body, HTTP_STATUS["UNAVAILABLE"], media_type="application/json")
            await refusal(scope, receive, send)
        finally:
            self._left += taken


class _TooMuch(Exception):
    """The budget is used up."""


def failure(error: Exception) -> tuple[int, str]:
    """The HTTP status and the message; an unexpected exception is logged, and not shown to the client.

    The code is noted for the metrics and the access log: a stream that fails has begun with 200.

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
        return HTTP_STATUS["CANCELLED"], "The client disconnected."
    if isinstance(error, RecursionError):
        return 400, "JSON Parse error: Nested too deep."
    facts().status = "INTERNAL"
    _log.error("a request failed", exc_info=error)
    return 500, "Internal error; the server's log has more."
