"""What the clients of a server share: the error that is not the caller's fault, deadlines, and trying again."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tflm.errors import UserError

_Answer = TypeVar("_Answer")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class ServerError(UserError):
    """The server failed, is not there or went away; the request may be right. One line says which."""


class TryAgain(Exception):
    """The request was not carried out: nobody listened, or the server said "unavailable". It may be sent again."""


class Deadline:
    """Seconds that are left of those that a request may take in all, whatever is tried again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the end, a moment at least."""
        return max(self._end - time.monotonic(), 0.001)

    def allows(self, pause: float) -> bool:
        """Whether the end is later than after such a pause."""
        return time.monotonic() + pause < self._end


def one_line(message: str) -> str:
    """A server's words without the line ends that a kernel puts in.

    >>> one_line("In[0] ndims must be >= 2\n\t [[{{node matmul}}]]")
    'In[0] ndims must be >= 2 [[{{node matmul}}]]'
    """
    return " ".join(message.split())


def try_again(call: Callable[[], _Answer], url: str, deadline: Deadline, retries: int) -> _Answer:
    """Calls, and calls again where that is safe, with pauses of 0.1, 0.2, 0.4, ... seconds, up to 2.

    A pause is drawn between half of its length and all of it, so that many clients do not come back at once
    ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, with a floor).

    Args:
        call: one attempt; raises `TryAgain` if the server did not carry it out.
        url: for the message.
        retries: how often to try again at most.
    Raises:
        ServerError: the last attempt failed too, or the deadline is too near to wait for another.
    """
    pause = _FIRST_PAUSE
    for attempt in range(retries + 1):
        try:
            return call()
        except TryAgain as error:
            if attempt == retries or not deadline.allows(pause):
                raise ServerError(f"{url}: {error}") from error
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)
    raise AssertionError("unreachable: the last attempt returns or raises")
