"""`apps.serve` as a process of its own: where it listens, what memory it holds, how it ends."""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ServerProcess:
    """A server on free ports of the loopback address.

        with ServerProcess("--model_config_file=models.config") as server:
            print(server.rest_port, server.grpc_port, server.memory())

    Attributes:
        rest_port, grpc_port: where it listens.
        exit_code: after `stop`; None if it had to be killed.
    """

    def __init__(self, *arguments: str) -> None:
        """Starts it, and waits until it is ready.

        Raises:
            SystemExit: it does not get ready; with what it wrote.
        """
        self.exit_code: int | None = None
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "apps.serve", "--rest_api_port=0", "--port=0", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
        )
        ready = self._output.readline()
        found = re.search(r"http://[^:/]+:(\d+)/.* grpc://[^:/]+:(\d+)/", ready)
        if not found:
            self.stop()
            raise SystemExit(f"The server is not ready: {ready}{self.log()[-2000:]}")
        self.rest_port, self.grpc_port = int(found[1]), int(found[2])

    @property
    def _output(self) -> Any:
        return self.process.stdout

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def memory(self) -> int:
        """Bytes that it holds in memory now."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time that it has used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def limit_memory(self, num_bytes: int) -> None:
        """From now on it may not reserve more: it fails itself, instead of taking the machine with it."""
        resource.prlimit(self.process.pid, resource.RLIMIT_AS, (num_bytes, num_bytes))

    def log(self) -> str:
        """What it wrote to standard error."""
        self._log.seek(0)
        return self._log.read()

    def stop(self, seconds: float = 60.0) -> None:
        """SIGTERM; after some time SIGKILL."""
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            self.exit_code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._output.close()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
