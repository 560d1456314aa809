"""Blocking work for the routes of the REST server: in threads, with a deadline, cancelled when a client disconnects."""

import asyncio
import concurrent.futures
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

from starlette.requests import Request

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core.admission import InFlightLimit
from tflm.serving.server.core.status import ServingError

_Answer = TypeVar("_Answer")
_END = object()


class Runner:
    """Runs work in threads of its own.

    answer = await runner.run(request, lambda cancellation: servable.run("generate", inputs, cancellation=cancellation))
    """

    def __init__(self, num_threads: int, timeout_seconds: float) -> None:
        """Starts no thread yet.

        Args:
            num_threads: the limit of requests in flight; further requests are refused at once.
            timeout_seconds: the deadline of a request; of a stream, of each piece.
        """
        self.timeout_seconds = timeout_seconds
        self._in_flight_limit = InFlightLimit(num_threads)
        self._threads = concurrent.futures.ThreadPoolExecutor(num_threads, "rest")

    async def run(self, request: Request, work: Callable[[Cancellation], _Answer]) -> _Answer:
        """What `work` returns.

        Args:
            request: its body has been read. When its client disconnects, the work is cancelled.
            work: gets what cancels it.
        Raises:
            ServingError: UNAVAILABLE, the limit of requests in flight is reached; DEADLINE_EXCEEDED; CANCELLED, when
            the client has disconnected.
        """
        with self._in_flight_limit.request():
            left = asyncio.ensure_future(_left(request))
            try:
                return await self._until(left, work, Cancellation())
            finally:
                left.cancel()

    async def pieces(
        self, request: Request, work: Callable[[Cancellation], Iterator[_Answer]]
    ) -> AsyncIterator[_Answer]:
        """Streams what `work` yields. The deadline holds for each item; closing the iterator, as Starlette does when
        the client disconnects, cancels the work.

        Raises:
            ServingError: as `run`.
        """
        cancellation = Cancellation()
        with self._in_flight_limit.request():
            left = asyncio.ensure_future(_left(request))
            iterator = None
            try:
                iterator = await self._until(left, lambda _: iter(work(cancellation)), cancellation)
                while (piece := await self._until(left, _next_of(iterator), cancellation)) is not _END:
                    yield piece
            finally:
                cancellation.cancel()
                left.cancel()
                if close := getattr(iterator, "close", None):
                    # The thread may still be inside; it ends soon, being cancelled.
                    self._threads.submit(_close, close)

    def close(self) -> None:
        """Takes no more work; does not wait for what is running."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _until(
        self, left: asyncio.Future, work: Callable[[Cancellation], Any], cancellation: Cancellation
    ) -> Any:
        run = contextvars.copy_context().run  # so that the thread knows the request it works for
        at_work = asyncio.get_running_loop().run_in_executor(self._threads, run, work, cancellation)
        pair: set[asyncio.Future[Any]] = {at_work, left}
        try:
            done, _ = await asyncio.wait(
                pair, timeout=self.timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if at_work in done:
                return at_work.result()
            if left in done:
                raise ServingError("CANCELLED", "The client disconnected.")
            raise ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification")
        finally:
            if not at_work.done():
                cancellation.cancel()
                at_work.cancel()


async def _left(request: Request) -> None:
    """Returns when the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _next_of(iterator: Iterator[_Answer]) -> Callable[[Cancellation], Any]:
    # StopIteration cannot leave a future.
    return lambda _: next(iterator, _END)


def _close(close: Callable[[], None]) -> None:
    try:
        close()
    except ValueError:  # it runs in another thread, which was cancelled and ends by itself
        return
