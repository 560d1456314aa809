"""Memory for what clients send over REST: the bodies of all requests that are here may take so much together.

RestServer(..., middleware=[Middleware(BodyBudget)])
"""

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tflm.serving.server import json_text
from tflm.serving.server.servable import MAX_BODY_BYTES
from tflm.serving.server.status import HTTP_STATUS

MAX_BODIES_BYTES = 16 * MAX_BODY_BYTES


class BodyBudget:
    """Counts bodies as they come, until their requests are answered; the request that would be too much is answered
    with 503, and the rest of its body is not read.

    For one event loop: nothing is locked.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODIES_BYTES) -> None:
        self._app, self._left = app, max_bytes

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
            words = "The requests that are here fill the memory that they may have. Send it again later."
            body = json_text.error_body(words)
            refusal = Response(body, HTTP_STATUS["UNAVAILABLE"], media_type="application/json")
            await refusal(scope, receive, send)
        finally:
            self._left += taken


class _TooMuch(Exception):
    """Nothing is left of the budget."""
