"""Experiment trackers: MLflow, Weights & Biases, SwanLab. Each is an optional library and works without a network.

    run.train(observers=[make_tracker("mlflow", run.workdir, run.config.name, to_dict(run.config))])

They get what log.jsonl has, and the config. Their files are in the run's folder unless the library's own environment
variables say otherwise. A resumed training continues the same run of the tracker, whose id is in WORKDIR/trackers.json.
"""

import abc
import importlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from tflm.errors import UsageError, UserError
from tflm.files.writing import whole_file
from tflm.training.observers import TrainingObserver

IDS_FILE = "trackers.json"
"""In the folder of the run: the name of each tracker to the id of its run."""
_PROJECT = "tflm"


class Tracker(TrainingObserver, abc.ABC):
    """Sends the config and the records of the log to a library. Where that fails during a training, it is reported,
    and the training goes on without it.

    Args:
        workdir: folder of the run.
        name: of the run.
        config: of the run, JSON-compatible.
    Raises:
        UserError: the library is not installed.
    """

    library: ClassVar[str]
    """Name of the module."""
    install: ClassVar[str]
    """How to install it."""

    def __init__(self, workdir: str, name: str, config: Mapping[str, Any]) -> None:
        self.workdir, self.name, self.config = os.path.abspath(workdir), name, dict(config)
        self._note_fn: Callable[[str], None] = lambda text: None
        self._is_on = False
        try:
            self.module: Any = importlib.import_module(self.library)
        except ImportError as error:
            raise UserError(f"--tracker={self.library}: {error}. Install it: {self.install}.") from error

    @abc.abstractmethod
    def start(self, run_id: str) -> tuple[str, str]:
        """Starts a run, or continues the one with this id.

        Args:
            run_id: of an earlier start; "" for a new run.
        Returns:
            The id of the run, and a line for the user about how to see it.
        """

    @abc.abstractmethod
    def log(self, step: int, values: dict[str, float]) -> None:
        """Sends values of a step."""

    @abc.abstractmethod
    def finish(self, failed: bool) -> None:
        """Ends the run."""

    def begin(self, step: int, past: Iterable[Mapping[str, Any]], note_fn: Callable[[str], None]) -> None:
        """Starts or continues the run."""
        self._note_fn, self._is_on = note_fn, True
        self._try(self._begin)

    def recorded(self, step: int, values: Mapping[str, float]) -> None:
        """Sends a record."""
        self._try(lambda: self.log(step, {name: float(value) for name, value in values.items()}))

    def end(self, failed: bool) -> None:
        """Ends the run."""
        self._try(lambda: self.finish(failed))
        self._is_on = False

    def _begin(self) -> None:
        path = os.path.join(self.workdir, IDS_FILE)
        ids: dict[str, str] = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                ids = json.load(file)
        ids[self.library], note = self.start(ids.get(self.library, ""))
        with whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
            json.dump(ids, file)
        self._note_fn(f"{self.library}: {note}")

    def _try(self, work: Callable[[], Any]) -> None:
        if not self._is_on:
            return
        try:
            work()
        except Exception as error:  # whatever a library raises
            self._is_on = False
            self._note_fn(f"{self.library} failed, and the training goes on without it: {error}")


class MLflowTracker(Tracker):
    """MLflow: a SQLite file in the run's folder, unless MLFLOW_TRACKING_URI says otherwise. The experiment is tflm, or
    MLFLOW_EXPERIMENT_NAME."""

    library = "mlflow"
    install = "pip install 'tflm[mlflow]'"
    _MOST_PARAMS = 100  # of one request

    def start(self, run_id: str) -> tuple[str, str]:
        """See `Tracker.start`."""
        for name in ("alembic", "mlflow.store.db.utils"):  # a line for each table of a new database
            logging.getLogger(name).setLevel(logging.WARNING)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.workdir}/mlflow.db"
        self._client = self.module.MlflowClient(tracking_uri=uri)
        note = f"mlflow ui --backend-store-uri={uri}" if uri.startswith("sqlite:") else uri
        if run_id:
            self._client.update_run(run_id, status="RUNNING")
            self._run_id = run_id
            return run_id, note
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _PROJECT
        found = self._client.get_experiment_by_name(name)
        experiment_id = found.experiment_id if found else self._client.create_experiment(name)
        self._run_id = self._client.create_run(experiment_id, run_name=self.name).info.run_id
        params = [self.module.entities.Param(*pair) for pair in _flat(self.config).items()]
        for place in range(0, len(params), self._MOST_PARAMS):
            self._client.log_batch(self._run_id, params=params[place : place + self._MOST_PARAMS])
        return self._run_id, note

    def log(self, step: int, values: dict[str, float]) -> None:
        """See `Tracker.log`."""
        now = int(1000 * time.time())
        metrics = [self.module.entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def finish(self, failed: bool) -> None:
        """See `Tracker.finish`."""
        self._client.set_terminated(self._run_id, status="FAILED" if failed else "FINISHED")


class WandbTracker(Tracker):
    """Weights & Biases: files in the folder `wandb` of the run's, unless WANDB_MODE says otherwise. Its project is
    "tflm", or WANDB_PROJECT."""

    library = "wandb"
    install = "pip install 'tflm[wandb]'"

    def start(self, run_id: str) -> tuple[str, str]:
        """See `Tracker.start`."""
        run_id = run_id or secrets.token_hex(4)
        self._run = self.module.init(
            project=None if "WANDB_PROJECT" in os.environ else _PROJECT,
            dir=self.workdir,
            id=run_id,
            name=self.name,
            config=self.config,
            mode=None if "WANDB_MODE" in os.environ else "offline",
            resume="allow",
            settings={"silent": True, "console": "off"},
        )
        # Steps of wandb's own only grow; a run that was resumed repeats some.
        self._run.define_metric("*", step_metric="step")
        return run_id, f"wandb sync {os.path.dirname(self._run.dir)}" if self._run.offline else self._run.url

    def log(self, step: int, values: dict[str, float]) -> None:
        """See `Tracker.log`."""
        self._run.log({"step": step, **values})

    def finish(self, failed: bool) -> None:
        """See `Tracker.finish`."""
        self._run.finish(exit_code=int(failed))


class SwanLabTracker(Tracker):
    """SwanLab: files in the folder `swanlab` of the run's, unless SWANLAB_MODE says otherwise."""

    library = "swanlab"
    install = (
        "see docs/training.md, since pip cannot find versions of its dependencies and of tflm's that fit"
    )

    def start(self, run_id: str) -> tuple[str, str]:
        """See `Tracker.start`."""
        mode = None if "SWANLAB_MODE" in os.environ else "offline"
        run_id = run_id or secrets.token_hex(4)
        self._run = self.module.init(
            project=_PROJECT,
            name=self.name,
            config=self.config,
            log_dir=os.path.join(self.workdir, "swanlab"),
            mode=mode,
            id=run_id,
            resume="allow",
        )
        return run_id, self._run.url if self._run.mode == "online" else f"swanlab sync {self._run.dir}"

    def log(self, step: int, values: dict[str, float]) -> None:
        """See `Tracker.log`."""
        self._run.log(values, step=step)

    def finish(self, failed: bool) -> None:
        """See `Tracker.finish`."""
        self._run.finish(*(("crashed", "the training failed") if failed else ()))


TRACKERS: dict[str, type[Tracker]] = {
    each.library: each for each in (MLflowTracker, SwanLabTracker, WandbTracker)
}
"""By the names that `--tracker` takes."""


def make_tracker(kind: str, workdir: str, name: str, config: Mapping[str, Any]) -> Tracker:
    """A tracker; Args as of `Tracker`.

    Raises:
        UsageError: there is none of this kind.
        UserError: its library is not installed.
    """
    if kind not in TRACKERS:
        raise UsageError(f"--tracker={kind}: no such tracker. There are: {', '.join(TRACKERS)}.")
    return TRACKERS[kind](workdir, name, config)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """
    >>> _flat({"model": {"num_layers": 2}, "name": "tiny"})
    {'model.num_layers': '2', 'name': 'tiny'}
    """
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = (
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            )
    return flat
