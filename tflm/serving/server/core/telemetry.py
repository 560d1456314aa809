"""What the core reports of its work: facts about the current request, and runs to an observer.

Middleware and interceptors know the path, the time and the bytes; only those who read the body know the signature and
the rows. They write here, from wherever they run:

    facts().signature = "chat"
    facts().add_tokens(12)
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(slots=True)
class RequestFacts:
    """Of one request; what is not known is None."""

    model: str | None = None
    """As it was asked for; requests without one (pages, probes) are not counted for any model."""
    version: int | None = None
    label: str | None = None
    api: str = ""
    """What was called, as the stock server labels its latencies: "predict" over REST, "Predict" over gRPC."""
    signature: str | None = None
    num_rows: int | None = None
    num_tokens: int | None = None
    """Generated ones."""
    status: str | None = None
    """The code's name, "INVALID_ARGUMENT", where the handler knows more than the HTTP status."""

    def add_tokens(self, count: int) -> None:
        """Counts generated tokens; a stream does so piece by piece."""
        self.num_tokens = (self.num_tokens or 0) + count


_current: contextvars.ContextVar[RequestFacts | None] = contextvars.ContextVar("request_facts", default=None)


def facts() -> RequestFacts:
    """Those of the current request; without one, as in a warm-up, a throw-away record.

    A thread sees them if it runs in a copy of the request's context (`contextvars.copy_context().run`).
    """
    return _current.get() or RequestFacts()


@contextlib.contextmanager
def gathering() -> Iterator[RequestFacts]:
    """New facts, for what runs inside the block."""
    gathered = RequestFacts()
    token = _current.set(gathered)
    try:
        yield gathered
    finally:
        _current.reset(token)


class Observer:
    """Gets a call for each event of a server's models; this one ignores them. Any thread may call it.

    `tflm.serving.server.monitoring.metrics.Metrics` counts them.
    """

    def run_done(self, model: str, api: str, signature: str, seconds: float, num_examples: int) -> None:
        """A signature has answered.

        Args:
            api: what was called, such as "Predict".
            seconds: waiting included.
        """

    def batch_done(self, model: str, signature: str, size: int) -> None:
        """A batch of `size` rows has run."""

    def warmed(self, model_path: str, status: str, seconds: float) -> None:
        """A version was warmed up, or failed to be.

        Args:
            status: the code's name, "OK".
        """
