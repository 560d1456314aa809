"""Version folders NAME/1, NAME/2, ..., written to a temporary folder and renamed when complete.

TensorFlow Serving treats any folder with a numeric name as a version, complete or not, so an export is built in
`NAME/VERSION.tmp`. The lock `NAME/VERSION.lock` distinguishes a running export from a crashed one, see
`tflm.files.locks`.
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator

from tflm.errors import UserError
from tflm.files.locks import Lock, acquire, owner
from tflm.files.writing import writing


@dataclasses.dataclass
class Reservation:
    """A version that is being written."""

    path: str
    """The folder to write to, `NAME/VERSION.tmp`."""
    folder: str
    """`NAME`."""
    version: int
    fixed: bool
    """Whether the caller requested this version."""

    def publish(self) -> str:
        """Renames the folder to its version, or to the next free version if another program has created it.

        Returns:
            The path of the published version.
        Raises:
            UserError: the requested version exists.
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
    """Ascending numbers of the version folders in `NAME`; other files are ignored."""
    if not os.path.isdir(folder):
        return []
    names = [entry.name for entry in os.scandir(folder) if _is_version(entry.name) and entry.is_dir()]
    return sorted(int(name) for name in names if name == str(int(name)))


def split_output(output: str) -> tuple[str, int | None]:
    """`NAME` and the version, None if the path does not end in a number.

    >>> split_output("saved_models/lstm"), split_output("saved_models/lstm/7")
    (('saved_models/lstm', None), ('saved_models/lstm', 7))
    """
    folder, last = os.path.split(os.path.normpath(output))
    return (folder, int(last)) if folder and _is_version(last) else (os.path.normpath(output), None)


def check_free(output: str) -> None:
    """Raises UserError if `output` is `NAME/VERSION` and exists. `reserve` checks this too; here it is found before
    the signatures of a model are traced."""
    folder, asked = split_output(output)
    if asked is not None and os.path.lexists(os.path.join(folder, str(asked))):
        raise UserError(_taken(os.path.join(folder, str(asked))))


@contextlib.contextmanager
def reserve(output: str) -> Iterator[Reservation]:
    """A context with an empty, locked folder `NAME/VERSION.tmp`, which is removed on an exception.

    Args:
        output: `NAME` for the next free version, or `NAME/VERSION`.
    Raises:
        UserError: the version exists or is being written, or the folder cannot be created.
    """
    folder, asked = split_output(output)
    check_free(output)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder!r} for the export: {error.strerror}.") from error
    version, lock = _lock_version(folder, asked)
    path = os.path.join(folder, f"{version}.tmp")
    try:
        with writing(f"the export {path!r}", "Earlier versions were kept."):
            os.makedirs(path, exist_ok=True)
            _empty(path)
        yield Reservation(path, folder, version, fixed=asked is not None)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    finally:
        lock.release()


def _lock_version(folder: str, asked: int | None) -> tuple[int, Lock]:
    """The requested version, or the next free one, and its lock."""
    version = max(version_numbers(folder), default=0) + 1 if asked is None else asked
    while True:
        path = os.path.join(folder, f"{version}.lock")
        with writing(f"the lock {path!r}"):
            lock = acquire(path)
        if lock is not None:
            if not os.path.lexists(os.path.join(folder, str(version))):
                return version, lock
            lock.release()  # another export has published this version in the meantime
            if asked is not None:
                raise UserError(_taken(os.path.join(folder, str(asked))))
        elif asked is not None:
            raise UserError(
                f"{folder}/{version} is being written by another export, {owner(path)}. Leave out the version number."
            )
        version += 1


def _empty(folder: str) -> None:
    """Removes the files of a crashed export."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _taken(path: str) -> str:
    return f"{path!r} exists. Versions are never overwritten: leave out the number for the next free one."
