"""Errors as OpenAI's API gives them: https://platform.openai.com/docs/guides/error-codes."""

from typing import Any

from tflm.serving.server.failures import failure

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class OpenAIError(Exception):
    """A request that is refused.

    Attributes:
        message: what the client reads.
        param: the field of the request that is wrong; None where it is not one alone.
        status: the HTTP status.
        code: a short name for programs, such as "model_not_found".
    """

    def __init__(
        self, message: str, param: str | None = None, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code


def error_record(error: Exception) -> tuple[int, dict[str, Any]]:
    """The HTTP status, and the body of the answer.

    >>> error_record(OpenAIError("n is 0, expected 1 to 128.", "n"))
    (400, {'error': {'message': 'n is 0, expected 1 to 128.', 'type': 'invalid_request_error', 'param': 'n',
                     'code': None}})
    """
    if not isinstance(error, OpenAIError):
        status, message = failure(error)
        error = OpenAIError(message, status=status)
    kind = _TYPES.get(error.status, "server_error")
    told = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return error.status, {"error": told}
