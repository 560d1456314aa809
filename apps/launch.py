"""Starts several workers on this machine that train one model, and restarts them.

  tflm launch --num_workers=2 -- train --preset=tiny_decoder --workdir=runs/tiny
  tflm launch --num_workers=2 --max_restarts=3 -- train --preset=shakespeare_char --workdir=runs/shakespeare
  tflm launch --num_workers=4 --gpus_per_worker=2 -- train --preset=gpt_small --workdir=runs/gpt

What follows -- is a command of tflm, as it is written without this one. Each worker is a process of its own; the
environment variable TF_CONFIG tells it of the others. Their lines are printed with the worker's number in front.

When a worker fails, the others are ended. With --max_restarts all are started again, and continue from the newest
checkpoint. SIGTERM and Ctrl-C go to all workers. The exit code is 0 where all are done; 75 where the run was
interrupted and the same command continues it; else that of the worker that failed.

On one machine with several GPUs, --strategy=mirrored of `tflm train` needs one process and is faster.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from absl import flags

from tflm.errors import UsageError

from .common.command_line import RESUMABLE, WRONG_USAGE, note, run_app

FLAGS = flags.FlagValues()
flags.DEFINE_integer("num_workers", 2, "How many processes.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer(
    "max_restarts",
    0,
    "How often all workers are started again after one failed.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "gpus_per_worker",
    0,
    "Worker k sees GPUs k * N to (k + 1) * N - 1 alone; 0 leaves CUDA_VISIBLE_DEVICES as it is.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "grace",
    30.0,
    "Seconds from SIGTERM to SIGKILL for the other workers after one failed.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
PROGRAM = (sys.executable, "-m", "tflm")
"""Followed by the command."""
_COMMANDS = ("train",)
_SET_PARENT_DEATH_SIGNAL = 1  # of Linux: see prctl(2)
_KILLED = 128
"""Added to the number of the signal that killed a process, as shells do."""


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    arguments = list(sys.argv if argv is None else argv)
    own, command = arguments, []
    if "--" in arguments:
        place = arguments.index("--")
        own, command = arguments[:place], arguments[place + 1 :]
    codes: list[int] = []
    code = run_app(lambda flag_values: codes.append(main(flag_values, command)), FLAGS, __doc__ or "", own)
    return code or (codes[0] if codes else 0)


def main(flag_values: flags.FlagValues, command: Sequence[str]) -> int:
    """Starts the workers, again if need be; returns the exit code.

    Raises:
        UsageError: no command after --, or one that several workers cannot run.
    """
    if not command or command[0] not in _COMMANDS:
        got = f"; got {command[0]!r}" if command else ""
        raise UsageError(
            f"give the command of the workers after --: tflm launch --num_workers=2 -- train ...{got}."
        )
    for restart in range(flag_values.max_restarts + 1):
        workers = Workers(command, flag_values.num_workers, flag_values.gpus_per_worker)
        codes, was_signalled = workers.run(flag_values.grace)
        code = _exit_code(codes)
        shown = ", ".join(f"worker {index}: {each}" for index, each in enumerate(codes))
        if code in (0, WRONG_USAGE) or was_signalled or restart == flag_values.max_restarts:
            if code:
                note(f"launch: exit codes of the workers: {shown}.")
            return code
        note(f"launch: {shown}; starting all again ({restart + 1} of {flag_values.max_restarts}).")
    raise AssertionError("the last start returns")


def _end_with_parent() -> Callable[[], None] | None:
    """What a worker calls before its program begins, so that Linux sends it SIGTERM when this process ends, also where
    that is by SIGKILL; None on other systems. The signal may come again as threads of this process end."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is None:
        return None
    return lambda: prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0) and None


class Workers:
    """Processes that train together.

    Args:
        command: the command of tflm and its flags.
        num_workers: int, how many processes.
        gpus_per_worker: int, see the flag.
    """

    def __init__(self, command: Sequence[str], num_workers: int, gpus_per_worker: int = 0) -> None:
        ports = free_ports(num_workers)
        self._signals: list[int] = []
        self.processes = []
        end_with_parent = _end_with_parent()
        for index in range(num_workers):
            cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
            task = {"type": "worker", "index": index}
            environment = {**os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
            if gpus_per_worker:
                own = range(index * gpus_per_worker, (index + 1) * gpus_per_worker)
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, own))
            self.processes.append(
                subprocess.Popen(
                    [*PROGRAM, *command],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,  # Ctrl-C of the terminal comes once, from here
                    preexec_fn=end_with_parent,  # noqa: PLW1509 - one call of the C library
                )
            )

    def run(self, grace: float) -> tuple[list[int], bool]:
        """Waits for the end of all.

        Args:
            grace: float, seconds that the others have after one failed.
        Returns:
            Their exit codes, those of killed ones negative; and whether this process was asked to stop.
        """
        readers = [
            threading.Thread(target=self._read, args=(f"[{index}] ", stream, output), daemon=True)
            for index, process in enumerate(self.processes)
            for stream, output in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
        ]
        for reader in readers:
            reader.start()
        handlers = {number: signal.signal(number, self._forward) for number in _signals()}
        try:
            self._wait(grace)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for process in self.processes:
                if process.poll() is None:
                    process.kill()
            for reader in readers:
                reader.join(timeout=5.0)
        return [process.wait() for process in self.processes], bool(self._signals)

    def _wait(self, grace: float) -> None:
        deadline = None
        while any(process.poll() is None for process in self.processes):
            if deadline is None and any(process.poll() for process in self.processes):
                deadline = time.monotonic() + grace
                self._send(signal.SIGTERM)
            if deadline is not None and time.monotonic() > deadline:
                return
            time.sleep(0.1)

    def _forward(self, number: int, frame: object) -> None:
        del frame
        self._signals.append(number)
        self._send(number)

    def _send(self, number: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    @staticmethod
    def _read(prefix: str, stream: IO[str] | None, output: IO[str]) -> None:
        for line in stream or ():
            print(f"{prefix}{line.rstrip()}", file=output, flush=True)


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nothing listens, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _signals() -> Iterator[int]:
    """Those that are forwarded; in another thread than the main one, Python has none."""
    if threading.current_thread() is threading.main_thread():
        yield from (signal.SIGTERM, signal.SIGINT)


def _exit_code(codes: Sequence[int]) -> int:
    """That of all workers together.

    >>> _exit_code([0, 0]), _exit_code([75, -9]), _exit_code([75, 1]), _exit_code([-15, -15])
    (0, 75, 1, 143)
    """
    own = [code for code in codes if code > 0 and code != RESUMABLE]
    if own:
        return WRONG_USAGE if WRONG_USAGE in own else own[0]
    if RESUMABLE in codes:
        return RESUMABLE
    return next((_KILLED - code for code in codes if code < 0), 0)


if __name__ == "__main__":
    sys.exit(run())
