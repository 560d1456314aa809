"""The forms of OpenAI's errors."""

import pytest

from tflm.errors import UserError
from tflm.serving.server.core.status import ServingError
from tflm.serving.server.core.telemetry import gathering
from tflm.serving.server.openai.responses import OpenAIError, error_record
from tflm.serving.server.rest.requests import BodyRefused


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ServingError("RESOURCE_EXHAUSTED", "full"), 429, "rate_limit_error"),
        (ServingError("UNAVAILABLE", "full"), 503, "server_error"),
        (ServingError("UNAUTHENTICATED", "who"), 401, "authentication_error"),
        (BodyRefused(413, "large"), 413, "invalid_request_error"),
        (UserError("wrong"), 400, "invalid_request_error"),
        (RecursionError("deep"), 400, "invalid_request_error"),
        (OpenAIError("no", "n"), 400, "invalid_request_error"),
    ],
)
def test_every_error_has_its_form(error, status, kind):
    found, record = error_record(error)
    assert found == status and record["error"]["type"] == kind
    assert set(record["error"]) == {"message", "type", "param", "code"}


def test_of_a_bug_no_more_is_told_than_that_it_is_one():
    with gathering() as noted:
        status, record = error_record(KeyError("secret"))
    assert status == 500 and noted.status == "INTERNAL"
    assert record["error"]["message"] == "Internal error; the server's log has more."


def test_the_code_is_noted():
    with gathering() as noted:
        error_record(ServingError("UNAVAILABLE", "full"))
    assert noted.status == "UNAVAILABLE"
