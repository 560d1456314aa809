"""Cancels the work of a request from another thread: deadline exceeded, or the client disconnected."""

import contextlib
import threading
from collections.abc import Callable, Iterator


class Cancellation:
    """Begins as not cancelled, and once it is, stays so.

    Attributes:
        is_cancelled: whether `cancel` was called.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """From any thread; again does no harm."""
        with self._lock:
            self.is_cancelled = True
            for callback in self._callbacks:
                callback()
            self._callbacks.clear()

    @contextlib.contextmanager
    def calls(self, callback: Callable[[], None]) -> Iterator[None]:
        """Inside the block `cancel` calls `callback`, from its own thread; at once if it was called before. After the
        block it no longer runs."""
        with self._lock:
            if self.is_cancelled:
                callback()
            else:
                self._callbacks.append(callback)
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._callbacks.remove(callback)
