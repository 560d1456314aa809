"""The fresh process that verifies an export, forked from one that has imported TensorFlow instead of started anew.

    python -I verifier.py VERIFY_CHILD.py DESCRIPTOR     # what `serving` starts

Each verification still has a process of its own without tflm and Keras; only the import is shared.
"""

import contextlib
import json
import os
import pathlib
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator

SOCKET = "TFLM_TEST_VERIFIER"
"""The environment variable with the path of the socket, where there is a server."""


SCRIPT = pathlib.Path(__file__).parents[1] / "tflm/export/verify_child.py"


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """A context with a server for this process and its children; it imports TensorFlow when it is first needed."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            descriptor = listening.fileno()
            server = subprocess.Popen(
                [sys.executable, "-I", __file__, str(SCRIPT), str(descriptor)],
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
                pass_fds=[descriptor],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        os.environ[SOCKET] = path
        try:
            yield
        finally:
            del os.environ[SOCKET]
            server.stdin.close()
            server.kill()
            server.wait()


def run(task_path: str, answers_path: str) -> subprocess.CompletedProcess[str]:
    """What `tflm.export.verify` does in a process of its own, by the server."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("r", encoding="utf-8") as answer:
        connection.connect(os.environ[SOCKET])
        connection.sendall(json.dumps([task_path, answers_path, os.getcwd()]).encode() + b"\n")
        code, error = json.loads(answer.readline())
    return subprocess.CompletedProcess([task_path, answers_path], code, "", error)


def _serve(script: str, descriptor: int) -> None:
    """Forks for every connection, until it is killed or nobody holds its standard input any more."""
    child_main = runpy.run_path(script, run_name="verify_child")["main"]
    listening = socket.socket(fileno=descriptor)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        with connection.makefile("r", encoding="utf-8") as request:
            task_path, answers_path, folder = json.loads(request.readline())
        _prepare(task_path)
        if os.fork():
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    continue
        else:
            os.chdir(folder)
            _answer(connection, child_main, task_path, answers_path)


def _prepare(task_path: str) -> None:
    """Imports TensorFlow as `verify_child` does, at the first task."""
    if "tensorflow" not in sys.modules:
        task = json.loads(pathlib.Path(task_path).read_text(encoding="utf-8"))
        sys.path[:] = task["sys_path"]
        sys.modules.update(dict.fromkeys(task["blocked"]))
        import tensorflow  # noqa: F401


def _answer(
    connection: socket.socket, child_main: Callable[[str, str], None], task_path: str, answers_path: str
) -> None:
    """Forks once more, so that the process that verifies may die and its exit code be sent; never returns."""
    errors = pathlib.Path(f"{answers_path}.stderr")
    if not (pid := os.fork()):
        code = 1
        try:
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
            child_main(task_path, answers_path)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    text = errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
    connection.sendall(json.dumps([code, text]).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
