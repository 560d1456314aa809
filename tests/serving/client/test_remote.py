"""Errors with a code, deadlines, and trying again with pauses."""

import pytest

from tflm.errors import UserError
from tflm.serving.client import remote
from tflm.serving.client.remote import (
    Deadline,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    RequestError,
    ServerError,
    TryAgain,
    Unauthorized,
    Unavailable,
    one_line,
    refused,
    try_again,
)


@pytest.mark.parametrize(
    "code, kind",
    [
        ("INVALID_ARGUMENT", RequestError),
        ("FAILED_PRECONDITION", RequestError),
        ("NOT_FOUND", NotFound),
        ("UNAUTHENTICATED", Unauthorized),
        ("PERMISSION_DENIED", Unauthorized),
        ("UNAVAILABLE", Overloaded),
        ("RESOURCE_EXHAUSTED", Overloaded),
        ("DEADLINE_EXCEEDED", DeadlineExceeded),
        ("INTERNAL", ServerError),
        ("DATA_LOSS", ServerError),
    ],
)
def test_a_code_has_a_class_and_keeps_its_name(code, kind):
    error = refused(code, "grpc://h:1/m", "words")
    assert type(error) is kind
    assert isinstance(error, UserError)
    assert (error.code, str(error).startswith("grpc://h:1/m: words")) == (code, True)
    assert isinstance(error, ServerError) != isinstance(error, RequestError)
    assert kind.code in ("INVALID_ARGUMENT", "INTERNAL", code, "UNAUTHENTICATED", "UNAVAILABLE")


@pytest.fixture
def slept(monkeypatch):
    """The pauses, which take no time."""
    pauses = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    return pauses


def failing(times, after=0.0):
    """Fails so often, then answers with the number of attempts."""
    attempts = []

    def attempt():
        attempts.append(1)
        if len(attempts) <= times:
            raise TryAgain(Unavailable("nobody"), after)
        return len(attempts)

    return attempt


def test_pauses_grow_and_differ(slept):
    assert try_again(failing(7), Deadline(60), 8) == 8
    for pause, longest in zip(slept, [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0], strict=True):
        assert longest / 2 <= pause <= longest
    assert len(set(slept)) == 7


def test_a_server_may_ask_for_longer(slept):
    assert try_again(failing(2, after=5.0), Deadline(60), 4) == 3
    assert slept == [5.0, 5.0]


def test_the_last_failure_is_told(slept):
    with pytest.raises(Unavailable, match="nobody"):
        try_again(failing(3), Deadline(60), 2)
    assert len(slept) == 2


def test_no_pause_beyond_the_deadline(slept):
    for attempt, seconds in (
        (failing(1), 0.01),
        (failing(1, after=30.0), 20.0),
        (failing(1, after=1e400), 20.0),
    ):
        with pytest.raises(Unavailable):
            try_again(attempt, Deadline(seconds), 4)
    assert slept == []


def test_other_failures_pass(slept):
    with pytest.raises(NotFound):
        try_again(lambda: (_ for _ in ()).throw(NotFound("no model")), Deadline(60), 4)
    assert slept == []


def test_one_line():
    words = "In[0] ndims must be >= 2\n\t [[{{node matmul}}]]"
    assert one_line(words) == "In[0] ndims must be >= 2 [[{{node matmul}}]]"
