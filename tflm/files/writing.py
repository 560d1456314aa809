"""Atomic file writes, and write errors as user errors instead of tracebacks.

with writing("the checkpoint 'run/checkpoints/step_00000020'", "The checkpoint of step 10 was kept."):
    checkpoint.write(...)
with whole_file("report.json") as aside, open(aside, "w", encoding="utf-8") as file:
    json.dump(report, file)
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator

from tflm.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_OTHERS = (  # file errors, not socket errors
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
)


def io_error_number(error: BaseException) -> int | None:
    """The `errno` of a failed file operation of Python or TensorFlow; None for other errors.

    TensorFlow errors contain the message of the operating system, such as "run/state; No space left on device".
    """
    numbers = (*_FULL, *_FORBIDDEN, *_OTHERS)
    if isinstance(error, OSError):
        return error.errno if error.errno in numbers else None
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(error, tensorflow.errors.OpError):
        return None
    return next((number for number in numbers if f"; {os.strerror(number)}" in error.message), None)


@contextlib.contextmanager
def writing(what: str, remedy: str | Callable[[], str] = "") -> Iterator[None]:
    """A context that converts write errors to `UserError`: what was written, the reason, what to do.

    Args:
        what: the file, such as "the checkpoint 'run/checkpoints/step_00000020'".
        remedy: sentences between the reason and the general advice, or a function that is called for them.
    """
    try:
        yield
    except Exception as error:
        number = io_error_number(error)
        if number is None:
            raise
        between = remedy() if callable(remedy) else remedy
        raise UserError(" ".join(filter(None, (_failed(what, number), between, advice(number))))) from error


def is_full(number: int) -> bool:
    """Whether the disk or the user's quota is full."""
    return number in _FULL


def advice(number: int) -> str:
    """What to do after a write error with this `errno`.

    >>> advice(errno.ENOSPC)
    'Free disk space and run the same command again.'
    """
    if is_full(number):
        return "Free disk space and run the same command again."
    if number in _FORBIDDEN:
        return "Change the permissions of the folder, or give another one."
    if number == errno.EFBIG:
        return "Raise the limit on the size of files (ulimit -f), or give a folder on another disk."
    return "Fix this, or give another folder."


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """A context for an atomic write: yields `PATH.tmp`, which replaces `path` at the end, or is removed on an error."""
    path = os.fspath(path)
    aside = f"{path}.tmp"
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


def _failed(what: str, number: int) -> str:
    return f"cannot write {what}: {os.strerror(number)}."
