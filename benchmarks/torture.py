"""Kills a training process at random moments, resumes it each time, and compares its end with an uninterrupted run.

    python benchmarks/torture.py --kills=50

A run of the recipe tiny_decoder with shuffled windows, dropout, gradient accumulation, bfloat16 and a moving average of
the weights writes a checkpoint every 5 steps. A third of the kills is SIGKILL at a random time, a third SIGKILL as soon
as a checkpoint is partly written (`step_N.tmp` exists), a third SIGTERM at a random time, which must end with exit code
75. Every attempt is a process: forked after the imports, before TensorFlow runs anything, which saves seconds each.

At the end, all variables (weights, optimizer, generators, averages), the log (but for times) and the record of the best
checkpoint must be equal, bit for bit. The report goes to benchmarks/reports/torture.md.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tflm.experiments  # noqa: F401 - imported before the forks
import tflm.recipes  # noqa: F401
from apps import train
from tflm.training import Checkpoints, read_log
from tflm.training.checkpoint_files import stored_weights

REPORT = pathlib.Path(__file__).parent / "reports" / "torture.md"
SETTINGS = (
    "model.dropout=0.1",
    "training.num_micro_batches=2",
    "training.precision=mixed_bfloat16",
    "training.ema_decay=0.99",
    "training.keep_best=loss",
    "training.log_every=5",
    "training.checkpoint_every=5",
    "training.eval_every=50",
    "training.max_eval_batches=2",
)
KINDS = ("SIGKILL", "SIGKILL in a write", "SIGTERM")
SPEED = {"time", "seconds", "tokens_per_second", "share_of_peak"}


class Kill(NamedTuple):
    """One attempt that did not reach the end."""

    kind: str
    status: int
    """As `os.waitstatus_to_exitcode`: 75, or minus the signal."""
    step: int
    """The newest checkpoint after it."""
    in_a_write: bool
    """Whether it left a partial checkpoint of its own."""


def start(workdir: str, num_steps: int, output: str) -> int:
    """The id of a new process that trains."""
    process = os.fork()
    if process == 0:
        try:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            settings = [f"--set={each}" for each in (*SETTINGS, f"training.num_steps={num_steps}")]
            code = train.run(["tflm train", "--preset=tiny_decoder", f"--workdir={workdir}", *settings])
            os._exit(code)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)
    return process


def status_of(process: int) -> int | None:
    """None while it runs."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def kill_once(workdir: str, num_steps: int, output: str, kind: str, rng: random.Random) -> Kill | None:
    """Starts a process and kills it after it has logged something; None if it reached the end before."""
    log, folder = pathlib.Path(workdir, "log.jsonl"), pathlib.Path(workdir, "checkpoints")
    begun, left_before = time.time(), partial(folder)
    process = start(workdir, num_steps, output)

    def has_logged() -> bool:
        records = read_log(workdir) if log.exists() else []
        return bool(records) and records[-1]["time"] > begun

    while (status := status_of(process)) is None and not has_logged():
        time.sleep(0.02)
    if kind == "SIGKILL in a write":
        while status is None and partial(folder) <= left_before:
            status = status_of(process)
    else:
        end = time.perf_counter() + rng.uniform(0.0, 1.0)
        while status is None and time.perf_counter() < end:
            time.sleep(0.005)
            status = status_of(process)
    if status is None:
        os.kill(process, signal.SIGTERM if kind == "SIGTERM" else signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status == 0:
        return None
    expected = 75 if kind == "SIGTERM" else -signal.SIGKILL
    if status != expected:
        raise SystemExit(f"{kind}: exit status {status}, expected {expected}; see {output}")
    steps = Checkpoints(str(folder), {}).steps()
    return Kill(kind, status, steps[-1] if steps else 0, not partial(folder) <= left_before)


def partial(folder: pathlib.Path) -> set[tuple[str, int, int]]:
    """The partial checkpoints in a folder, which a process may be writing or a killed one has left."""
    found = set()
    for path in folder.glob("step_*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.add((path.name, status.st_ino, status.st_ctime_ns))
    return found


def differences(one: str, other: str) -> list[str]:
    """What differs at the end of two runs."""
    found = []
    folders = [f"{workdir}/checkpoints" for workdir in (one, other)]
    if Checkpoints(folders[0], {}).steps() != Checkpoints(folders[1], {}).steps():
        found.append("steps of the checkpoints")
    parts = [stored_weights(Checkpoints(f, {}).path(Checkpoints(f, {}).steps()[-1]), "") for f in folders]
    found += sorted(parts[0].keys() ^ parts[1].keys())
    for name in parts[0].keys() & parts[1].keys():
        if np.asarray(parts[0][name]).tobytes() != np.asarray(parts[1][name]).tobytes():
            found.append(name)
    logs = [
        [{k: v for k, v in record.items() if k not in SPEED} for record in read_log(w)] for w in (one, other)
    ]
    if logs[0] != logs[1]:
        found.append("log.jsonl")
    if Checkpoints(folders[0], {}).best() != Checkpoints(folders[1], {}).best():
        found.append("best.json")
    return found


def report_text(kills: list[Kill], num_steps: int, num_variables: int, differing: list[str]) -> str:
    """The page."""
    rows = [
        f"| {kind} | {sum(kill.kind == kind for kill in kills)} | "
        f"{sum(kill.kind == kind and kill.in_a_write for kill in kills)} |"
        for kind in KINDS
    ]
    end = (
        f"**Bit-identical**: {num_variables} variables, the log but for times, and the record of the best checkpoint."
        if not differing
        else f"**Different**: {', '.join(differing)}."
    )
    steps = ", ".join(str(kill.step) for kill in kills)
    return (
        "# Training killed at random moments\n\n"
        f"`python benchmarks/torture.py --kills={len(kills)}`: {num_steps} steps of tiny_decoder with shuffled "
        "windows, dropout, gradient accumulation (2 micro-batches), bfloat16, a moving average of the weights, an "
        "evaluation "
        "every 50 steps and a checkpoint every 5, written in the background. After each kill the same command "
        "continues.\n\n"
        "| kill | number | a partial checkpoint was left |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "Each SIGTERM ended with exit code 75.\n\n"
        f"Compared with an uninterrupted run at the end: {end}\n\n"
        f"Newest checkpoint after each kill: {steps}.\n"
    )


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--num_steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; a new one if not given")
    parser.add_argument("--report", default=str(REPORT))
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        whole, killed, output = (os.path.join(folder, name) for name in ("whole", "killed", "output.txt"))
        kills: list[Kill] = []
        while len(kills) < arguments.kills:
            kill = kill_once(killed, arguments.num_steps, output, KINDS[len(kills) % len(KINDS)], rng)
            if kill is None:
                print(f"the run ended after {len(kills)} kills: raise --num_steps", file=sys.stderr)
                break
            kills.append(kill)
            print(f"{len(kills)}: {json.dumps(kill._asdict())}", flush=True)
        for workdir in (killed, whole):
            status = os.waitstatus_to_exitcode(os.waitpid(start(workdir, arguments.num_steps, output), 0)[1])
            if status:
                raise SystemExit(pathlib.Path(output).read_text(encoding="utf-8"))
        differing = differences(whole, killed)
        newest = Checkpoints(f"{whole}/checkpoints", {})
        num_variables = len(stored_weights(newest.path(newest.steps()[-1]), ""))
    text = report_text(kills, arguments.num_steps, num_variables, differing)
    pathlib.Path(arguments.report).write_text(text, encoding="utf-8")
    print(text)
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
