"""TensorFlow Serving's monitoring config, read strictly."""

import pytest

from tflm.errors import UserError
from tflm.serving.server.monitoring.monitor import MonitoringConfig, read_monitoring_file


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "monitoring.config"
        path.write_text(text, encoding="utf-8")
        return read_monitoring_file(str(path))

    return from_text


@pytest.mark.parametrize(
    "text, expected",
    [
        ('prometheus_config { enable: true path: "/metrics" }', MonitoringConfig(True, "/metrics")),
        ("prometheus_config: { enable: true }", MonitoringConfig(True, "/monitoring/prometheus/metrics")),
        ("prometheus_config {}", MonitoringConfig()),
        ("# 没有", MonitoringConfig(False, "/monitoring/prometheus/metrics")),
    ],
)
def test_a_file(read, text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    "text, words",
    [
        ("prometheus { enable: true }", r"line 1:1 : .*\"prometheus\".*It may have: prometheus_config"),
        ("\nprometheus_config { enable: maybe }", "line 2:.*such as: prometheus_config { enable: true }"),
        ('prometheus_config { path: "metrics" }', "path is 'metrics'; expected one that begins with /"),
    ],
)
def test_what_is_wrong_is_said(read, text, words):
    with pytest.raises(UserError, match=f"(?s)--monitoring_config_file=.*monitoring.config: .*{words}"):
        read(text)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"--monitoring_config_file=.*none: cannot be read"):
        read_monitoring_file(str(tmp_path / "none"))
