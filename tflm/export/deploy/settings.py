"""The figures of a deployment, and where each comes from. Values that several files share are defined here."""

import dataclasses
import hashlib
import re
import urllib.parse

from tflm.export.deploy.exported_version import ExportedVersion

IMAGE = "tensorflow/serving:2.20.0"
"""Links every op that the audit lets through; it has tensorflow-text 2.20.0."""
GRPC_PORT, REST_PORT = 8500, 8501
METRICS_PATH = "/monitoring/prometheus/metrics"
CONFIG_FOLDER = "/config"
"""Where the container finds the three `.config` files."""
METRIC = "tensorflow_serving_requests_in_progress"
"""The name that the autoscaler asks for."""
NUM_CPUS = 2

_NUM_THREADS = 16  # of a server that does not batch; each runs a row
_MIB = 2**20
_SERVER_BYTES = 512 * _MIB  # the program itself, its threads' stacks, and room for what ops need for a moment
# A graph takes much more in memory than in its file: 4.1 MB took 80 to 100 MB (a chat model, TensorFlow 2.21).
_GRAPH_FACTOR = 24
# What YAML 1.1, which kubectl reads, takes for a truth value or for nothing.
_NO_STRINGS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
_VERSIONS = 2  # a new version is loaded before the old one goes


@dataclasses.dataclass(frozen=True)
class Settings:
    """The figures for one model."""

    model: ExportedVersion
    timeout_seconds: int
    """The longest that a request may take."""
    batch_rows: int
    """The most rows that run together, if the server batches."""
    batch_timeout_micros: int
    max_enqueued_batches: int

    @property
    def old_and_new(self) -> tuple[int, int]:
        """Two versions to change between: this one is the new one, or the old one where it is the first."""
        if self.model.previous_version is None:
            return self.model.version, self.model.version + 1
        return self.model.previous_version, self.model.version

    @property
    def max_request_rows(self) -> int:
        """The most rows of one request, if the server batches; it is divided among batches."""
        return 8 * self.batch_rows

    @property
    def num_threads(self) -> int:
        """Requests that are taken at a time, for each of REST and gRPC; those in a batch wait in their threads."""
        return 2 * self.batch_rows if self.model.may_be_batched else _NUM_THREADS

    @property
    def drain_seconds(self) -> int:
        """From the moment when a server gets no more requests until the last one is surely answered."""
        return self.timeout_seconds + 10

    @property
    def memory_mib(self) -> int:
        """Two versions, the server, and the running rows at their greatest length, rounded up to 128 MiB."""
        rows = self.batch_rows * NUM_CPUS if self.model.may_be_batched else _NUM_THREADS
        one = self.model.num_weight_bytes + _GRAPH_FACTOR * self.model.num_graph_bytes
        total = _SERVER_BYTES + _VERSIONS * one + rows * self.model.num_state_bytes
        return -(-total // (128 * _MIB)) * 128

    @property
    def storage_gib(self) -> int:
        """Room for ten versions."""
        return max(1, -(-10 * (self.model.num_weight_bytes + self.model.num_graph_bytes) // 2**30))

    @property
    def base_path(self) -> str:
        """Where the container finds the versions."""
        return f"/models/{self.model.name}"

    @property
    def url_path(self) -> str:
        """The model's, percent-encoded."""
        return f"/v1/models/{urllib.parse.quote(self.model.name, safe='')}"

    @property
    def kubernetes_name(self) -> str:
        """A DNS label, which Kubernetes wants of names."""
        return dns_label(self.model.name)


def settings_for(model: ExportedVersion) -> Settings:
    """The figures for a model.

    An answer that is written token by token takes seconds: small batches, for which waiting 20 ms is nothing, and
    enough for those whose answers came together to meet again (docs/serving.md has the sizes that came about); a short
    queue, since a request behind four batches waits long, and a deadline of minutes (the server's
    default of 30 s answers long texts with 504). Others take milliseconds: large batches, and hardly a wait.
    """
    if model.writes:
        return Settings(
            model, timeout_seconds=300, batch_rows=16, batch_timeout_micros=20_000, max_enqueued_batches=4
        )
    return Settings(
        model, timeout_seconds=30, batch_rows=64, batch_timeout_micros=2_000, max_enqueued_batches=32
    )


def command_line(settings: Settings) -> list[str]:
    """The server's program and flags, the same in every file."""
    batching = [
        "--enable_batching=true",
        f"--batching_parameters_file={CONFIG_FOLDER}/batching.config",
    ]
    return [
        "tensorflow_model_server",
        f"--port={GRPC_PORT}",
        f"--rest_api_port={REST_PORT}",
        f"--rest_api_timeout_in_ms={settings.timeout_seconds * 1000}",
        f"--rest_api_num_threads={settings.num_threads}",
        f"--grpc_max_threads={settings.num_threads}",
        f"--model_config_file={CONFIG_FOLDER}/models.config",
        "--model_config_file_poll_wait_seconds=10",
        "--allow_version_labels_for_unavailable_models=true",
        "--num_load_threads=1",
        "--num_unload_threads=1",
        *(batching if settings.model.may_be_batched else []),
        f"--monitoring_config_file={CONFIG_FOLDER}/monitoring.config",
    ]


def dns_label(name: str) -> str:
    """A name for Kubernetes: lower-case letters, digits and "-", a letter first. Names that are equal but for other
    characters get different ones; none is a word that YAML reads as something else than a string.

    >>> dns_label("chat"), dns_label("Chat v1.5"), dns_label("聊天")
    ('chat', 'chat-v1-5-d94af2', 'model-5f5ec4')
    """
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    if plain == name and plain[0].isalpha() and plain not in _NO_STRINGS:
        return plain
    mark = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    first = plain if plain[:1].isalpha() else f"model-{plain}".strip("-")
    return f"{first}-{mark}"
