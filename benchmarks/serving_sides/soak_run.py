"""The soak's side of its clients and of its server: starts, kills, asks for the state."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.serving_sides.server_process import ServerProcess

_PROGRAM = str(pathlib.Path(__file__).parent / "soak_client.py")
_PATIENCE = 600.0


class SoakClient:
    """A process of `soak_client.py`."""

    def __init__(
        self, server: ServerProcess, cases: pathlib.Path, folder: pathlib.Path, seed: int, ways: Sequence[str]
    ) -> None:
        """Starts to ask.

        Args:
            cases: the file with requests and expected answers.
            folder: where its lines go.
            seed: draws what it asks.
            ways: some of `soak_client.WAYS`.
        """
        settings = {"rest": server.rest_port, "grpc": server.grpc_port, "seed": seed, "cases": str(cases)}
        self._lines = folder / f"client_{seed}.jsonl"
        with self._lines.open("w") as lines, self._lines.with_suffix(".err").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, _PROGRAM, json.dumps({**settings, "ways": list(ways)})],
                stdin=subprocess.PIPE,
                stdout=lines,
                stderr=errors,
            )

    def kill(self) -> bool:
        """SIGKILL while it waits for an answer, after its first; False if it ended by itself.

        It is stopped for the look at its last line, so that it cannot go on between the look and the kill.
        """
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            records = self._records()
            if any("outcome" in record for record in records) and "begun" in records[-1]:
                self._process.kill()
                self._process.wait()
                return True
            self._process.send_signal(signal.SIGCONT)
            time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        return False

    def end(self) -> None:
        """It gets the answers that it has begun and one in each way, and ends."""
        if self._process.stdin:
            self._process.stdin.close()

    def results(self) -> dict[str, Any]:
        """`answers`, how many were `begun`, the process's `exit_code` and the `errors` that it wrote."""
        try:
            exit_code: int | None = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            exit_code = None
        records = self._records()
        return {
            "answers": [record for record in records if "outcome" in record],
            "begun": sum("begun" in record for record in records),
            "exit_code": exit_code,
            "errors": self._lines.with_suffix(".err").read_text()[-1000:],
        }

    def _records(self) -> list[dict[str, Any]]:
        lines = self._lines.read_text(encoding="utf-8").split("\n")[:-1]  # the last may be half written
        return [json.loads(line) for line in lines]


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def status(port: int, name: str) -> dict[str, str]:
    """Version to state."""
    record = json.loads(ask(port, "GET", f"/v1/models/{name}")[1])
    return {version["version"]: version["state"] for version in record["model_version_status"]}


def takes_streams(port: int) -> bool:
    """Whether the server has `POST :stream`."""
    return b"Malformed request" not in ask(port, "POST", "/v1/models/writer:stream", "{}")[1]


def wait_for_version(port: int, name: str, number: int) -> float:
    """Seconds until the version is there and the others are gone.

    Raises:
        SystemExit: it takes too long.
    """
    begin = time.monotonic()
    while True:
        states = status(port, name)
        others = {state for version, state in states.items() if version != str(number)}
        if states.get(str(number)) == "AVAILABLE" and others <= {"END"}:
            return time.monotonic() - begin
        if time.monotonic() - begin > _PATIENCE:
            raise SystemExit(f"version {number} of {name} is not served: {states}")
        time.sleep(0.1)
