"""Bearer tokens (RFC 6750): who may ask the server. A middleware for REST and an interceptor for gRPC.

tokens = TokenFile("tokens.txt")
RestServer(..., middleware=[Middleware(BearerAuth, tokens=tokens)])
GrpcServer(..., interceptors=[BearerInterceptor(tokens)])
"""

import hashlib
import hmac
import logging
import os
import threading
from collections.abc import Callable, Collection
from typing import Any

import grpc
from starlette.types import ASGIApp, Receive, Scope, Send

from tflm.errors import UserError
from tflm.serving.server.core import json_text
from tflm.serving.tokens import read_tokens

OPEN_PATHS = ("/healthz", "/readyz")
"""Paths that need no token: health checks."""
_OPEN_SERVICE = "/grpc.health.v1.Health/"
_WANTED = "This server requires a token. Send it as 'Authorization: Bearer TOKEN'."
_WRONG = "Unknown token."
_log = logging.getLogger(__name__)


class TokenFile:
    """The tokens of a file, one a line. Whatever is changed there holds for the next request, so that a token can be
    replaced while the server runs: add the new one, give it to the clients, take the old one away."""

    def __init__(self, path: str) -> None:
        """Reads the file.

        Raises:
            UserError: as `tflm.serving.tokens.read_tokens`.
        """
        self._path, self._lock = path, threading.Lock()
        self._seen = self._state()
        self._digests = self._read()

    def accepts(self, authorization: str | None) -> bool:
        """Whether a header's value, such as "Bearer TOKEN", has one of the tokens.

        How long this takes does not tell how much of a token was right: digests of one length are compared by
        `hmac.compare_digest`, and always all of them.
        """
        scheme, _, token = (authorization or "").partition(" ")
        digest = _digest(token.strip())
        found = False
        for known in self._current():
            found |= hmac.compare_digest(known, digest)
        return found and scheme.lower() == "bearer"

    def refusal(self, authorization: str | None) -> str | None:
        """What is wrong with a header's value, for the client to read; None if nothing is."""
        if self.accepts(authorization):
            return None
        return _WRONG if authorization else _WANTED

    def _current(self) -> tuple[bytes, ...]:
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                try:
                    self._digests = self._read()
                    _log.info("tokens reloaded: %d", len(self._digests))
                except UserError as error:
                    _log.error("tokens not reloaded, the old ones stay valid: %s", error)
            return self._digests

    def _state(self) -> tuple[int, ...]:
        """Another one after every change of the file, its mode included."""
        try:
            found = os.stat(self._path)
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read(self) -> tuple[bytes, ...]:
        return tuple(_digest(token) for token in read_tokens(self._path, "auth_token_file"))


class BearerAuth:
    """ASGI middleware: 401 without a valid token.

    A browser's pre-flight request has none either: the middleware that answers those is outside of this one.
    """

    def __init__(self, app: ASGIApp, tokens: TokenFile, open_paths: Collection[str] = OPEN_PATHS) -> None:
        """
        Args:
            app: answers those who have one.
            open_paths: answered without, such as that of the chat page, which asks for the token.
        """
        self._app, self._tokens, self._open_paths = app, tokens, frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on."""
        if scope["type"] == "lifespan" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        authorization = shown[0].decode("latin-1") if len(shown) == 1 else None
        problem = self._tokens.refusal(authorization)
        if problem is None:
            await self._app(scope, receive, send)
            return
        challenge = b'Bearer realm="tflm"' + (b', error="invalid_token"' if problem == _WRONG else b"")
        body = json_text.error_body(problem)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"www-authenticate", challenge),
        ]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class BearerInterceptor(grpc.ServerInterceptor):
    """UNAUTHENTICATED without a valid token, before the request is read. The health service stays open."""

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, or one that refuses it."""
        shown = [value for key, value in handler_call_details.invocation_metadata if key == "authorization"]
        problem = self._tokens.refusal(shown[0] if len(shown) == 1 else None)
        if problem is None or handler_call_details.method.startswith(_OPEN_SERVICE):
            return continuation(handler_call_details)

        def refuse(_: Any, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, problem)

        # A stream-to-stream handler serves for every kind of call.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
