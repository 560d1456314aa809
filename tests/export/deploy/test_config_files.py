"""The server's files are read back as they are meant, by the readers of the embedded server."""

import re

import pytest

from tflm.export.deploy.files import batching_config, models_config, models_text, monitoring_config
from tflm.serving.server.core.batching_config import read_batching_file
from tflm.serving.server.core.model_config import ModelConfig, read_model_config_file
from tflm.serving.server.monitoring.monitor import MonitoringConfig, read_monitoring_file

NAMES = ["chat", "聊天 Bot.v1", 'it\'s "odd" \\ $HOME', "Ünï"]


@pytest.fixture
def read(tmp_path):
    def from_text(reader, text):
        path = tmp_path / "a.config"
        path.write_text(text, encoding="utf-8")
        return reader(str(path))

    return from_text


@pytest.mark.parametrize("name", NAMES)
def test_models(made, read, name):
    settings = made(made.classifier, name).settings
    assert read(read_model_config_file, models_config(settings)) == [ModelConfig(name, f"/models/{name}")]
    labels = {"stable": 4, "canary": 7}
    assert read(read_model_config_file, models_text(settings, labels)) == [
        ModelConfig(name, f"/models/{name}", versions=(4, 7), labels=labels)
    ]


def test_the_comment_in_models_config_is_itself_a_config(made, read):
    made(made.classifier, version=1)
    text = models_config(made(made.classifier, version=3).settings)
    commented = "\n".join(re.findall("^#   (.*)$", text, re.MULTILINE))
    (config,) = read(read_model_config_file, commented)
    assert (config.versions, config.labels) == ((1, 3), {"stable": 1, "canary": 3})


@pytest.mark.parametrize("kind", ["classifier", "writer", "compiled"])
def test_batching(made, read, kind):
    settings = made(getattr(made, kind)).settings
    config = read(read_batching_file, batching_config(settings))
    assert config.enable_large_batch_splitting
    assert config.max_execution_batch_size == settings.batch_rows
    assert config.max_batch_size == settings.max_request_rows
    assert config.batch_timeout_micros == settings.batch_timeout_micros
    assert config.max_enqueued_batches == settings.max_enqueued_batches
    assert not config.pad_variable_length_inputs
    expected = (1, 2, 4, 8, 16, 128) if kind == "compiled" else ()
    assert config.allowed_batch_sizes == expected


def test_why_there_is_no_batching_is_said(made):
    text = batching_config(made(made.writer).settings)
    assert text.startswith("# NOT USED")
    assert "# decode: states of texts" in text
    assert "# chat: requests with lists" in text
    assert "NOT USED" not in batching_config(made(made.classifier, "b").settings)


def test_monitoring(made, read):
    config = read(read_monitoring_file, monitoring_config(made(made.writer).settings))
    assert config == MonitoringConfig(enable=True, path="/monitoring/prometheus/metrics")
