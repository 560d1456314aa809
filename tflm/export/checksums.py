"""SHA-256 checksums of the files of an export, to verify copies."""

import hashlib
import json
import os

from tflm.errors import UserError

CHECKSUMS_FILE = "checksums.json"


def write_checksums(path: str) -> None:
    """Writes `checksums.json` to the folder: relative path to SHA-256 for all files below it."""
    with open(os.path.join(path, CHECKSUMS_FILE), "w", encoding="utf-8") as file:
        json.dump({"sha256": _checksums(path)}, file, indent=2)
        file.write("\n")


def verify_checksums(path: str) -> None:
    """Verifies an export against its `checksums.json`.

    Raises:
        UserError: `checksums.json` is missing, or files are missing, changed or not listed; the message names them.
    """
    try:
        with open(os.path.join(path, CHECKSUMS_FILE), encoding="utf-8") as file:
            expected = json.load(file)["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path!r} has no readable {CHECKSUMS_FILE} ({error}). Was it written by tflm?"
        ) from error
    found = _checksums(path)
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not in the list" for name in found if name not in expected]
    problems += [
        f"{name} has changed" for name in found if name in expected and found[name] != expected[name]
    ]
    if problems:
        raise UserError(
            f"{path!r} is not what was exported: {'; '.join(sorted(problems))}. Copy or export it again."
        )


def _checksums(path: str) -> dict[str, str]:
    checksums = {}
    for folder, _, names in os.walk(path):
        for name in names:
            file_path = os.path.join(folder, name)
            relative = os.path.relpath(file_path, path).replace(os.sep, "/")
            if relative != CHECKSUMS_FILE:
                with open(file_path, "rb") as file:
                    checksums[relative] = hashlib.file_digest(file, "sha256").hexdigest()
    return dict(sorted(checksums.items()))
