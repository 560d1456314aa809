"""HTTP connections to one server, kept between requests; a request is never lost to one that the server has closed.

A server may close a kept connection whenever it likes. Most often that is seen before anything is sent. If it happens
in that very moment, a request that can be sent twice without harm, as all of a model server can, is sent once more on
a fresh connection.
"""

import dataclasses
import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any

from tflm.serving.remote import Deadline

_MOST_KEPT = 16


@dataclasses.dataclass(frozen=True)
class Answer:
    """An HTTP response, whole."""

    status: int
    headers: http.client.HTTPMessage
    """`get(NAME)`, in any case."""
    body: bytes


class NotConnected(Exception):
    """Nothing was sent: nobody listens there, or there is no such host."""


class WentAway(Exception):
    """Sent, or begun to be, and the connection broke before the answer was whole; or what came is not HTTP."""


class HttpConnections:
    """For one server; any number of threads may use it at a time."""

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext | None) -> None:
        """Connects nowhere yet.

        Args:
            context: for HTTPS; None for HTTP.
        """
        self._host, self._port, self._context = host, port, context
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def send(
        self, method: str, resource: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> Answer:
        """Sends a request that can be sent twice without harm; what the server answers, whatever its status.

        Raises:
            NotConnected: nothing was sent.
            WentAway: no whole answer came.
            TimeoutError: the deadline is over.
            ssl.SSLError: no TLS with that server.
        """
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, method, resource, body, headers, deadline)
            except _Unanswered as error:
                try:
                    fresh = self._connect(deadline)
                except NotConnected:  # so the server has gone, and it may have had the request
                    raise error from None
        else:
            fresh = self._connect(deadline)
        return self._exchange(fresh, method, resource, body, headers, deadline)

    def close(self) -> None:
        """Closes those that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> http.client.HTTPConnection | None:
        """A kept connection on which nothing has come; where something has, it is that the server has closed it."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.sock is not None and not _is_readable(connection.sock):
                return connection
            connection.close()

    def _connect(self, deadline: Deadline) -> http.client.HTTPConnection:
        left = deadline.left()
        if self._context is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=left)
        else:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=left, context=self._context
            )
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            if _is_about_tls(error):
                raise
            raise NotConnected(error.strerror or str(error)) from error
        except UnicodeError as error:  # a part of its name that is empty, or longer than 63 letters
            raise NotConnected("no host can have that name") from error
        return connection

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        resource: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> Answer:
        """One request on a connection, which is kept if both sides want to."""
        reader = _Reader(connection.sock, deadline)
        connection.response_class = reader.response  # type: ignore[assignment]
        try:
            connection.sock.settimeout(deadline.left())
            connection.request(method, resource, body, dict(headers))
            response = connection.getresponse()
            is_unmeasured = response.length is None and not response.chunked
            answer = Answer(response.status, response.headers, response.read())
            if (
                is_unmeasured and not answer.body
            ):  # it ended amid its headers, which http.client takes for their end
                raise http.client.IncompleteRead(b"")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, TimeoutError) or _is_about_tls(error):
                raise
            kind = WentAway if reader.has_heard else _Unanswered
            raise kind(str(error) or type(error).__name__) from error
        except BaseException:  # such as a KeyboardInterrupt: what comes belongs to no request
            connection.close()
            raise
        if response.will_close or not self._keep(connection):
            connection.close()
        return answer

    def _keep(self, connection: http.client.HTTPConnection) -> bool:
        with self._lock:
            has_room = len(self._idle) < _MOST_KEPT
            if has_room:
                self._idle.append(connection)
        return has_room


class _Unanswered(WentAway):
    """Not a byte of an answer came."""


class _Reader(io.RawIOBase):
    """What a response is read from, so that a deadline holds for all of it: the time-out of a socket begins anew with
    every byte that comes.

    Attributes:
        has_heard: whether anything has come.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline, self.has_heard = sock, deadline, False
        self._source: Any = None

    def response(self, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        """In place of the class `http.client.HTTPResponse`."""
        response = http.client.HTTPResponse(*args, **kwargs)
        self._source = response.fp.detach()
        response.fp = io.BufferedReader(self)
        return response

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As `io.RawIOBase.readinto`; waits until the deadline at most."""
        self._socket.settimeout(self._deadline.left())
        count = self._source.readinto(buffer)
        self.has_heard = self.has_heard or bool(count)
        return count

    def close(self) -> None:
        """Closes the socket, if nobody else has it."""
        if self._source is not None:
            self._source.close()
        super().close()


def _is_about_tls(error: Exception) -> bool:
    """Whether the two sides did not agree; a connection that breaks is reported by the same module."""
    return isinstance(error, ssl.SSLError) and not isinstance(
        error, ssl.SSLEOFError | ssl.SSLZeroReturnError | TimeoutError
    )


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()  # unlike `select.select`, it takes any number of open files
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
