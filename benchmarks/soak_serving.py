"""Ten minutes of everything at once: nothing lost, nothing wrong.

    python benchmarks/soak_serving.py --minutes=10 --clients=16
    python benchmarks/soak_serving.py --minutes=10 --server_flags=--enable_batching

`apps.serve` runs as a process with a generative model and a classifier, of random weights. Clients, each a
process, ask it in every way in turn: classify and generate over REST and gRPC, `tflm.serving.stream` over both, and
`POST :stream`. Each answer is compared with that of the same export in this process, by the seed of its request. On the
way three new versions appear (copies, so that the answers stay), and one client is killed in the midst of a stream.
An answer "the queue is full" is asked again, and counted. Ends with 1 if an answer was lost or wrong, a new version was
not taken, or the server did not end well. Writes PREFIX.json and PREFIX.md.
"""

import json
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

from absl import app, flags

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks.serving_sides import models  # noqa: E402
from benchmarks.serving_sides.server_process import ServerProcess  # noqa: E402
from benchmarks.serving_sides.soak_client import WAYS  # noqa: E402
from benchmarks.serving_sides.soak_report import markdown, summary  # noqa: E402
from benchmarks.serving_sides.soak_run import SoakClient, status, takes_streams, wait_for_version  # noqa: E402

TEXTS = ["Once upon a time", "你好，世界", "def f(x):", "The 猫 sat", "😀", "a" * 40]
NUM_RELOADS = 3
STREAMS = tuple(way for way in WAYS if way.startswith(("stream", "events")))


def define_flags() -> None:
    """Only where this is the program."""
    flags.DEFINE_float("minutes", 10, "How long.", 0)
    flags.DEFINE_integer("clients", 16, "Processes that ask, beside the one that is killed.", 1)
    flags.DEFINE_integer("seed", 1, "Draws what the clients ask.")
    flags.DEFINE_string("models", None, "Folder with writer/1 and sorter/1; tiny ones are made if not given.")
    flags.DEFINE_list("server_flags", [], "More flags for apps.serve, such as --enable_batching.")
    flags.DEFINE_string("output", "benchmarks/reports/soak_serving", "Prefix of the report's two files.")


def expected_answers(folder: pathlib.Path) -> dict[str, list[dict[str, Any]]]:
    """Requests of both models with the answers that these give in this process."""
    from tflm.serving import connect

    writer, sorter = (connect(str(folder / name)) for name in ("writer", "sorter"))
    cases: dict[str, list[dict[str, Any]]] = {"writer": [], "sorter": []}
    for number, text in enumerate(2 * TEXTS):
        temperature = 0.0 if number % 3 == 0 else 0.5 + 0.1 * number
        request = models.generate_request(text, 4 + 2 * number, number, temperature)
        written = writer.predict("generate", request)["text"][0].decode("utf-8")
        cases["writer"].append({"request": request, "expected": written})
        found = sorter.predict("classify", {"text": [text + str(number)]})
        expected = f"{found['label'][0].decode('utf-8')} {max(found['scores'][0]):.3f}"
        cases["sorter"].append({"request": {"text": [text + str(number)]}, "expected": expected})
    return cases


def soak(
    folder: pathlib.Path, server: ServerProcess, seconds: float, num_clients: int, seed: int
) -> dict[str, Any]:
    """Runs all clients for so long, with reloads and the kill on the way.

    Args:
        folder: of the models that the server serves; new versions are written there.
    Returns:
        What `soak_report.summary` takes.
    """
    cases = folder / "cases.json"
    cases.write_text(json.dumps(expected_answers(folder)), encoding="utf-8")
    ways = [way for way in WAYS if way != "events" or takes_streams(server.rest_port)]
    clients = [SoakClient(server, cases, folder, seed * 1000 + n, ways) for n in range(num_clients)]
    victim = SoakClient(server, cases, folder, seed * 1000 + 999, [way for way in STREAMS if way in ways])
    begin = time.monotonic()
    events, memory = carry_out(folder, server, victim, begin, seconds)
    time.sleep(max(0.0, begin + seconds - time.monotonic()))
    for client in clients:
        client.end()
    results = [client.results() for client in clients]
    memory.append(server.memory())
    states = {name: status(server.rest_port, name) for name in ("writer", "sorter")}
    server.stop()
    return {
        "seconds": time.monotonic() - begin,
        "ways": ways,
        "clients": results,
        "killed": victim.results(),
        "events": events,
        "memory": memory,
        "states": states,
        "exit_code": server.exit_code,
    }


def carry_out(
    folder: pathlib.Path, server: ServerProcess, victim: SoakClient, begin: float, seconds: float
) -> tuple[list[dict[str, Any]], list[int]]:
    """The new versions and the kill, each at its share of the time; what happened, and the memory after each."""
    events: list[dict[str, Any]] = []
    memory: list[int] = []
    steps = [(0.1, "memory")] + [(0.2 + 0.2 * n, "reload") for n in range(NUM_RELOADS)] + [(0.7, "kill")]
    for share, step in steps:
        time.sleep(max(0.0, begin + share * seconds - time.monotonic()))
        if step == "reload":
            number = 2 + sum(event["step"] == "reload" for event in events)
            for name in ("writer", "sorter"):
                models.add_version(folder / name, number)
            took = [wait_for_version(server.rest_port, name, number) for name in ("writer", "sorter")]
            events.append({"step": step, "version": number, "seconds": max(took)})
        elif step == "kill":
            events.append({"step": step, "in_the_midst": victim.kill()})
        memory.append(server.memory())
        print(
            f"# {time.monotonic() - begin:.0f} s: {step}, {memory[-1] / 2**20:.0f} MiB",
            file=sys.stderr,
            flush=True,
        )
    return events, memory


def main(argv: list[str]) -> None:
    """Models, server, clients, report."""
    del argv
    values = flags.FLAGS
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        if values.models:
            for name in ("writer", "sorter"):
                (folder / name).mkdir()
                os.symlink(os.path.abspath(f"{values.models}/{name}/1"), folder / name / "1")
            models.write_config(folder)
        else:
            models.write_models(folder, models.SIZES["tiny"])
        with ServerProcess(
            f"--model_config_file={folder}/models.config",
            "--file_system_poll_wait_seconds=0.2",
            *values.server_flags,
        ) as server:
            found = soak(folder, server, 60 * values.minutes, values.clients, values.seed)
        report = summary(found)
    report["server_flags"] = values.server_flags
    os.makedirs(os.path.dirname(values.output) or ".", exist_ok=True)
    pathlib.Path(f"{values.output}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    pathlib.Path(f"{values.output}.md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))
    sys.exit(bool(report["problems"]))


if __name__ == "__main__":
    define_flags()
    app.run(main)
