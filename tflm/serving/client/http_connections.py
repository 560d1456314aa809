"""A pool of HTTP connections to one server: urllib3, and what it lacks.

Added here: a deadline over the whole exchange (the read timeout of a socket starts over with every byte), one error for
each of "not sent" and "no whole answer", a second attempt where a kept connection turns out to be closed, and a pool of
its own for a forked process.
"""

import contextlib
import http.client
import io
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ClosedPoolError, HTTPError

from tflm.serving.client.remote import Deadline

_MAX_IDLE = 128  # more than the threads of most clients: urllib3 logs a warning for each that it closes


class NotConnected(Exception):
    """Nothing was sent: no server listens there, or there is no such host."""


class ConnectionLost(Exception):
    """The connection broke after the request was sent, in whole or in part; or the answer is not HTTP."""


class HttpConnections:
    """For one server; thread-safe."""

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext | None) -> None:
        """Does not connect yet.

        Args:
            context: for HTTPS; None for HTTP.
        """
        self._host, self._port, self._context = host, port, context
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._process = os.getpid()

    def send(
        self, method: str, resource: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> urllib3.BaseHTTPResponse:
        """Sends an idempotent request and reads the whole response, whatever its status. Follows no redirect.

        A server may close an idle connection at any time. If it does so just as the request is sent, the request is
        sent again on another connection.

        Raises:
            NotConnected: nothing was sent.
            ConnectionLost: no complete response.
            TimeoutError: the deadline has passed.
            ssl.SSLError: the TLS handshake failed.
        """
        stale = None
        for _ in range(_MAX_IDLE + 1):
            try:
                return self._exchange(method, resource, body, headers, deadline)
            except _Stale as error:
                stale = error
            except NotConnected:
                if stale is None:
                    raise
                break  # the server stopped listening; the first attempt may have reached it
            except ClosedPoolError:  # by another thread
                continue
        raise ConnectionLost(str(stale)) from stale

    def close(self) -> None:
        """Closes idle connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _exchange(
        self, method: str, resource: str, body: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(total=deadline.left())
        try:
            response = self._open_pool().urlopen(
                method, resource, body, headers, retries=False, redirect=False, timeout=timeout
            )
        except ClosedPoolError:
            raise
        except urllib3.exceptions.TimeoutError as error:
            raise TimeoutError(str(error)) from error
        except urllib3.exceptions.SSLError as error:
            cause = error.args[0] if error.args else error
            if _is_handshake_error(cause):
                raise cause from error
            raise ConnectionLost(str(cause)) from error
        except HTTPError as error:
            cause = next((part for part in reversed(error.args) if isinstance(part, Exception)), error)
            raise ConnectionLost(str(cause) or type(cause).__name__) from error
        if response.length_remaining is None and not response.chunked and not response.data:
            raise ConnectionLost("it ended within its headers")  # which http.client takes for their end
        return response

    def _open_pool(self) -> urllib3.HTTPConnectionPool:
        if self._process != os.getpid():  # forked: the parent still uses these connections
            self._process, self._pool = os.getpid(), None
        pool = self._pool
        if pool is None:
            try:
                host = self._host.encode("idna").decode("ascii")
            except UnicodeError as error:  # an empty label, or one longer than 63 letters
                raise NotConnected("invalid host name") from error
            if self._context is None:
                pool = urllib3.HTTPConnectionPool(host, self._port, maxsize=_MAX_IDLE)
                pool.ConnectionCls = _Timed
            else:
                pool = urllib3.HTTPSConnectionPool(
                    host, self._port, maxsize=_MAX_IDLE, ssl_context=self._context
                )
                pool.ConnectionCls = _TimedTls
            self._pool = pool
        return pool


class _Stale(Exception):
    """A kept connection broke before a byte of the response: the server had closed it."""


class _Timed(HTTPConnection):
    """A connection whose read timeout is for the whole response; it reports a stale connection as `_Stale`."""

    _reader: "_Reader | None" = None
    _is_kept = False

    def connect(self) -> None:
        """
        Raises:
            NotConnected: no connection.
        """
        self._is_kept = False
        try:
            super().connect()
        except (OSError, HTTPError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__ or error
            if _is_handshake_error(cause):
                raise
            raise NotConnected(getattr(cause, "strerror", None) or str(cause)) from error

    def request(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        self._reader = None
        with self._stale_is_reported():
            super().request(*args, **kwargs)

    def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]
        """As in the base class."""
        self._reader = _Reader(self.sock, Deadline(self.timeout))  # type: ignore[arg-type]
        self.response_class = self._reader.response  # type: ignore[assignment]
        with self._stale_is_reported():
            response = super().getresponse()
        self._is_kept = True
        return response

    @contextlib.contextmanager
    def _stale_is_reported(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            has_response = self._reader is not None and self._reader.has_read
            is_other = isinstance(error, TimeoutError) or _is_handshake_error(error)
            if has_response or is_other or not self._is_kept:
                raise
            raise _Stale(str(error) or type(error).__name__) from error


class _TimedTls(_Timed, HTTPSConnection):
    """The same over TLS."""


class _Reader(io.RawIOBase):
    """The bytes of a response, up to a deadline.

    Attributes:
        has_read: whether any have come.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._socket, self._deadline, self.has_read = sock, deadline, False
        self._source: Any = None

    def response(self, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        """In place of the class `http.client.HTTPResponse`."""
        response = http.client.HTTPResponse(*args, **kwargs)
        self._source = response.fp.detach()
        response.fp = io.BufferedReader(self)
        return response

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As `io.RawIOBase.readinto`; waits until the deadline at most."""
        self._socket.settimeout(self._deadline.left())
        count = self._source.readinto(buffer)
        self.has_read = self.has_read or bool(count)
        return count

    def close(self) -> None:
        """Closes the socket, unless the connection still uses it."""
        if self._source is not None:
            self._source.close()
        super().close()


def _is_handshake_error(error: BaseException) -> bool:
    """Whether the two sides did not agree on TLS; the ssl module also reports broken connections."""
    return isinstance(error, ssl.SSLError) and not isinstance(
        error, ssl.SSLEOFError | ssl.SSLZeroReturnError | TimeoutError
    )
