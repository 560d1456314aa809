"""Errors as they cross the wire: a canonical code, and TensorFlow Serving's words for it."""

import re

import tensorflow as tf

HTTP_STATUS = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
}
"""Code name to HTTP status, as TensorFlow Serving's `http_server.cc` has it."""

_CODES = {
    getattr(tf.errors, name): name
    for name in HTTP_STATUS
    if name != "UNKNOWN" and isinstance(getattr(tf.errors, name, None), int)
}
# What Python puts around a kernel's words, which the stock server sends alone.
_PREFIX = re.compile(r"\A(\{\{function_node [^}]*\}\} ?)+")
_SUFFIX = re.compile(r" ?\[Op:[^\]]*\]( name: .*)?\Z")


class ServingError(Exception):
    """A request that is refused or failed.

    Attributes:
        code: a key of `HTTP_STATUS`.
        message: what the client reads.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid(message: str) -> ServingError:
    """The commonest one: the client's request is wrong."""
    return ServingError("INVALID_ARGUMENT", message)


def from_tensorflow(error: Exception) -> ServingError:
    """An exception of TensorFlow with its own code and the kernel's words.

    >>> from_tensorflow(error).message       # of '{{function_node f_1}} In[0] ndims must be >= 2 [Op:f_1]'
    'In[0] ndims must be >= 2'
    """
    message = _SUFFIX.sub("", _PREFIX.sub("", str(getattr(error, "message", None) or error)))
    if isinstance(error, tf.errors.OpError):
        return ServingError(_CODES.get(error.error_code, "UNKNOWN"), message)
    if isinstance(error, TypeError | ValueError):
        return invalid(message)
    return ServingError("INTERNAL", message)
