"""The compose file: by its schema, by the command line, and its health check run against a server."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

from tflm.export.deploy.files import compose_file
from tflm.export.deploy.settings import IMAGE, command_line
from tflm.serving.server import ModelConfig, ModelManager, Server

NAMES = ["chat", "聊天 Bot.v1", "a$b ${HOME} 'c' \"d\"", "100%"]


def service(settings):
    """The service, with compose's `$$` undone."""
    parsed = yaml.safe_load(compose_file(settings))["services"]["server"]
    return json.loads(json.dumps(parsed).replace("$$", "$"))


@pytest.mark.parametrize("kind", ["classifier", "writer"])
def test_it_starts_what_the_command_line_says(made, kind):
    settings = made(getattr(made, kind)).settings
    found = service(settings)
    assert found["entrypoint"] + found["command"] == command_line(settings)
    assert found["image"] == IMAGE
    assert found["mem_limit"] == f"{settings.memory_mib}m"
    flags = dict(flag[2:].split("=") for flag in found["command"])
    assert found["ports"] == [f"127.0.0.1:{port}:{port}" for port in (flags["port"], flags["rest_api_port"])]


@pytest.mark.parametrize("name", NAMES)
def test_the_folders_are_where_the_config_says(made, name):
    text = compose_file(made(made.classifier, name).settings)
    assert "$" not in text.replace("$$", ""), "compose would look for a variable"
    models, config = service(made(made.classifier, name, version=2).settings)["volumes"]
    assert (models["source"], models["target"], models["read_only"]) == ("..", f"/models/{name}", True)
    assert (config["source"], config["target"]) == (".", "/config")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_the_schema_of_compose_wants_it(made, tmp_path, name):
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema: pip install 'tflm[dev]'")
    path = tmp_path / "docker-compose.yaml"
    path.write_text(compose_file(made(made.writer, name).settings), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["chat", "聊天 100% v1"])
def test_the_health_check_sees_whether_a_version_is_available(made, answering, tmp_path, name):
    settings = made(made.classifier, name).settings
    shutil.copytree(answering, tmp_path / "good" / "1")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no model")
    for folder, healthy in (("good", True), ("broken", False), ("none", False)):
        manager = ModelManager([ModelConfig(name, str(tmp_path / folder))])
        manager.start()
        with Server(manager, rest_port=0) as server:
            program, *command = service(settings)["healthcheck"]["test"]
            command[-1] = command[-1].replace("/8501 ", f"/{server.rest_port} ")
            assert program == "CMD"
            done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        manager.stop()
        assert (done.returncode == 0) == healthy, (folder, done)


def test_nothing_listens(made):
    _, *command = service(made(made.classifier).settings)["healthcheck"]["test"]
    command[-1] = command[-1].replace("/8501 ", "/1 ")
    assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode != 0
