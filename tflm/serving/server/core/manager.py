"""The lifecycle of models in a server: which versions are loaded, when one replaces another, when one is unloaded.

A thread looks at the folders every second. A new version is loaded and warmed while the old one serves; only then does
the old one stop taking requests, and it is freed when those that it has are answered. A version that cannot be loaded
is left alone until its folder changes.
"""

import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Iterator, Sequence

from tflm.serving.server.core.admission import Admission
from tflm.serving.server.core.limits import ServingOptions
from tflm.serving.server.core.model_config import ModelConfig
from tflm.serving.server.core.servable import Servable
from tflm.serving.server.core.status import ServingError, invalid
from tflm.serving.server.core.telemetry import Observer

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Version:
    """One version of a model and its state: START, LOADING, AVAILABLE, UNLOADING or END."""

    number: int
    path: str
    state: str = "START"
    error: ServingError | None = None
    """Why it could not be loaded."""
    servable: Servable | None = None
    in_flight: int = 0
    """Requests that use it now."""
    seen: tuple = ()
    """What the folder looked like when it was loaded last."""
    refused: tuple | None = None
    """What another folder with the same number looked like, that could not be loaded in the place of this one."""


class ModelManager:
    """Models by name and version.

    manager = ModelManager([ModelConfig("chat", "saved_models/chat")])
    manager.start()
    with manager.use("chat") as servable:
        servable.run("serving_default", {"text": texts})
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        poll_seconds: float = 1.0,
        options: ServingOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Loads nothing yet.

        Args:
            poll_seconds: how often to look for versions that came or went.
            options: limits, and how requests are batched; the defaults if None.
            observer: gets a call for each run, batch and warm-up.
        """
        self.options = options or ServingOptions()
        self.admission = Admission(self.options.max_runs, self.options.max_waiting)
        self._observer = observer
        self._configs = {config.name: config for config in configs}
        self._versions: dict[str, dict[int, Version]] = {config.name: {} for config in configs}
        self._labels: dict[str, dict[str, int]] = {}
        self._poll_seconds = poll_seconds
        self._changed = threading.Condition()  # guards all above
        self._refreshing = threading.Lock()  # one thread loads at a time
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="model-manager", daemon=True)

    def start(self) -> None:
        """Loads what is there, then begins to poll.

        Raises:
            ServingError: a label of a version that is not available.
        """
        self.refresh()
        self._assign_labels()
        self._thread.start()

    def stop(self) -> None:
        """Ends polling, and unloads what no request uses."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            idle = [
                version
                for versions in self._versions.values()
                for version in versions.values()
                if version.state == "AVAILABLE" and not version.in_flight
            ]
            for version in idle:
                version.state = "END"
        for version in idle:
            if version.servable is not None:
                version.servable.close()
                version.servable = None

    def configs(self) -> list[ModelConfig]:
        """The models as they are configured now."""
        with self._changed:
            return list(self._configs.values())

    def reconfigure(self, configs: Sequence[ModelConfig]) -> None:
        """Replaces all models by these: new ones are loaded, those that are missing are unloaded.

        Raises:
            ServingError: a model of which nothing could be loaded, or a label of a version that is not available.
        """
        with self._changed:
            self._configs = {config.name: config for config in configs}
            for name in self._configs:
                self._versions.setdefault(name, {})
        self.refresh()
        for config in configs:
            self.check_available(config.name)
        self._assign_labels()

    def check_available(self, name: str) -> None:
        """Raises the reason, a ServingError, if no version of the model can be used."""
        versions = self.status(name)
        if not any(version.state == "AVAILABLE" for version in versions):
            raise next(
                (version.error for version in versions if version.error),
                ServingError("NOT_FOUND", f"no version of model {name} is available"),
            )

    @contextlib.contextmanager
    def use(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """A loaded version, that stays loaded inside the block: the one asked for, or the highest.

        Raises:
            ServingError: NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        with self._changed:
            if label is not None:
                version = self._version_of(name, label)
            found = [entry for entry in self._versions.get(name, {}).values() if entry.state == "AVAILABLE"]
            if version is not None:
                found = [entry for entry in found if entry.number == version]
            if not found:
                what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise ServingError("NOT_FOUND", f"Servable not found for request: {what}")
            entry = max(found, key=lambda entry: entry.number)
            entry.in_flight += 1
            servable = entry.servable
        try:
            assert servable is not None  # it is AVAILABLE
            yield servable
        finally:
            servable = None
            with self._changed:
                entry.in_flight -= 1
                self._changed.notify_all()

    def status(self, name: str, version: int | None = None, label: str | None = None) -> list[Version]:
        """The states of a model's versions, the highest first; copies.

        Raises:
            ServingError: NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        with self._changed:
            if label is not None:
                version = self._version_of(name, label)
            versions = self._versions.get(name, {})
            if version is not None and version not in versions:
                raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
            if not versions:
                raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
            chosen = sorted(versions) if version is None else [version]
            return [dataclasses.replace(versions[number], servable=None) for number in reversed(chosen)]

    def refresh(self) -> None:
        """Loads new versions, then unloads those that are gone."""
        with self._refreshing:
            for name in list(self._versions):
                config = self._configs.get(name)
                wanted = config.wanted() if config else {}
                for number, path in wanted.items():
                    self._load(name, number, path)
                self._let_go(name, set(wanted), gone=config is None or not wanted)

    def _load(self, name: str, number: int, path: str) -> None:
        seen = _look(path)
        with self._changed:
            old = self._versions[name].get(number)
            if old and (old.state == "UNLOADING" or (old.state == "AVAILABLE" and old.path == path)):
                return
            if old and ((old.error and old.seen == seen) or old.refused == seen):
                return
            version = Version(number, path, "LOADING", seen=seen)
            if old is None or old.state != "AVAILABLE":
                self._versions[name][number] = version
        try:
            servable = Servable(path, name, number, self.options, self.admission, self._observer)
        except ServingError as error:
            _log.error("version %d of model %s cannot be loaded: %s", number, name, error)
            with self._changed:
                version.state, version.error = "END", error
                if old is not None:
                    old.refused = seen
            return
        _log.info("version %d of model %s is available", number, name)
        with self._changed:
            version.state, version.servable = "AVAILABLE", servable
            self._versions[name][number] = version
            if old is not None and old.state == "AVAILABLE":  # the same number in another folder
                self._begin_unload(name, old)

    def _let_go(self, name: str, wanted: set[int], gone: bool) -> None:
        """Unloads what is not wanted, unless nothing else could serve.

        Args:
            gone: there is nothing to wait for: the model is no longer configured, or its folder has no version.
        """
        with self._changed:
            versions = self._versions[name]
            serving = any(versions[number].state == "AVAILABLE" for number in wanted if number in versions)
            if not serving and not gone:
                return
            for number in set(versions) - wanted:
                if versions[number].state == "AVAILABLE":
                    self._begin_unload(name, versions[number])
                elif versions[number].error:
                    del versions[number]
            self._forget(name)

    def _begin_unload(self, name: str, version: Version) -> None:
        version.state = "UNLOADING"
        threading.Thread(target=self._unload, args=(name, version), daemon=True).start()

    def _unload(self, name: str, version: Version) -> None:
        with self._changed:
            self._changed.wait_for(lambda: version.in_flight == 0)
            servable, version.servable, version.state = version.servable, None, "END"
            self._forget(name)
        if servable is not None:
            servable.close()
        _log.info("version %d of model %s is unloaded", version.number, name)

    def _forget(self, name: str) -> None:
        """Drops a model that is no longer configured, once nothing of it is loaded."""
        versions = self._versions.get(name, {})
        if name not in self._configs and all(version.state == "END" for version in versions.values()):
            self._versions.pop(name, None)

    def _assign_labels(self) -> None:
        with self._changed:
            labels: dict[str, dict[str, int]] = {}
            for name, config in self._configs.items():
                for number in config.labels.values():
                    version = self._versions[name].get(number)
                    if version is None or version.state != "AVAILABLE":
                        raise ServingError(
                            "FAILED_PRECONDITION",
                            f"Request to assign label to version {number} of model {name}, which is not currently "
                            "available for inference",
                        )
                labels[name] = dict(config.labels)
            self._labels = labels

    def _version_of(self, name: str, label: str) -> int:
        if label not in self._labels.get(name, {}):
            raise invalid(f"Unrecognized servable version label: {label}")
        return self._labels[name][label]

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.refresh()
            except Exception:  # the folders of a model can change under our hands; the next look will tell
                _log.exception("looking for model versions failed")


def _look(path: str) -> tuple:
    """Names, sizes and times of the files of a version: what changes while it is being written."""
    found = []
    for folder in (path, os.path.join(path, "variables")):
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                facts = entry.stat()
                found.append((entry.path, facts.st_size, facts.st_mtime_ns))
    return tuple(sorted(found))
