"""Admission control: limits on requests in flight, running and waiting; a request over a limit is refused at once."""

import collections
import contextlib
import threading
from collections.abc import Iterator

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core.status import ServingError


class InFlightLimit:
    """A limit on requests in flight. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit, self._in_flight, self._lock = limit, 0, threading.Lock()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request as in flight inside the block.

        Raises:
            ServingError: UNAVAILABLE, the limit is reached.
        """
        with self._lock:
            if self._in_flight >= self._limit:
                raise ServingError(
                    "UNAVAILABLE",
                    f"server overloaded: {self._in_flight} requests in flight (limit {self._limit}); retry later",
                )
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1


class Admission:
    """A limit on running requests, and on those that wait for one of them to end, first in, first out. Thread-safe.

    Attributes:
        num_waiting, num_running: now.
    """

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running, self._max_waiting = max_running, max_waiting
        self._lock = threading.Lock()
        self._waiting: collections.deque[threading.Event] = collections.deque()
        self.num_running = 0

    @property
    def num_waiting(self) -> int:
        """Requests waiting to run."""
        return len(self._waiting)

    @contextlib.contextmanager
    def turn(self, cancellation: Cancellation) -> Iterator[None]:
        """The block runs as soon as a running request may be added.

        Raises:
            ServingError: UNAVAILABLE, the limit of waiting requests is reached; CANCELLED while waiting.
        """
        self._wait(cancellation)
        try:
            yield
        finally:
            with self._lock:
                self._end_one()

    def _wait(self, cancellation: Cancellation) -> None:
        mine = threading.Event()
        with self._lock:
            if self.num_running < self._max_running:
                self.num_running += 1
                return
            if len(self._waiting) >= self._max_waiting:
                raise ServingError(
                    "UNAVAILABLE",
                    f"server overloaded: {self.num_running} requests running, {len(self._waiting)} waiting (limit "
                    f"{self._max_waiting}); retry later",
                )
            self._waiting.append(mine)
        with cancellation.calls(mine.set):
            mine.wait()
        if not cancellation.is_cancelled:
            return
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:  # it had been admitted as well
                self._end_one()
        raise ServingError("CANCELLED", "The request was cancelled while waiting.")

    def _end_one(self) -> None:
        """Admits the next waiting request."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self.num_running -= 1
