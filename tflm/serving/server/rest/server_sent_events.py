"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html.

A comment now and then keeps proxies from closing an idle connection before the first token.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

HEARTBEAT_SECONDS = 10.0
"""After this long without an event, a comment is sent."""
_HEARTBEAT = b": keep-alive\n\n"
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the latter for nginx


def as_json(record: Any) -> bytes:
    """One line of UTF-8, whatever is in the strings."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")


def event(record: Any, name: str = "") -> bytes:
    """One event.

    >>> event({"piece": "好\\n"}), event({}, "end")
    ('data: {"piece": "好\\\\n"}\\n\\n'.encode(), b'event: end\\ndata: {}\\n\\n')
    """
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + as_json(record) + b"\n\n"


async def respond(
    events: AsyncIterator[bytes], as_event: Callable[[Exception], bytes]
) -> "EventStreamResponse":
    """The answer that sends `events`, once there is one, or `HEARTBEAT_SECONDS` have passed.

    Args:
        events: see `event`.
        as_event: what is sent, last, of an exception that comes when the answer has begun.
    Raises:
        Exception: what `events` raised before, so that it becomes a status of its own.
    """
    chunks = _with_heartbeats(events, as_event)
    first = await anext(chunks, b"")
    return EventStreamResponse(first, chunks)


class EventStreamResponse(StreamingResponse):
    """Stops streaming as soon as the client disconnects."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, chunks: AsyncGenerator[bytes, None]) -> None:
        """Sends `first`, and then what `chunks` give."""
        super().__init__(_joined(first, chunks), headers=_HEADERS)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._chunks.aclose()


async def _joined(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in others:
        yield chunk


async def _with_heartbeats(
    events: AsyncIterator[bytes], as_event: Callable[[Exception], bytes]
) -> AsyncGenerator[bytes, None]:
    has_begun = False
    coming = asyncio.ensure_future(_next_of(events))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
            try:
                chunk = coming.result() if done else _HEARTBEAT
            except Exception as error:  # every one has a form on the wire
                if not has_begun:
                    raise
                yield as_event(error)
                return
            if chunk is None:
                return
            if done:
                coming = asyncio.ensure_future(_next_of(events))
            has_begun = True
            yield chunk
    finally:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await coming
        if close := getattr(events, "aclose", None):
            await close()


async def _next_of(events: AsyncIterator[bytes]) -> bytes | None:
    return await anext(events, None)
