"""Does the server bear anything that may come over a socket? 100,000 mutated HTTP requests and 20,000 gRPC messages.

    python benchmarks/fuzz_serving.py --num_rest=100000 --num_grpc=20000 --seed=1
    python benchmarks/fuzz_serving.py --seed=1 --replay=rest:4711        sends one case and prints the answer

`apps.serve` runs as a process with the model of the conformance cases. None of the cases may give 500, INTERNAL or
UNKNOWN, an answer that is no JSON, silence, a crash, or a traceback in the log, and at the end the server must hold no
more than 5% more memory than after the first fifth of the cases, still answer, and end with 0. Every case is a function
of --seed and its number (see serving_sides/rest_fuzz.py); what fails is printed with the command that sends it again.
Ends with 1 if anything was found.
"""

import json
import os
import pathlib
import re
import sys
import tempfile
from typing import Any

from absl import app, flags

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks.serving_sides.fuzz_run import case_of, client_of, merged, run_cases  # noqa: E402
from benchmarks.serving_sides.rest_fuzz import MODEL, RestCase, request  # noqa: E402
from benchmarks.serving_sides.server_process import ServerProcess  # noqa: E402

MOST_GROWTH = 1.05
MOST_MEMORY = 16 * 2**30
"""Bytes that the server may reserve (TensorFlow reserves some itself, unused); no case can be worth more."""
# Errors of ours, in either form of the log, but for what gRPC itself says of bytes that are no message.
_WRONG_IN_LOG = re.compile(
    r"^(?:ERROR (?!Exception deserializing)|E[01]\d{3} \S+ +\d+ (?!_common)\w+\.py|Fatal|Exception in|Task exc).*",
    re.MULTILINE,
)


def define_flags() -> None:
    """Only where this is the program."""
    flags.DEFINE_integer("num_rest", 100_000, "HTTP requests.", 0)
    flags.DEFINE_integer("num_grpc", 20_000, "gRPC messages.", 0)
    flags.DEFINE_integer("seed", 1, "Draws the cases.")
    flags.DEFINE_string("replay", None, "Send this one alone: rest:NUMBER or grpc:NUMBER.")
    flags.DEFINE_string("output", None, "Write the report as JSON here.")


def serve(folder: pathlib.Path) -> ServerProcess:
    """The server with its model, written into `folder`."""
    from tests.serving.conformance import served_model

    config = served_model.write(folder)
    server = ServerProcess(
        f"--model_config_file={config}", "--rest_api_timeout_in_ms=3000", "--drain_seconds=5"
    )
    server.limit_memory(MOST_MEMORY)
    return server


def fuzz(server: ServerProcess, seed: int, num_rest: int, num_grpc: int) -> dict[str, Any]:
    """Sends a fifth of the cases, looks at the memory, sends the others, and looks again.

    Returns:
        The report; `problems` is empty if all is well.
    """
    ports = {"rest": (server.rest_port, num_rest), "grpc": (server.grpc_port, num_grpc)}
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in ports}
    memory = []
    for part in (0, 1):
        for name, (port, count) in ports.items():
            indexes = range(count // 5) if part == 0 else range(count // 5, count)
            reports[name].append(run_cases(name, port, seed, indexes, server.is_alive))
            print(f"# {name} to number {indexes.stop}: {reports[name][-1]['seconds']:.1f} s", file=sys.stderr)
        memory.append(server.memory() if server.is_alive() else 0)
    report: dict[str, Any] = {"seed": seed, "memory_before": memory[0], "memory_after": memory[1]}
    report.update({name: merged(parts) for name, parts in reports.items()})
    report["problems"] = _problems(server, report)
    return report


def _problems(server: ServerProcess, report: dict[str, Any]) -> list[str]:
    problems = [
        f"{len(report[name]['findings'])} {name} cases"
        for name in ("rest", "grpc")
        if report[name]["findings"]
    ]
    if not server.is_alive():
        return [*problems, f"the server died with {server.process.poll()}: {server.log()[-500:]}"]
    growth = report["memory_after"] / report["memory_before"]
    if growth > MOST_GROWTH:
        problems.append(f"memory grew by {growth - 1:.1%}")
    body = b'{"instances": ["\xc3\x84"]}'
    plain = RestCase("plain", request("POST", f"{MODEL}:predict", body), True)
    word, _ = client_of("rest", server.rest_port).send(plain)
    if word != "200":
        problems.append(f"at the end a plain request is answered with {word}")
    server.stop()
    if server.exit_code != 0:
        problems.append(f"the server ended with {server.exit_code}")
    lines = _WRONG_IN_LOG.findall(server.log())
    if lines:
        problems.append(f"{len(lines)} lines in the log, such as: {lines[0][:300]}")
    return problems


def main(argv: list[str]) -> None:
    """Runs all cases, or one."""
    del argv
    values = flags.FLAGS
    with tempfile.TemporaryDirectory() as folder, serve(pathlib.Path(folder)) as server:
        if values.replay:
            protocol, number = values.replay.split(":")
            case = case_of(protocol, values.seed, int(number))
            port = server.rest_port if protocol == "rest" else server.grpc_port
            print(case, client_of(protocol, port).send(case), server.log(), sep="\n")
            return
        report = fuzz(server, values.seed, values.num_rest, values.num_grpc)
    if values.output:
        pathlib.Path(values.output).write_text(json.dumps(report, indent=1), encoding="utf-8")
    for name in ("rest", "grpc"):
        for found in report[name]["findings"][:20]:
            print(json.dumps(found, indent=1))
        print(f"{name}: {sum(report[name]['counts'].values())} cases in {report[name]['seconds']:.1f} s")
    print(f"memory: {report['memory_before'] / 2**20:.0f} MiB, then {report['memory_after'] / 2**20:.0f} MiB")
    print("; ".join(report["problems"]) or "nothing was found")
    sys.exit(bool(report["problems"]))


if __name__ == "__main__":
    define_flags()
    app.run(main)
