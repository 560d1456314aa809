"""Encoding in several processes: chunks of examples go out in order, and their features come back in order.

What is encoded does not depend on the number of processes: chunks are the same, and each is encoded by itself. The
processes are started by `subprocess`: TensorFlow is not fork-safe, and `multiprocessing` would run the user's script
again where it lacks `if __name__ == "__main__"`. A process ends when its standard input does, also if this process is
killed.
"""

import collections
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from absl import logging

if TYPE_CHECKING:
    import tensorflow as tf

EncodeFn = Callable[[dict[str, "tf.Tensor"]], Mapping[str, "tf.Tensor | tf.RaggedTensor"]]
Encoded = dict[str, tuple[np.ndarray, np.ndarray | None]]
"""Feature to its flat values and, if it is ragged, its row splits."""
Chunk = list[dict[str, str]]

FIRST_SECONDS = 30.0
"""Seconds for which this process encodes by itself before it starts others, if their number is 0: to start a process
takes up to ten seconds."""
_MOST_WORKERS = 8
_CODE = "import sys; sys.path[:] = {path!r}; from tflm.data import encode_processes; encode_processes.serve()"


def encode_chunk(encode_fn: EncodeFn, chunk: Chunk) -> Encoded:
    """The features of a chunk of examples as arrays.

    Args:
        encode_fn: see `build_store`.
        chunk: dicts of strings with equal keys, at least one.
    """
    import tensorflow as tf  # not at the top: a process says at once that something is wrong

    found = encode_fn({key: tf.constant([example[key] for example in chunk]) for key in chunk[0]})
    return {
        name: (np.asarray(value.flat_values), np.asarray(value.row_splits))
        if isinstance(value, tf.RaggedTensor)
        else (np.asarray(value), None)
        for name, value in found.items()
    }


def encoded_by_processes(
    chunks: Iterable[Chunk], encode_fn: EncodeFn, make_encode_fn: Callable[[], EncodeFn], num_workers: int
) -> Iterator[tuple[int, Encoded]]:
    """The number of examples of each chunk, and its features, in the order of the chunks.

    Args:
        chunks: of examples.
        encode_fn: that of this process.
        make_encode_fn: makes it in another process; picklable.
        num_workers: int, number of processes; 0 for the number of CPUs, 8 at most, after `FIRST_SECONDS`.
    """
    stream = iter(chunks)
    if num_workers == 0:
        begin = time.monotonic()
        while time.monotonic() - begin < FIRST_SECONDS:
            chunk = next(stream, None)
            if chunk is None:
                return
            yield len(chunk), encode_chunk(encode_fn, chunk)
        num_workers = min(_num_cpus(), _MOST_WORKERS)
    if num_workers == 1:
        yield from ((len(chunk), encode_chunk(encode_fn, chunk)) for chunk in stream)
        return
    first = next(stream, None)
    if first is None:
        return
    logging.info("tokenising in %d processes", num_workers)
    with _workers(make_encode_fn, num_workers) as (idle, start), ThreadPoolExecutor(num_workers) as threads:

        def encode(chunk: Chunk) -> tuple[int, Encoded]:
            worker = idle.get()
            try:
                worker = worker or start()
                return len(chunk), worker.encode(chunk)
            except _NotEncodedError as error:
                logging.warning("%s. This process tokenises in its place; the data is the same.", error)
                return len(chunk), encode_chunk(encode_fn, chunk)
            finally:
                idle.put(worker)

        running: collections.deque[Future[tuple[int, Encoded]]] = collections.deque()
        try:
            running.append(threads.submit(encode, first))
            for chunk in stream:
                running.append(threads.submit(encode, chunk))
                if len(running) >= 2 * num_workers:  # the next ones wait for a process, and memory is bounded
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _num_cpus() -> int:
    """Those that this process may use."""
    with contextlib.suppress(AttributeError):  # Linux alone has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _NotEncodedError(Exception):
    """A process cannot encode: it has ended, or the encode_fn cannot be made there, such as one of a plugin that was
    imported by hand."""


class _Worker:
    """A process that encodes, as this process sees it."""

    def __init__(self, make_encode_fn: Callable[[], EncodeFn]) -> None:
        # On the CPU, with one thread: there are as many processes as CPUs, and a GPU is this process's.
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_NUM_INTRAOP_THREADS": "1",
            "TF_NUM_INTEROP_THREADS": "1",
        }
        command = [sys.executable, "-c", _CODE.format(path=sys.path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._from: BinaryIO = self._process.stdout  # type: ignore[assignment]
        self._problem = ""
        with contextlib.suppress(OSError):  # it has ended, which `encode` reports
            pickle.dump(make_encode_fn, self._to)
            self._to.flush()

    def encode(self, chunk: Chunk) -> Encoded:
        """Sends a chunk and waits for its features; raises what the encode_fn raised.

        Raises:
            _NotEncodedError: the process cannot encode, or has ended.
        """
        if self._problem:
            raise _NotEncodedError(self._problem)
        try:
            pickle.dump(chunk, self._to)
            self._to.flush()
            answer: Any = pickle.load(self._from)
        except (OSError, EOFError, pickle.UnpicklingError):
            self._problem = (
                f"a process that tokenises ended with exit code {self._process.wait()}; if memory is short (code -9), "
                "give fewer: --data_workers=1, or TFLM_DATA_WORKERS=1"
            )
            raise _NotEncodedError(self._problem) from None
        if isinstance(answer, _NotEncodedError):
            self._problem = str(answer)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self._to.close()
        self._from.close()
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def _workers(
    make_encode_fn: Callable[[], EncodeFn], num_workers: int
) -> Iterator[tuple["queue.SimpleQueue[_Worker | None]", Callable[[], _Worker]]]:
    """A queue of processes, None for each that is not started yet, and what starts one. All are ended at the end."""
    idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
    started: list[_Worker] = []
    for _ in range(num_workers):
        idle.put(None)

    def start() -> _Worker:
        worker = _Worker(make_encode_fn)
        started.append(worker)
        return worker

    try:
        yield idle, start
    finally:
        for worker in started:
            worker.close()


def serve() -> None:
    """The loop of a process that encodes: reads a `make_encode_fn` and chunks from standard input, writes features to
    standard output, until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes to standard error
    with contextlib.suppress(EOFError, BrokenPipeError):
        encode_fn: EncodeFn | None = None
        problem: Exception | None = None
        try:
            encode_fn = pickle.load(sys.stdin.buffer)()
        except Exception as error:
            problem = _NotEncodedError(
                f"no process can tokenise for this run ({type(error).__name__}: {error})"
            )
        while True:
            chunk = pickle.load(sys.stdin.buffer)
            try:
                answer: Any = problem or encode_chunk(encode_fn, chunk)  # type: ignore[arg-type]
            except Exception as error:
                answer = _picklable(error)
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()


def _picklable(error: Exception) -> Exception:
    """The error, or one with its message where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
