"""Runs pytest in several processes: tests are collected once, and forks of the collector run them.

Test modules and TensorFlow are imported once for all processes. A process takes one test file at a time, so that all
stay busy to the end, and the fixtures of a module are made once. TensorFlow keeps the memory of every graph that was
ever traced: a process that has grown beyond a limit is replaced by a new one.
"""

import argparse
import dataclasses
import gc
import logging
import multiprocessing.connection
import os
import pathlib
import signal
import sys
import traceback
import warnings
from collections.abc import Iterable

import pytest

from tests import verifier
from tests.resident import resident_gigabytes

SLOWEST = (
    "tests/apps/test_whole_way.py",
    "tests/apps/test_rows.py",
    "tests/apps/test_export.py",
    "tests/apps/test_train.py",
    "tests/apps/test_generate.py",
    "tests/apps/test_evaluate.py",
    "tests/apps/test_demo.py",
    "tests/test_docs.py",
    "tests/test_generation_benchmark.py",
)
"""Files that begin first; the others follow by their number of tests. A long file at the end would run alone."""
MEMORY = 3.0
"""Gigabytes of a process beyond which it gets no further file."""


def main(arguments: list[str]) -> int:
    """pytest's exit code. What is not an option of this module is pytest's."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--memory", type=float, default=MEMORY, help="GB after which a process is replaced")
    parser.add_argument("--fast", action="store_true", help="without the tests marked as slow")
    given, own = parser.parse_known_args(arguments)
    if given.workers < 1:
        parser.error(f"--workers is {given.workers}, expected 1 or more.")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background like this, and every process that a test starts would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    fast = ("-m", "not slow") if given.fast else ()
    # Failures and skips are listed at the end; a file that cannot be imported does not keep the others from running.
    options = ("-rfEs", "--continue-on-collection-errors", *fast, *own)
    return int(pytest.main(list(options), plugins=[Parallel(given.workers, given.memory)]))


@dataclasses.dataclass
class Worker:
    """A process that runs tests, as the collector sees it."""

    pid: int
    connection: multiprocessing.connection.Connection
    files: list[list[int]] = dataclasses.field(default_factory=list)
    """The file that it runs and the one that it takes next: the places of their tests in `session.items`."""
    test: int | None = None
    """The one that runs."""


class Parallel:
    """A pytest plugin: the loop over all tests, in several processes."""

    def __init__(self, num_workers: int, memory: float) -> None:
        self._num_workers, self._memory = num_workers, memory
        self._files: list[list[int]] = []
        self._workers: list[Worker] = []
        self._cpu_seconds, self._num_processes, self._peak = 0.0, 0, 0.0
        self._seconds_of: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Runs the tests, unless they are only listed or debugged."""
        if session.config.option.collectonly or session.config.option.usepdb:
            return None
        self._session, self._files = session, in_order(session.items)
        session.config._tmp_path_factory.getbasetemp()  # one folder for all processes
        gc.collect()
        gc.freeze()  # modules are not collected again in every process, and their memory stays shared
        with verifier.serving():
            try:
                self._run()
            finally:
                for worker in list(self._workers):  # none, unless the run is interrupted
                    self._wait_for(worker)
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Finds a module that runs TensorFlow while it is imported: its threads would be missing after a fork."""
        context = sys.modules.get("tensorflow.python.eager.context")
        if context is not None and context.context()._initialized:
            raise pytest.UsageError(
                f"{report.nodeid} makes a tensor while it is imported, and TensorFlow that has run cannot be forked. "
                "Make it in a fixture or in a function."
            )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What the run has cost."""
        terminalreporter.write_line(
            f"{self._num_processes} processes, {self._num_workers} at a time: "
            f"{self._cpu_seconds:,.0f} seconds of CPU, at most {self._peak:.1f} GB each"
        )
        slowest = sorted(self._seconds_of.items(), key=lambda each: -each[1])
        for path, seconds in slowest[: terminalreporter.config.option.durations or None]:
            terminalreporter.write_line(f"{seconds:6.1f} s of CPU  {path}")

    def _run(self) -> None:
        session = self._session
        while self._workers or self._files:
            while self._files and len(self._workers) < self._num_workers:
                self._begin()
            connections = {worker.connection: worker for worker in self._workers}
            for connection in multiprocessing.connection.wait(list(connections)):
                self._receive(connections[connection])
            if session.shouldfail:
                raise session.Failed(session.shouldfail)

    def _begin(self) -> None:
        here, there = multiprocessing.Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            here.close()
            for worker in self._workers:
                worker.connection.close()
            _work(self._session, there, self._memory)
        there.close()
        self._num_processes += 1
        self._workers.append(Worker(pid, here))
        self._give(self._workers[-1])

    def _give(self, worker: Worker) -> None:
        file = self._files.pop(0) if self._files else []
        worker.files.append(file)
        worker.connection.send(file)

    def _receive(self, worker: Worker) -> None:
        hook, config = self._session.config.hook, self._session.config
        try:
            kind, content = worker.connection.recv()
            if kind == "wants":
                if content:
                    self._give(worker)
                else:
                    worker.connection.send([])
            elif kind == "begins":
                worker.test = content
                while content not in worker.files[0]:
                    del worker.files[0]
            elif kind == "ended":
                hook.pytest_runtest_logfinish(nodeid=content[0], location=content[1])
                worker.test = None
            elif kind == "report":
                report = hook.pytest_report_from_serializable(config=config, data=content)
                hook.pytest_runtest_logreport(report=report)
            elif kind == "warning":
                hook.pytest_warning_recorded.call_historic(kwargs=content)
            elif kind == "file":
                self._seconds_of[content[0]] = self._seconds_of.get(content[0], 0.0) + content[1]
            elif kind == "done":
                worker.files.clear()
        except (EOFError, ConnectionError):
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        """Waits for a process; where it has died on its way, its test has failed, and its other tests go to another."""
        status = self._wait_for(worker)
        if worker.test is None:
            if worker.files:
                raise RuntimeError(f"a test process ended with {_exit(status)} between two tests")
            return
        first, *others = worker.files
        item = self._session.items[worker.test]
        text = f"the process of this test ended with {_exit(status)}"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")
        self._session.config.hook.pytest_runtest_logreport(report=report)
        rest = first[first.index(worker.test) + 1 :]
        self._files[:0] = [file for file in (rest, *others) if file]

    def _wait_for(self, worker: Worker) -> int:
        """The status of a process at its end; one that still runs ends after its test, since nobody listens."""
        worker.connection.close()
        self._workers.remove(worker)
        _, status, usage = os.wait4(worker.pid, 0)
        self._cpu_seconds += usage.ru_utime + usage.ru_stime
        self._peak = max(self._peak, usage.ru_maxrss / 2**20)
        return status


def _exit(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def in_order(items: Iterable[pytest.Item]) -> list[list[int]]:
    """The places of the tests of each file; what takes longest first."""
    files: dict[pathlib.Path, list[int]] = {}
    for place, item in enumerate(items):
        files.setdefault(item.path, []).append(place)
    root = pathlib.Path(__file__).parents[1]
    rank = {root / path: len(SLOWEST) - place for place, path in enumerate(SLOWEST)}
    return [files[path] for path in sorted(files, key=lambda path: (-rank.get(path, 0), -len(files[path])))]


def _work(session: pytest.Session, connection: multiprocessing.connection.Connection, memory: float) -> None:
    """All that a forked process does: it never returns."""
    code = 1
    try:
        config = session.config
        _own_capture(config)
        config.pluginmanager.unregister(name="terminalreporter")
        sender = _Sender(config, connection)
        config.pluginmanager.register(sender)  # which is given all earlier warnings
        sender.listens = True
        _run_files(session, connection, memory)
        connection.send(("done", None))
        code = 0
    except (EOFError, ConnectionError, KeyboardInterrupt):  # the collector has ended
        session._setupstate.teardown_exact(None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what the collector registered for its exit is not this process's to do


def _run_files(
    session: pytest.Session, connection: multiprocessing.connection.Connection, memory: float
) -> None:
    places = connection.recv()
    while places:
        following, begin = [], sum(os.times()[:4])
        for number, place in enumerate(places, 1):
            item = session.items[place]
            if number == len(places):
                # What comes next is known before the last test, so that the fixtures of the session stay.
                connection.send(("wants", resident_gigabytes() < memory))
                following = connection.recv()
            next_place = places[number] if number < len(places) else next(iter(following), None)
            connection.send(("begins", place))
            item.config.hook.pytest_runtest_protocol(
                item=item, nextitem=None if next_place is None else session.items[next_place]
            )
            connection.send(("ended", (item.nodeid, item.location)))
        path = session.items[places[0]].nodeid.partition("::")[0]
        connection.send(("file", (path, sum(os.times()[:4]) - begin)))
        places = following


def _own_capture(config: pytest.Config) -> None:
    """The collector's capture is a file whose position all forked processes share."""
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    reopen_log_handlers()
    capture.suspend_global_capture()


def reopen_log_handlers() -> None:
    """Lets handlers of logging write to today's standard error, whose stream was replaced and is closed by now."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    if "absl.logging" in sys.modules:
        handlers.add(sys.modules["absl.logging"].get_absl_handler())
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    for handler in handlers:
        handler = getattr(handler, "python_handler", handler)  # absl's
        if getattr(getattr(handler, "stream", None), "closed", False):
            handler.stream = sys.stderr  # `setStream` would flush the closed one


class _Sender:
    """Sends to the collector what tests report."""

    def __init__(self, config: pytest.Config, connection: multiprocessing.connection.Connection) -> None:
        self._config, self._connection = config, connection
        self.listens = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._connection.send(("report", data))

    def pytest_warning_recorded(self, warning_message, when, nodeid, location) -> None:
        if not self.listens:
            return
        # As text: a warning may hold anything.
        text = f"{warning_message.category.__name__}: {warning_message.message}"
        plain = warnings.WarningMessage(
            UserWarning(text), UserWarning, warning_message.filename, warning_message.lineno
        )
        content = {"warning_message": plain, "when": when, "nodeid": nodeid, "location": location}
        self._connection.send(("warning", content))


if __name__ == "__main__":
    os.chdir(pathlib.Path(__file__).parents[1])
    sys.exit(main(sys.argv[1:]))
