"""Asks a server as fast as a number of clients can, each waiting for its answer before it asks again.

    python load.py '{"protocol": "rest", "port": 8501, "path": "/v1/models/m:predict", "payloads": "payloads.json",
                     "clients": 16, "seconds": 5}'
    python load.py '{"protocol": "null"}'        a server that says "{}" to everything, to see what this program can do

A process of its own, asyncio, requests that are bytes from the start, answers that are not parsed: what it costs a
request is reported as `cpu_seconds`, and `null` gives what it reaches at most. Prints one line of JSON.
"""

import asyncio
import base64
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

_LENGTH = b"content-length:"
_UNAVAILABLE = 503
_PAUSE = 0.02

Ask = Callable[[bytes], Awaitable[int]]
"""Sends a payload; the HTTP status, or 200 and 503 of gRPC."""


async def rest_client(settings: dict[str, Any]) -> Ask:
    """One kept connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", settings["port"])
    start = f"POST {settings['path']} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "

    async def ask(payload: bytes) -> int:
        writer.write(b"%b%d\r\n\r\n%b" % (start.encode(), len(payload), payload))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        begin = head.index(_LENGTH) + len(_LENGTH)
        await reader.readexactly(int(head[begin : head.index(b"\r\n", begin)]))
        return int(head[9:12])

    return ask


async def grpc_client(settings: dict[str, Any]) -> Ask:
    """One channel; the messages stay bytes."""
    import grpc

    channel = grpc.aio.insecure_channel(
        f"127.0.0.1:{settings['port']}", options=[("grpc.use_local_subchannel_pool", 1)]
    )
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    async def ask(payload: bytes) -> int:
        try:
            await call(payload)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return _UNAVAILABLE
        return 200

    return ask


async def run_client(
    ask: Ask, payloads: Iterator[bytes], end: float, seconds: list[float], refusals: list[int]
) -> None:
    """Asks until the end; what has been begun is answered."""
    while time.perf_counter() < end:
        payload, begin = next(payloads), time.perf_counter()
        while (status := await ask(payload)) == _UNAVAILABLE:
            refusals.append(status)
            await asyncio.sleep(_PAUSE)
        if status != 200:
            raise SystemExit(f"The server answers with status {status}.")
        seconds.append(time.perf_counter() - begin)


async def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """`latencies` in seconds of all answers, `seconds` from the first request to the last answer, `refusals`."""
    with open(settings["payloads"], encoding="ascii") as file:
        payloads = itertools.cycle([base64.b64decode(text) for text in json.load(file)])
    make = rest_client if settings["protocol"] == "rest" else grpc_client
    asks = [await make(settings) for _ in range(settings["clients"])]
    for ask in asks[:2]:  # what is made at the first request
        await ask(next(payloads))
    latencies: list[float] = []
    refusals: list[int] = []
    begin, processor = time.perf_counter(), time.process_time()
    end = begin + settings["seconds"]
    await asyncio.gather(*(run_client(ask, payloads, end, latencies, refusals) for ask in asks))
    return {
        "latencies": latencies,
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - processor,
        "refusals": len(refusals),
    }


async def serve_nothing() -> None:
    """Prints its port, and answers until it is killed."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            head = head.lower()
            begin = head.index(_LENGTH) + len(_LENGTH)
            await reader.readexactly(int(head[begin : head.index(b"\r\n", begin)]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async def until_it_leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await respond(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(until_it_leaves, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if given["protocol"] == "null":
        asyncio.run(serve_nothing())
    else:
        print(json.dumps(asyncio.run(measure(given))))
