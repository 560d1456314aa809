"""What a soak has shown, as numbers and as Markdown."""

import collections
import statistics
from collections.abc import Sequence
from typing import Any


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Counts and latencies.

    Args:
        found: what `soak_serving.soak` gives.
    Returns:
        The report; its `problems` are empty if all is well.
    """
    killed = found["killed"]["answers"]  # those before the kill count; what it had begun then is not lost
    answers = [answer for client in found["clients"] for answer in client["answers"]] + killed
    outcomes = collections.Counter(answer["outcome"] for answer in answers)
    begun = sum(client["begun"] for client in found["clients"]) + len(killed)
    report: dict[str, Any] = {
        "seconds": round(found["seconds"], 1),
        "clients": len(found["clients"]),
        "requests": begun,
        "right": outcomes["right"],
        "wrong": outcomes["wrong"],
        "lost": outcomes["lost"] + begun - len(answers),
        "refused_and_asked_again": sum(answer["refusals"] for answer in answers),
        "latency": {way: latency(answers, way) for way in found["ways"]},
        "memory": found["memory"],
        "events": found["events"],
        "states": found["states"],
        "exit_code": found["exit_code"],
        "examples": [answer for answer in answers if answer["outcome"] != "right"][:20],
    }
    report["problems"] = problems(report, found)
    return report


def problems(report: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is not as it should be, in words."""
    told = [f"{report[kind]} answers were {kind}" for kind in ("lost", "wrong") if report[kind]]
    silent = [way for way, numbers in report["latency"].items() if not numbers["count"]]
    told += [f"never asked: {way}" for way in silent]
    bad = [client["errors"] for client in found["clients"] if client["exit_code"] != 0]
    told += [f"{len(bad)} clients failed, such as: {bad[0][-300:]}"] if bad else []
    killed = [event["in_the_midst"] for event in report["events"] if event["step"] == "kill"]
    told += [] if all(killed) else ["the killed client was not in the midst of an answer"]
    told += [f"the server ended with {report['exit_code']}"] if report["exit_code"] != 0 else []
    return told


def latency(answers: Sequence[dict[str, Any]], way: str) -> dict[str, float]:
    """`count` and seconds at `p50`, `p95`, `p99` and `max` of the right answers in one way."""
    return percentiles(
        [answer["seconds"] for answer in answers if answer["way"] == way and "seconds" in answer]
    )


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """`count`, `p50`, `p95`, `p99` and `max`.

    >>> percentiles([1.0, 2.0, 3.0])
    {'count': 3, 'p50': 2.0, 'p95': 2.9, 'p99': 2.98, 'max': 3.0}
    """
    if not seconds:
        return {"count": 0}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else 99 * [seconds[0]]
    return {"count": len(seconds), "p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(seconds)}


def markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        "# A soak of the server",
        "",
        "| way | answers | p50, ms | p95, ms | p99, ms | longest, ms |",
        "|---" * 6 + "|",
    ]
    for way, numbers in report["latency"].items():
        cells = [
            f"{1000 * numbers[name]:.1f}" if name in numbers else "" for name in ("p50", "p95", "p99", "max")
        ]
        lines.append("| " + " | ".join([way, str(numbers["count"]), *cells]) + " |")
    memory = ", ".join(f"{number / 2**20:.0f}" for number in report["memory"])
    reloads = [f"{event['seconds']:.1f}" for event in report["events"] if event["step"] == "reload"]
    num_killed = sum(event["step"] == "kill" and event["in_the_midst"] for event in report["events"])
    lines += [
        "",
        f"- {report['clients']} clients, {report['seconds']:.0f} seconds, {report['requests']} requests: "
        f"{report['right']} right, {report['wrong']} wrong, {report['lost']} lost.",
        f"- {report['refused_and_asked_again']} times the queue was full, and the client asked again.",
        f"- {len(reloads)} new versions, each served and its predecessor gone after {', '.join(reloads)} seconds.",
        f"- {num_killed} client was killed in the midst of a stream.",
        f"- Memory of the server, MiB: {memory} (after a tenth of the time, after each new version, after the kill, "
        "at the end).",
        f"- Verdict: {'; '.join(report['problems']) or 'nothing lost, nothing wrong'}.",
        "",
    ]
    return "\n".join(lines)
