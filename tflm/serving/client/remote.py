"""What the clients of a server share: typed errors, a deadline over all attempts, retries. Imports no TensorFlow.

An error is a `UserError`, so that an app prints its one line. Which of the two sides has to change something is the
class: a `RequestError` will be refused again, a `ServerError` need not be.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tflm.errors import UserError

_Answer = TypeVar("_Answer")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class RequestError(UserError):
    """The server refused the request, in its own words.

    Attributes:
        code: the name of gRPC's status code, also over REST: "INVALID_ARGUMENT", "FAILED_PRECONDITION", ...
    """

    code = "INVALID_ARGUMENT"


class NotFound(RequestError):
    """The server has no such model, version or label."""

    code = "NOT_FOUND"


class Unauthorized(RequestError):
    """The server wants a token, or another one: UNAUTHENTICATED or PERMISSION_DENIED."""

    code = "UNAUTHENTICATED"


class ServerError(UserError):
    """The server failed or cannot be reached; the request may be valid. One line says which.

    Attributes:
        code: as of `RequestError`: "INTERNAL", "CANCELLED", ...
    """

    code = "INTERNAL"


class Unavailable(ServerError):
    """Cannot connect, or the connection was lost before the response was complete."""

    code = "UNAVAILABLE"


class Overloaded(ServerError):
    """The server is overloaded, also after retries: UNAVAILABLE or RESOURCE_EXHAUSTED."""

    code = "UNAVAILABLE"


class Untrusted(ServerError):
    """No TLS with that server: its certificate is not trusted, or it does not trust ours."""

    code = "UNAVAILABLE"


class DeadlineExceeded(ServerError):
    """The deadline has passed, of the client or of the server."""

    code = "DEADLINE_EXCEEDED"


_ERRORS: dict[str, type[RequestError] | type[ServerError]] = {
    "INVALID_ARGUMENT": RequestError,
    "FAILED_PRECONDITION": RequestError,
    "OUT_OF_RANGE": RequestError,
    "ALREADY_EXISTS": RequestError,
    "ABORTED": RequestError,
    "UNIMPLEMENTED": RequestError,
    "NOT_FOUND": NotFound,
    "UNAUTHENTICATED": Unauthorized,
    "PERMISSION_DENIED": Unauthorized,
    "UNAVAILABLE": Overloaded,
    "RESOURCE_EXHAUSTED": Overloaded,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}


class TryAgain(Exception):
    """The request was not carried out: no connection, or the server said "unavailable". It may be retried.

    Attributes:
        error: what the caller sees if no attempt is left.
        after: seconds that the server asks us to wait at least.
    """

    def __init__(self, error: ServerError, after: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.after = error, after


class Deadline:
    """The deadline of a request, over all attempts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the end, a moment at least."""
        return max(self._end - time.monotonic(), 0.001)

    def allows(self, pause: float) -> bool:
        """Whether the end is later than after such a pause."""
        return time.monotonic() + pause < self._end

    def exceeded(self, url: str) -> DeadlineExceeded:
        """What is raised when nothing has come by then."""
        return DeadlineExceeded(f"{url}: deadline exceeded: no response within {self.seconds:g} seconds.")


def refused(code: str, url: str, words: str) -> RequestError | ServerError:
    """The error for a refused or failed request.

    >>> refused("NOT_FOUND", "grpc://h:1/m", "Servable not found for request: Latest(m) (NOT_FOUND)")
    NotFound('grpc://h:1/m: Servable not found for request: Latest(m) (NOT_FOUND)')

    Args:
        code: the name of gRPC's status code; one that is not known is the server's failure.
        words: the server's own, in one line.
    """
    kind = _ERRORS.get(code, ServerError)
    hint = ". Give a token by TFLM_TOKEN or --token_file" if kind is Unauthorized else ""
    error = kind(f"{url}: {words}{hint}")
    error.code = code
    return error


def one_line(message: str) -> str:
    """A server's words without the line ends that a kernel puts in.

    >>> one_line("In[0] ndims must be >= 2\\n\\t [[{{node matmul}}]]")
    'In[0] ndims must be >= 2 [[{{node matmul}}]]'
    """
    return " ".join(message.split())


def try_again(call: Callable[[], _Answer], deadline: Deadline, retries: int) -> _Answer:
    """Retries where that is safe, with exponential backoff: pauses of 0.1, 0.2, 0.4, ... seconds, up to 2.

    A pause is drawn between half of its length and all of it, so that many clients do not come back at once
    ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, with a floor). It is
    never shorter than what the server asks for.

    Args:
        call: one attempt; raises `TryAgain` if the server did not carry it out.
        retries: how often to try again at most.
    Raises:
        ServerError: the last attempt failed too, or the deadline is too near to wait for another.
    """
    longest = _FIRST_PAUSE
    for attempt in range(retries + 1):
        try:
            return call()
        except TryAgain as failed:
            pause = max(longest * random.uniform(0.5, 1.0), failed.after)
            if attempt == retries or not deadline.allows(pause):
                raise failed.error from failed
        time.sleep(pause)
        longest = min(2 * longest, _LONGEST_PAUSE)
    raise AssertionError("unreachable: the last attempt returns or raises")
