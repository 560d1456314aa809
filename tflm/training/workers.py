"""Several worker processes that train one model: who writes, what they agree on, and what happens when one is gone.

Worker 0 is the chief: it alone holds the lock of the run and writes its files. All workers run the same program, since
every collective operation needs all of them.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import tensorflow as tf

from tflm.errors import Interrupted, UserError

T = TypeVar("T")
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Number of processes that train together."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    return max(1, strategy.cluster_resolver.cluster_spec().num_tasks("worker"))


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """0 for the chief, and for a process that trains alone."""
    return strategy.cluster_resolver.task_id if num_workers(strategy) > 1 else 0


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of the run."""
    return worker_index(strategy) == 0


def sum_over_workers(strategy: tf.distribute.Strategy, value: float) -> float:
    """The sum of a number of each worker. All workers call it, and wait for each other."""
    if num_workers(strategy) == 1:
        return value
    return float(strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(value, tf.float64), axis=None))


def any_worker(strategy: tf.distribute.Strategy, flag: bool) -> bool:
    """Whether the flag is set on one worker at least, such as that of a signal to stop: then all stop at one step. All
    workers call it."""
    return sum_over_workers(strategy, float(flag)) > 0


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers call it."""
    sum_over_workers(strategy, 0.0)


def check_same_step(strategy: tf.distribute.Strategy, step: int, folder: str) -> None:
    """Checks that all workers resume from one step.

    Raises:
        UserError: they found different checkpoints.
    """
    expected = sum_over_workers(strategy, float(step) if is_chief(strategy) else 0.0)
    if any_worker(strategy, step != expected):
        raise UserError(
            f"worker {worker_index(strategy)} found the checkpoint of step {step:,} in {folder!r}, and worker 0 that "
            f"of step {int(expected):,}. All workers need one --workdir, on a file system that they share."
        )


def chief_first(strategy: tf.distribute.Strategy, make: Callable[[], T]) -> T:
    """Calls `make` on the chief, then on all others, which find the files that it wrote.

    Raises:
        UserError: the chief's `make` failed; there it raises what was raised.
    """
    if not is_chief(strategy):
        if any_worker(strategy, False):
            raise UserError("worker 0 could not begin; its message says why.")
        return make()
    try:
        made = make()
    except BaseException:
        any_worker(strategy, True)
        raise
    any_worker(strategy, False)
    return made


@contextlib.contextmanager
def lost_workers_noticed(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """A block in which the loss of another worker is `Interrupted`. TensorFlow notices it by a broken connection at
    once, or by a missing heartbeat in about ten seconds, and ends all collective operations; a process cannot join
    again, so all workers are started again.

    Raises:
        Interrupted: another worker ended, or is not reachable.
    """
    if num_workers(strategy) == 1:
        yield
        return
    try:
        yield
    except _LOST as error:
        if not isinstance(error, tf.errors.UnavailableError) and "ollective" not in str(error):
            raise
        index, count = worker_index(strategy), num_workers(strategy)
        raise Interrupted(
            f"worker {index} of {count} lost the connection to another worker ({_reason(error)}) and stopped. Start "
            "all workers again with the same command; they continue from the newest checkpoint."
        ) from error


def _reason(error: tf.errors.OpError) -> str:
    """What TensorFlow says of it, in short."""
    text = str(error)
    for part in ("stopped sending heartbeats", "Connection refused", "Socket closed", "Connection reset"):
        if part in text:
            return part[0].lower() + part[1:]
    return (text.strip().splitlines() or [type(error).__name__])[-1][:100]
