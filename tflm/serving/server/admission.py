"""Bounds: so many requests are here, so many of them run and the others wait; whoever comes then is told so at once."""

import collections
import contextlib
import threading
from collections.abc import Iterator

from tflm.serving.cancellation import Cancellation
from tflm.serving.server.status import ServingError


class Places:
    """For requests, from their beginning to their end; for any number of threads."""

    def __init__(self, count: int) -> None:
        self._count, self._taken, self._lock = count, 0, threading.Lock()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Takes one for the block.

        Raises:
            ServingError: UNAVAILABLE, all are taken.
        """
        with self._lock:
            if self._taken >= self._count:
                raise ServingError(
                    "UNAVAILABLE", f"{self._taken} requests are here, as many as may. Send it again later."
                )
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1


class Admission:
    """For any number of threads; first come, first served.

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
        """Those that wait for their turn."""
        return len(self._waiting)

    @contextlib.contextmanager
    def turn(self, cancellation: Cancellation) -> Iterator[None]:
        """The block runs when it is its turn.

        Raises:
            ServingError: UNAVAILABLE, as many wait as may; CANCELLED, it was cancelled while it waited.
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
                    f"{self.num_running} requests run and {len(self._waiting)} wait, as many as may. Send it again "
                    "later.",
                )
            self._waiting.append(mine)
        with cancellation.calls(mine.set):
            mine.wait()
        if not cancellation.is_cancelled:
            return
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:  # its turn had come as well
                self._end_one()
        raise ServingError("CANCELLED", "The request was cancelled while it waited.")

    def _end_one(self) -> None:
        """Hands the turn on."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self.num_running -= 1
