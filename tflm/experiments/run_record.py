"""A record of each start of a training: command, versions, code, config and data, to tell later what was run."""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tflm.config import to_dict
from tflm.experiments.run import Run
from tflm.files.writing import writing
from tflm.training.logs import read_records

STARTS_FILE = "starts.jsonl"
"""In the folder of the run: a line for each time that its training began or went on."""
_PACKAGES = ("tflm", "tensorflow", "keras", "keras-nlp", "tensorflow-text", "numpy")


def record_start(
    run: Run, strategy: tf.distribute.Strategy, step: int, num_parameters: int | None = None
) -> dict[str, Any]:
    """Adds a line to `starts.jsonl`, and returns what it holds.

    Args:
        run: with its tokenised data.
        strategy: where it runs.
        step: int, of the checkpoint that it goes on from; 0 for a new run.
        num_parameters: int, trained ones; None if unknown.
    Raises:
        UserError: the file cannot be written.
    """
    splits = ("train", "eval") if run.config.data.has_eval else ("train",)
    config = json.dumps(to_dict(run.config), sort_keys=True).encode()
    record = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "step": step,
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": git_state(os.getcwd()),
        "platform": platform.platform(),
        "num_cpus": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "strategy": type(strategy).__name__,
        "num_replicas": strategy.num_replicas_in_sync,
        **({} if num_parameters is None else {"num_parameters": num_parameters}),
        "config_sha256": hashlib.sha256(config).hexdigest(),
        "data_sha256": {split: run.store(split).fingerprint for split in splits},
    }
    if run.config.data.mask_personal:
        record["masked"] = {split: run.store(split).masked for split in splits}
    path = os.path.join(run.workdir, STARTS_FILE)
    with writing(f"the record of starts {path!r}"), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return record


def masked_counts(workdir: str) -> dict[str, dict[str, int]]:
    """Split to the number of masked spans of personal data by kind, of the last start; empty without such a record."""
    starts = read_records(os.path.join(workdir, STARTS_FILE))
    return next((start["masked"] for start in reversed(starts) if "masked" in start), {})


def masked_text(counts: Mapping[str, int]) -> str:
    """
    >>> masked_text({"email": 1200, "phone": 3})
    'email 1,200, phone 3'
    """
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{kind} {count:,}" for kind, count in ordered) or "nothing found"


def git_state(folder: str) -> dict[str, Any] | None:
    """The commit that is checked out in `folder` and whether files differ from it; None without git or a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "changed": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: str, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, encoding="utf-8", check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
