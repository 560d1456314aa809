"""Inter-process locks: one writer for a run, a token store, an index or an export.

A lock is a file locked with flock(2). It contains its owner and is removed on release. The operating system releases
the lock when the process ends, so a file left by a killed process does not block others.

Network file systems: NFS forwards flock to the server, so locks work across machines if the lock service runs; some
mounts (NFS with `nolock`, Lustre with `localflock`) have locks per machine only. On a file system without locks, a
warning is logged and nothing is locked.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from absl import logging

from tflm.errors import UserError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
_held: dict[tuple[str, int], int] = {}  # number of nested blocks by path and thread
_warned: set[str] = set()


@dataclasses.dataclass
class Lock:
    """An acquired lock."""

    path: str
    handle: int

    def release(self) -> None:
        """Removes the file, then releases the lock; see `acquire` for processes that opened the file in between."""
        try:
            with contextlib.suppress(OSError):
                if os.stat(self.path).st_ino == os.fstat(self.handle).st_ino:
                    os.unlink(self.path)
        finally:
            os.close(self.handle)


def lock_handle(handle: int, path: str, exclusive: bool = True, wait: bool = False) -> bool:
    """Locks an open file or folder. Returns False if another process or handle holds the lock.

    On a file system without locks, logs a warning and returns True.
    """
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        folder = os.path.dirname(path)
        if folder not in _warned:
            _warned.add(folder)
            logging.warning(
                "%r is on a file system without locks (%s): make sure that no other process writes there.",
                folder,
                error.strerror,
            )
    return True


def acquire(path: str, wait: bool = False) -> Lock | None:
    """Creates the file `path` and locks it. None if another process holds the lock and `wait` is False.

    Raises:
        OSError: the file cannot be created.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not lock_handle(handle, path, wait=wait):
                os.close(handle)
                return None
            # The previous owner may have removed the file between open and lock; then retry with a new file.
            if os.stat(path).st_ino == os.fstat(handle).st_ino:
                _sign(handle)
                return Lock(path, handle)
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def owner(path: str) -> str:
    """Owner of a lock, for messages.

    >>> owner("run/train.lock")
    'process 4711 on host gpu1, since 2024-05-01 12:00'
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return f"process {found['pid']} on host {found['host']}, since {found['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


@contextlib.contextmanager
def hold(path: str, what: str, remedy: str) -> Iterator[None]:
    """A context that holds the lock `path`, reentrant per thread. The folder is created if missing, and removed again
    at the end if empty.

    Args:
        path: lock file.
        what: the operation, for the message, such as "'runs/a' is being trained".
        remedy: what to do if another process holds the lock.
    Raises:
        UserError: another process holds the lock, or the file cannot be created.
    """
    folder = os.path.dirname(path) or "."
    is_new = not os.path.isdir(folder)

    def lock() -> Lock:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {folder!r}: {error.strerror}.") from error
        found = _acquire(path)
        if found is None:
            raise UserError(f"{what} by {owner(path)}. {remedy}")
        return found

    try:
        with _entered(path, lock):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


@contextlib.contextmanager
def wait_for(path: str, what: str) -> Iterator[None]:
    """A context that holds the lock `path`, reentrant per thread. Waits, with a warning, while another process
    holds it.

    Args:
        path: lock file.
        what: the locked resource, for the message, such as "the token store 'runs/a/data/train'".
    Raises:
        UserError: the file cannot be created.
    """

    def lock() -> Lock:
        found = _acquire(path)
        if found is None:
            logging.warning("waiting for %s, which is being written by %s.", what, owner(path))
            found = _acquire(path, wait=True)
        assert found is not None
        return found

    with _entered(path, lock):
        yield


@contextlib.contextmanager
def _entered(path: str, lock_fn: Callable[[], Lock]) -> Iterator[None]:
    """Reenters the lock of an enclosing block of this thread, or acquires a new one."""
    key = (os.path.realpath(path), threading.get_ident())
    lock = None if _held.get(key) else lock_fn()
    _held[key] = _held.get(key, 0) + 1
    try:
        yield
    finally:
        _held[key] -= 1
        if lock is not None:
            del _held[key]
            lock.release()


def _acquire(path: str, wait: bool = False) -> Lock | None:
    try:
        return acquire(path, wait)
    except OSError as error:
        raise UserError(f"cannot write the lock {path!r}: {error.strerror}. Give another folder.") from error


def _sign(handle: int) -> None:
    """Writes the owner to the file; ignores errors such as a full disk."""
    record = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M")}
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(record).encode(), 0)
