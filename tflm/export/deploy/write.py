"""Writes the files of a deployment next to the versions of a model, and keeps those that a person has changed."""

import dataclasses
import hashlib
import json
import os

from tflm.errors import UserError
from tflm.export.deploy.exported_version import read_exported_version
from tflm.export.deploy.files import (
    batching_config,
    compose_file,
    kubernetes_file,
    kustomization_file,
    models_config,
    monitoring_config,
    readme_file,
)
from tflm.export.deploy.settings import settings_for
from tflm.files.writing import whole_file

DEPLOY_FOLDER = "deploy"
_WRITTEN = ".written.json"  # file name to SHA-256 of what was written last
_FILES = {
    "models.config": models_config,
    "batching.config": batching_config,
    "monitoring.config": monitoring_config,
    "docker-compose.yaml": compose_file,
    "kubernetes.yaml": kubernetes_file,
    "kustomization.yaml": kustomization_file,
    "README.md": readme_file,
}


@dataclasses.dataclass(frozen=True)
class Deployment:
    """What was done."""

    folder: str
    written: tuple[str, ...]
    """Files that are as they were made now."""
    kept: tuple[str, ...]
    """Files that were changed since they were written, and are left as they are."""


def write_deployment(path: str) -> Deployment:
    """Writes `NAME/deploy`, where servers look for no version, since it is not a number.

        write_deployment("saved_models/chat/2")
        # Deployment(folder='saved_models/chat/deploy', written=('batching.config', ...), kept=('models.config',))

    A file that nobody has changed follows the model: its memory, its timeout, whether it may be batched. Whether one
    was changed is seen by its checksum, kept next to it.

    Args:
        path: `saved_models/NAME/VERSION`.
    Raises:
        UserError: no SavedModel there, or the files cannot be written.
    """
    settings = settings_for(read_exported_version(path))
    folder = os.path.join(os.path.dirname(os.path.normpath(path)), DEPLOY_FOLDER)
    written, kept = [], []
    try:
        os.makedirs(folder, exist_ok=True)
        sums = _read_sums(folder)
        for name, make in _FILES.items():
            found = _sum_of_file(os.path.join(folder, name))
            if found is not None and found != sums.get(name):
                kept.append(name)
                continue
            content = make(settings).encode("utf-8", "surrogateescape")
            _write(os.path.join(folder, name), content)
            sums[name] = hashlib.sha256(content).hexdigest()
            written.append(name)
        _write(os.path.join(folder, _WRITTEN), json.dumps(sums, indent=2).encode())
    except OSError as error:
        raise UserError(
            f"cannot write {folder!r}: {error.strerror}. The model itself is exported: {path}. --deploy=false leaves "
            "these files out."
        ) from error
    return Deployment(folder, tuple(written), tuple(kept))


def _read_sums(folder: str) -> dict[str, str]:
    try:
        with open(os.path.join(folder, _WRITTEN), encoding="utf-8") as file:
            sums = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return sums if isinstance(sums, dict) else {}


def _sum_of_file(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _write(path: str, content: bytes) -> None:
    """Whole or not at all, as a server may read it at any time."""
    with whole_file(path) as aside, open(aside, "wb") as file:
        file.write(content)
