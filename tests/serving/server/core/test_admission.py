"""Limits of running and waiting requests: first in, first out; a request over the limit is refused at once."""

import threading

import pytest

from tests.serving.waiting import until
from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core.admission import Admission, InFlightLimit
from tflm.serving.server.core.status import ServingError


def start(admission, order, name, go_on, cancellation=None):
    def work():
        try:
            with admission.turn(cancellation or Cancellation()):
                order.append(name)
                go_on.wait(20)
        except ServingError as error:
            order.append(error.code)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_first_come_first_served_and_the_last_is_refused():
    admission, order, go_on = Admission(1, 2), [], threading.Event()
    threads = [start(admission, order, 0, go_on)]
    until(lambda: order == [0])
    for index in (1, 2):
        threads.append(start(admission, order, index, go_on))
        until(lambda count=index: admission.num_waiting == count)
    with (
        pytest.raises(
            ServingError,
            match=r"^UNAVAILABLE: server overloaded: 1 requests running, 2 waiting \(limit 2\); retry later$",
        ) as refused,
        admission.turn(Cancellation()),
    ):
        pytest.fail("it ran")
    assert refused.value.code == "UNAVAILABLE"
    go_on.set()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]
    assert (admission.num_running, admission.num_waiting) == (0, 0)


def test_whoever_leaves_while_it_waits_makes_room():
    admission, order, go_on = Admission(1, 1), [], threading.Event()
    first = start(admission, order, "first", go_on)
    until(lambda: order == ["first"])
    cancellation = Cancellation()
    second = start(admission, order, "second", go_on, cancellation)
    until(lambda: admission.num_waiting == 1)
    cancellation.cancel()
    second.join()
    assert (order, admission.num_waiting) == (["first", "CANCELLED"], 0)
    third = start(admission, order, "third", go_on)
    until(lambda: admission.num_waiting == 1)
    go_on.set()
    first.join()
    third.join()
    assert order == ["first", "CANCELLED", "third"]
    assert admission.num_running == 0


def test_a_failure_gives_its_turn_back():
    admission = Admission(1, 0)
    for _ in range(3):
        with pytest.raises(KeyError), admission.turn(Cancellation()):
            raise KeyError
    assert admission.num_running == 0


def test_cancelled_in_the_moment_of_its_turn_it_hands_it_on():
    """Many threads, half of them cancelled at some time: in the end nobody runs and nobody waits."""
    admission, order, go_on = Admission(2, 100), [], threading.Event()
    go_on.set()
    cancellations = [Cancellation() for _ in range(60)]
    threads = [
        start(admission, order, index, go_on, cancellation)
        for index, cancellation in enumerate(cancellations)
    ]
    for cancellation in cancellations[::2]:
        cancellation.cancel()
    for thread in threads:
        thread.join()
    assert (admission.num_running, admission.num_waiting) == (0, 0)
    assert set(range(1, 60, 2)) <= set(order)


def test_the_limit_of_requests_in_flight():
    limit = InFlightLimit(2)
    with limit.request(), limit.request():
        with (
            pytest.raises(
                ServingError,
                match=r"^UNAVAILABLE: server overloaded: 2 requests in flight \(limit 2\); retry later$",
            ) as refused,
            limit.request(),
        ):
            pytest.fail("it had a place")
        assert refused.value.code == "UNAVAILABLE"
    with limit.request():
        pass
