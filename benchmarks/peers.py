"""Programs of a benchmark's sides, and the environments that they run in."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterable, Sequence


def environment_of_sides() -> dict[str, str]:
    """The environment of a side's process; it has no GPU to look for."""
    return {
        **os.environ,
        "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }


def run(arguments: Sequence[str]) -> str:
    """What a command prints."""
    done = subprocess.run(
        arguments, capture_output=True, encoding="utf-8", env=environment_of_sides(), check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def chosen_sides(given: Sequence[str], names: Iterable[str]) -> list[str]:
    """The sides that --sides names, in the order of the table.

    Raises:
        SystemExit: one of them does not exist.
    """
    names = list(names)
    if unknown := sorted(set(given) - set(names)):
        raise SystemExit(f"--sides has {unknown}, expected some of {', '.join(names)}.")
    return [name for name in names if name in given]


def torch_environment(folder: str, packages: Sequence[str]) -> str:
    """The interpreter of `folder/torch`, made with pip if it is not there."""
    path = os.path.join(folder, "torch")
    python = os.path.join(path, "bin", "python")
    if not os.path.exists(python):
        print(f"# making {path}", file=sys.stderr, flush=True)
        venv.create(path, with_pip=True)
        run([python, "-m", "pip", "install", "--quiet", *packages])
    return python
