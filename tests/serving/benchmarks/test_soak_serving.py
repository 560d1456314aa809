"""The soak for seconds; what it counts, and what it calls lost or wrong."""

import json

import numpy as np
import pytest

from benchmarks import soak_serving
from benchmarks.serving_sides.soak_client import attempt, is_full
from benchmarks.serving_sides.soak_report import markdown, percentiles, summary
from tflm.serving.client.remote import ServerError


def test_a_soak_of_seconds(run_here, served_models, tmp_path, capsys):
    """What it waits for, new versions and the first answer of the client that is killed, makes it long enough."""
    values = {"minutes": 0.02, "clients": 2, "seed": 1, "server_flags": []}
    code = run_here(soak_serving, models=str(served_models), output=f"{tmp_path}/soak", **values)
    assert code == 0, capsys.readouterr().out[-2000:]
    report = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    assert report["right"] == report["requests"] > 10
    assert [event["step"] for event in report["events"]] == ["reload", "reload", "reload", "kill"]
    assert {states["4"] for states in report["states"].values()} == {"AVAILABLE"}
    assert "nothing lost, nothing wrong" in (tmp_path / "soak.md").read_text(encoding="utf-8")


def test_percentiles_are_those_of_numpy():
    values = np.random.default_rng(1).exponential(size=333)
    found = percentiles(values.tolist())
    wanted = np.percentile(values, [50, 95, 99, 100])
    assert np.allclose([found[name] for name in ("p50", "p95", "p99", "max")], wanted)
    assert percentiles([2.0])["p99"] == 2.0 and percentiles([]) == {"count": 0}


def found_in_a_soak(**changes):
    answers = [{"way": "events", "outcome": "right", "seconds": 0.1 * n, "refusals": 1} for n in range(1, 4)]
    client = {"answers": answers, "begun": 3, "exit_code": 0, "errors": ""}
    events = [{"step": "reload", "version": 2, "seconds": 1.0}, {"step": "kill", "in_the_midst": True}]
    found = {
        "seconds": 10.0, "ways": ["events"], "clients": [client], "killed": {"answers": []}, "events": events,
        "memory": [2**20], "states": {}, "exit_code": 0,
    }  # fmt: skip
    for name, value in changes.items():
        (client if name in client else found)[name] = value
    return found


BETWEEN = {"step": "kill", "in_the_midst": False}
WRONG = {"way": "events", "outcome": "wrong", "why": "'a' for 'b'", "refusals": 0}


@pytest.mark.parametrize(
    "changes, problems",
    [
        ({}, []),
        ({"begun": 5}, ["2 answers were lost"]),
        ({"answers": [WRONG], "begun": 1}, ["1 answers were wrong", "never asked: events"]),
        ({"events": [BETWEEN]}, ["the killed client was not in the midst of an answer"]),
        ({"ways": ["events", "x"]}, ["never asked: x"]),
        ({"killed": {"answers": [WRONG]}}, ["1 answers were wrong"]),
    ],
)  # fmt: skip
def test_what_a_soak_tells(changes, problems):
    report = summary(found_in_a_soak(**changes))
    assert report["problems"] == problems
    text = markdown(report)
    assert ("; ".join(problems) or "nothing lost, nothing wrong") in text
    assert f"{int(changes.get('events') != [BETWEEN])} client was killed" in text
    if not changes:
        assert "| events | 3 | 200.0 | 290.0 | 298.0 | 300.0 |" in text
        assert report["refused_and_asked_again"] == 3


def test_the_exit_codes_count():
    problems = summary(found_in_a_soak() | {"exit_code": -9})["problems"]
    assert problems == ["the server ended with -9"]
    assert summary(found_in_a_soak(exit_code=1, errors="x"))["problems"] == ["1 clients failed, such as: x"]


def test_an_answer_is_right_wrong_or_lost_and_a_full_queue_is_asked_again():
    words = iter(["full", "full", "b"])

    def ask():
        if (word := next(words)) == "full":
            raise ServerError("the queue is full (HTTP 503)")
        return word

    assert attempt(ask, "b").items() >= {"outcome": "right", "refusals": 2}.items()
    assert attempt(lambda: "a", "b") == {"outcome": "wrong", "why": "'a' for 'b'", "refusals": 0}
    lost = attempt(lambda: 1 / 0, "b")
    assert (lost["outcome"], lost["why"]) == ("lost", "ZeroDivisionError: division by zero")
    assert not is_full(ServerError("x: Servable not found (HTTP 404)"))
