"""Where metrics are shown: a file as TensorFlow Serving's --monitoring_config_file.

prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
"""

import dataclasses

from tflm.errors import UserError
from tflm.serving.server.text_proto import read_text_proto

_FLAG = "monitoring_config_file"
# tensorflow_serving/config/monitoring_config.proto.
_MESSAGES = {
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
}


@dataclasses.dataclass(frozen=True)
class MonitoringConfig:
    """Metrics for Prometheus, with the defaults that TensorFlow Serving has.

    Raises:
        ValueError: a path that is none.
    """

    enable: bool = False
    path: str = "/monitoring/prometheus/metrics"
    """Under the REST port."""

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"path is {self.path!r}; expected one that begins with /.")


def read_monitoring_file(path: str) -> MonitoringConfig:
    """The settings of a text file.

    >>> read_monitoring_file("monitoring.config")        # with "prometheus_config { enable: true }"
    MonitoringConfig(enable=True, path="/monitoring/prometheus/metrics")

    Raises:
        UserError: no such file, a field or type that there is not, with its line, or a path that is none.
    """
    example = "prometheus_config { enable: true }"
    message = read_text_proto(path, _FLAG, _MESSAGES, "MonitoringConfig", example).prometheus_config
    try:
        return MonitoringConfig(message.enable, message.path or MonitoringConfig.path)
    except ValueError as error:
        raise UserError(f"--{_FLAG}={path}: prometheus_config: {error}") from error
