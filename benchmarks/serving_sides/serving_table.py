"""The numbers of `serving.py` as a table, and what they say of its targets."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.serving_sides.soak_report import percentiles


def row_of(found: Mapping[str, Any]) -> dict[str, float]:
    """`rate` in requests a second, `p50`, `p95`, `p99` in seconds, and `busy`, the share of a processor that the load
    generator took: near 1 it measures itself."""
    numbers = percentiles(found["latencies"])
    return {
        "rate": len(found["latencies"]) / found["seconds"],
        **{name: numbers[name] for name in ("p50", "p95", "p99")},
        "busy": found["cpu_seconds"] / found["seconds"],
        "refusals": found["refusals"],
    }


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]], clients: list[int]) -> str:
    """Markdown.

    Args:
        results: work and side ("classify, REST") to number of clients (as text) to `row_of`.
    """
    head = [""] + [f"{count} clients: requests/s | p50 / p95 / p99, ms" for count in clients]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * (2 * len(clients) + 1)]
    for name, row in results.items():
        cells = [name]
        for count in clients:
            found = row.get(str(count))
            times = [f"{1000 * found[each]:.1f}" for each in ("p50", "p95", "p99")] if found else []
            cells += [f"{found['rate']:.1f}", " / ".join(times)] if found else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def joined(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several of what `load.py` prints as one."""
    numbers = ("seconds", "cpu_seconds", "refusals")
    latencies = [latency for turn in turns for latency in turn["latencies"]]
    return {"latencies": latencies, **{name: sum(turn[name] for turn in turns) for name in numbers}}


def batching_ratios(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """How many times more requests batching answers at 16 clients, for the work and sides that were measured."""
    found = {}
    for name, row in results.items():
        batched = results.get(f"{name}, batched", {})
        if "16" in row and "16" in batched:
            found[name] = batched["16"]["rate"] / row["16"]["rate"]
    return found
