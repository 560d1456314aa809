"""The bytes of events, and that what makes them ends when nobody reads them."""

import asyncio
import contextlib

import pytest

from tflm.serving.server.rest import server_sent_events
from tflm.serving.server.rest.server_sent_events import as_json, event, respond


def test_an_event_is_one_line_of_json():
    assert event({"piece": "好\n\r😀"}) == 'data: {"piece": "好\\n\\r😀"}\n\n'.encode()
    assert event({}, "end") == b"event: end\ndata: {}\n\n"
    assert as_json("a\ud800") == b'"a?"'


async def source(log, chunks, wait=0.0):
    try:
        for chunk in chunks:
            await asyncio.sleep(wait)
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
    finally:
        log.append("closed")


async def send_all(response, leave_after=None):
    """The bodies that are sent; the client leaves after a number of them."""
    sent, left = [], asyncio.Event()

    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            sent.append(message["body"])
            if len(sent) == leave_after:
                left.set()
                await asyncio.sleep(0)

    await response({"type": "http"}, receive, send)
    return sent


def as_event(error):
    return f"error {error}".encode()


def test_all_is_sent_and_a_later_error_is_the_last():
    async def run():
        log = []
        response = await respond(source(log, [b"a", b"b", ValueError("x"), b"c"]), as_event)
        return await send_all(response), log

    assert asyncio.run(run()) == ([b"a", b"b", b"error x", b""], ["closed"])


def test_a_first_error_is_raised():
    log = []
    with pytest.raises(ValueError, match="x"):
        asyncio.run(respond(source(log, [ValueError("x")]), as_event))
    assert log == ["closed"]


@pytest.mark.parametrize("leave_after", [1, 3])
def test_who_leaves_closes_the_source(leave_after):
    async def run():
        log = []
        chunks = source(log, [b"a"] * 10_000, 0.001)  # a name of its own, so that nobody else closes it
        sent = await send_all(await respond(chunks, as_event), leave_after)
        return len(sent), [*log]

    number, log = asyncio.run(run())
    assert number < 10_000 and log == ["closed"]


@pytest.mark.parametrize("wait", [0, 3600])
def test_an_answer_that_nobody_takes_closes_the_source(monkeypatch, wait):
    """The client has left before the first byte; the next event is there already, or will not be soon."""
    monkeypatch.setattr(server_sent_events, "HEARTBEAT_SECONDS", 0.01)

    async def run():
        log = []
        chunks = source(log, [b"a"] * 100, wait)
        response = await respond(chunks, as_event)
        await asyncio.sleep(0.01)

        async def gone():
            return {"type": "http.disconnect"}

        async def broken(_):
            raise ConnectionError("gone")

        with contextlib.suppress(BaseExceptionGroup, ConnectionError):
            await asyncio.wait_for(response({"type": "http"}, gone, broken), 30)
        return [*log]

    assert asyncio.run(run()) == ["closed"]


def test_comments_come_while_nothing_else_does(monkeypatch):
    monkeypatch.setattr(server_sent_events, "HEARTBEAT_SECONDS", 0.01)

    async def run():
        return await send_all(await respond(source([], [b"a", ValueError("x")], 0.2), as_event))

    sent = asyncio.run(run())
    comment = b": keep-alive\n\n"
    assert sent[0] == comment and [each for each in sent if each != comment] == [b"a", b"error x", b""]
