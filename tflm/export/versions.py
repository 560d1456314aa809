"""Version folders: NAME/1, NAME/2, ... Each is written under another name and renamed when it is whole.

TensorFlow Serving takes any folder whose name is a number for a version, complete or not, so an export is
built in `NAME/VERSION.tmp`. A lock on that folder tells an export at work from the remains of one that
crashed: the operating system lets go of the lock when the process ends, however it ends.
"""

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterator

from tflm.errors import UserError


@dataclasses.dataclass
class Reservation:
    """A version that is being written."""

    path: str
    """The folder to write into, `NAME/VERSION.tmp`."""
    folder: str
    """`NAME`."""
    version: int
    fixed: bool
    """True if the caller asked for this version and no other."""

    def publish(self) -> str:
        """Renames the folder to its version, or to the next free one if another program has taken that.

        Returns:
            The path of the published version.
        Raises:
            UserError: the version was asked for and is taken.
        """
        while True:
            final = os.path.join(self.folder, str(self.version))
            try:
                os.rename(self.path, final)
            except OSError:
                if not os.path.lexists(final):
                    raise
                if self.fixed:
                    raise UserError(_taken(final)) from None
                self.version = max(self.version, *version_numbers(self.folder)) + 1
            else:
                return final


def version_numbers(folder: str) -> list[int]:
    """Numbers of the version folders in `NAME`, ascending. Whatever else is there is passed over."""
    if not os.path.isdir(folder):
        return []
    names = [entry.name for entry in os.scandir(folder) if _is_version(entry.name) and entry.is_dir()]
    return sorted(int(name) for name in names if name == str(int(name)))


def split_output(output: str) -> tuple[str, int | None]:
    """`NAME` and the version, or None where the path ends in no number.

    >>> split_output("saved_models/lstm"), split_output("saved_models/lstm/7")
    (('saved_models/lstm', None), ('saved_models/lstm', 7))
    """
    folder, last = os.path.split(os.path.normpath(output))
    return (folder, int(last)) if folder and _is_version(last) else (os.path.normpath(output), None)


@contextlib.contextmanager
def reserve(output: str) -> Iterator[Reservation]:
    """An empty, locked `NAME/VERSION.tmp`. It is removed if anything fails inside the block.

    Args:
        output: `NAME` for the next free version, or `NAME/VERSION`.
    Raises:
        UserError: the version exists or is being written, or the folder cannot be made.
    """
    folder, asked = split_output(output)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder!r} for the export: {error.strerror}.") from error
    if asked is not None and os.path.lexists(os.path.join(folder, str(asked))):
        raise UserError(_taken(os.path.join(folder, str(asked))))
    version = max(version_numbers(folder), default=0) + 1 if asked is None else asked
    while (lock := _lock(os.path.join(folder, f"{version}.tmp"))) is None:
        if asked is not None:
            raise UserError(
                f"{folder}/{version} is being written by another export. Leave out the version number."
            )
        version += 1
    reservation = Reservation(
        os.path.join(folder, f"{version}.tmp"), folder, version, fixed=asked is not None
    )
    try:
        _empty(reservation.path)
        yield reservation
    except BaseException:
        shutil.rmtree(reservation.path, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _lock(path: str) -> int | None:
    """Makes the folder if need be and locks it. None if another export holds it."""
    while True:
        try:
            os.makedirs(path, exist_ok=True)
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # its owner has renamed it
            continue
        except FileExistsError:  # the same, between the two looks that makedirs takes
            if os.path.isfile(path):
                raise
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, its owner may have renamed or removed it: then this is another
            # folder.
            if os.stat(path).st_ino == os.fstat(lock).st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass
        os.close(lock)


def _empty(folder: str) -> None:
    """Removes what a crashed export left."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _taken(path: str) -> str:
    return f"{path!r} exists. Versions are never overwritten: leave out the number for the next free one."
