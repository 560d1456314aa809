"""Which models a server has, and which of their versions: flags, or a file as TensorFlow Serving's --model_config_file.

model_config_list {
  config {
    name: "chat"
    base_path: "saved_models/chat"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 2 }
  }
}
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tflm.errors import UserError
from tflm.files.encodings import read_text


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model."""

    name: str
    """The name in URLs and requests."""
    base_path: str
    """The folder with a folder for each version."""
    num_latest: int = 1
    """Number of versions to serve, the highest first; 0 for all."""
    versions: tuple[int, ...] = ()
    """The versions to serve, instead of `num_latest`."""
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Label to version."""

    def wanted(self) -> dict[int, str]:
        """Version number to folder, of the versions on disk to serve.

        Any folder whose name is a number is a version, as for the stock server.
        """
        try:
            names = [entry.name for entry in os.scandir(self.base_path) if entry.is_dir()]
        except OSError:
            return {}
        found = {int(name): name for name in sorted(names) if name.isascii() and name.isdigit()}
        numbers = sorted(found)
        if self.versions:
            numbers = [number for number in numbers if number in self.versions]
        elif self.num_latest:
            numbers = numbers[-self.num_latest :]
        return {number: os.path.join(self.base_path, found[number]) for number in numbers}


def read_model_config_file(path: str) -> list[ModelConfig]:
    """The models of a text file.

    Raises:
        UserError: no such file, or one that is not understood.
    """
    try:
        text = read_text(path, f"--model_config_file={path}")
        message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise UserError(f"--model_config_file={path}: cannot be read: {error}.") from error
    except text_format.ParseError as error:
        raise UserError(
            f"--model_config_file={path}: line {error}. Expected TensorFlow Serving's form: model_config_list "
            '{ config { name: "NAME" base_path: "FOLDER" model_platform: "tensorflow" } }'
        ) from error
    return model_configs(message)


def model_configs(message: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """A `ModelServerConfig` message, read.

    Raises:
        UserError: no models, a model without a name or folder, another platform, or a name twice.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise UserError("custom_model_config is not served here. Give a model_config_list.")
    configs = [_model_config(entry) for entry in message.model_config_list.config]
    names = [config.name for config in configs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"the model config list has {twice[0]!r} more than once. Names must be different.")
    return configs


def base_paths(configs: Iterable[ModelConfig]) -> set[str]:
    """The folders of some models, as they are compared."""
    return {os.path.realpath(config.base_path) for config in configs}


def _model_config(entry: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not entry.name or not entry.base_path:
        raise UserError(
            f"a model needs a name and a base_path; got name {entry.name!r} and base_path {entry.base_path!r}."
        )
    if "\0" in entry.name or "\0" in entry.base_path:
        raise UserError(
            f"a model's name and base_path have no zero bytes; got name {entry.name!r} and base_path "
            f"{entry.base_path!r}."
        )
    if entry.model_platform not in ("", "tensorflow"):
        raise UserError(
            f'model {entry.name!r}: model_platform is {entry.model_platform!r}; expected "tensorflow".'
        )
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific" and not policy.specific.versions:
        raise UserError(f"model {entry.name!r}: model_version_policy.specific names no versions.")
    num_latest = {"latest": policy.latest.num_versions or 1, "all": 0}.get(choice or "latest", 1)
    return ModelConfig(
        entry.name,
        entry.base_path,
        num_latest,
        tuple(policy.specific.versions) if choice == "specific" else (),
        dict(entry.version_labels),
    )
