"""SIGTERM and Ctrl-C during training: a request to save a checkpoint and leave."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, Self

_SHOW_CURSOR = "\x1b[?25h"
EXIT_AT_ONCE = 130


class StopSignals:
    """A context in which SIGTERM and the first SIGINT only set `received`; the loop looks at it between two calls of
    the compiled steps. A second SIGINT ends the process at once with exit code 130, also during a call.

    Python's handlers run when a call of C++ code returns. A thread that the C handler wakes (`signal.set_wakeup_fd`)
    therefore reports the signal, and ends the process. Outside the main thread, where Python has no signals, the
    context does nothing; a signal that the process ignores stays ignored. The former handlers are restored at the end.

    Args:
        note_fn: called with a line for the user when a signal arrives, in the other thread.
    """

    def __init__(self, note_fn: Callable[[str], None] = lambda text: None) -> None:
        self.received = ""
        """Name of the first signal; "" before."""
        self._note_fn = note_fn
        self._handlers: dict[signal.Signals, Any] = {}
        self._wakeup: int | None = None
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        previous = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(previous)
        if previous == -1:  # else an event loop uses it
            reader, self._wakeup = os.pipe()
            os.set_blocking(self._wakeup, False)
            signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
            self._watcher = threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True)
            self._watcher.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        if self._wakeup is not None and self._watcher is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._wakeup)
            self._watcher.join()

    def until_received(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches.

        Raises:
            StopRequested: a signal arrived.
        """
        for batch in batches:
            if self.received:
                raise StopRequested
            yield batch

    def _receive(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._watcher is None and name == self.received == "SIGINT":
            raise KeyboardInterrupt
        self.received = self.received or name

    def _watch(self, reader: int) -> None:
        """Reads the numbers of signals until the other end is closed."""
        with open(reader, "rb", buffering=0) as pipe:
            is_first, num_interrupts = True, 0
            while number := pipe.read(1):
                if number[0] not in self._handlers:
                    continue
                num_interrupts += number[0] == signal.SIGINT
                if num_interrupts > 1:
                    _leave()
                if is_first:
                    again = " Ctrl-C again leaves at once." if number[0] == signal.SIGINT else ""
                    name = signal.Signals(number[0]).name
                    self._note_fn(f"{name}: saving a checkpoint after the running steps.{again}")
                is_first = False


class StopRequested(Exception):
    """A signal arrived during an evaluation, which is begun again when the run is resumed."""


def _leave() -> None:
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            os.write(2, _SHOW_CURSOR.encode())
        os.write(2, b"\ninterrupted again: left without a new checkpoint.\n")
    os._exit(EXIT_AT_ONCE)


def stop_message(signal: str, step: int, num_steps: int) -> str:
    """Says what a stop by `signal`, "" for another worker's, left behind."""
    begin = f"{signal}: " if signal else ""
    if not step:
        return f"{begin}stopped before the first step. The same command begins again."
    return (
        f"{begin}saved a checkpoint at step {step:,} of {num_steps:,}. The same command continues from there."
    )
