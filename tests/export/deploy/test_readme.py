"""What the README tells is carried out: the canary and the way back, in the embedded server."""

import re
import shlex
import shutil
import textwrap

import grpc
import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from tflm.export.deploy.files import adapter_rule, readme_file
from tflm.export.deploy.settings import command_line
from tflm.serving.server import ModelConfig, ModelManager, Server

NAME = "聊天 Bot.v1"


def steps(settings, folder):
    """The config of each step, with the model in a folder of ours."""
    text = readme_file(settings)
    blocks = re.findall(r"^ {7}model_config_list (?:.*\n)+? {7}}\n", text, re.MULTILINE)
    return [textwrap.dedent(block).replace(settings.base_path, str(folder)) for block in blocks]


@pytest.fixture
def versions(made, answering, tmp_path):
    """Versions 4 and 7 that can be loaded, in `folder`, and `settings` of 7."""
    made(made.classifier, NAME, 4)
    settings = made(made.classifier, NAME, 7).settings
    folder = tmp_path / "served"
    for version in ("4", "7"):
        shutil.copytree(answering, folder / version)
    return settings, folder


def test_the_canary_and_the_way_back(versions):
    settings, folder = versions
    manager = ModelManager([ModelConfig(NAME, str(folder))], poll_seconds=1000)
    manager.start()
    server = Server(manager, rest_port=None, grpc_port=0)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        seen = []
        for text in steps(settings, folder):
            config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
            service.HandleReloadConfigRequest(
                model_management_pb2.ReloadConfigRequest(config=config), timeout=60
            )
            seen.append(
                {
                    label: version_of(manager, label)
                    for label in config.model_config_list.config[0].version_labels
                }
            )
    server.stop()
    manager.stop()
    assert seen == [
        {"stable": 4},
        {"stable": 4, "canary": 7},
        {"stable": 7, "previous": 4},
        {"stable": 4, "canary": 7},
        {"stable": 7},
    ]


def version_of(manager, label):
    """The version that answers those who ask by label."""
    with manager.use(NAME, label=label) as servable:
        servable.run("serving_default", {"text": np.array(["Hello"], object)})
        return servable.version


def test_the_first_version_is_the_old_one(made):
    for version, old in ((1, 1), (2, 1), (9, 2)):
        text = readme_file(made(made.writer, version=version).settings)
        assert f"is exported: only version {old} is served" in " ".join(text.split())


@pytest.mark.parametrize("kind", ["classifier", "writer"])
def test_the_command_line_is_that_of_the_other_files(made, kind):
    settings = made(getattr(made, kind)).settings
    (command,) = re.findall(
        r"^    (tensorflow_model_server(?:.*\\\n)+.*)", readme_file(settings), re.MULTILINE
    )
    assert shlex.split(command.replace("\\\n", " ")) == command_line(settings)


@pytest.mark.parametrize("name", ["chat", "聊天 Bot.v1", "it's $HOME"])
def test_what_is_typed_into_a_shell_is_quoted(made, name):
    settings = made(made.writer, name).settings
    text = readme_file(settings)
    copied = re.search(
        r'^    kubectl cp "\$\(dirname "\$PWD"\)" (copy:.*?) && .* mv (.*)$', text, re.MULTILINE
    )
    assert shlex.split(copied[1]) == [f"copy:/models/{name}.tmp"]
    assert shlex.split(copied[2]) == [f"/models/{name}.tmp", f"/models/{name}"]
    for line in re.findall("^    curl .*", text, re.MULTILINE):
        assert shlex.split(line)[-1].startswith(f"localhost:8501{settings.url_path}")
    overrides = re.search("--overrides=(.*)", text)[1]
    (volume,) = yaml.safe_load(shlex.split(overrides)[0])["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == f"{settings.kubernetes_name}-models"


def test_the_rule_for_the_autoscaler_is_in_it(made):
    assert textwrap.indent(adapter_rule(), "    ") in readme_file(made(made.writer).settings)


def test_why_there_is_no_batching(made):
    assert "`decode`, `chat` must not be" in " ".join(readme_file(made(made.writer).settings).split())
    assert "The server batches requests" in readme_file(made(made.classifier, "b").settings)
