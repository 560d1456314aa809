"""The server under test: ours, started here on free ports, or another one, named with --server and --grpc_server."""

import types

import pytest


def pytest_addoption(parser):
    parser.addoption("--server", help="http://host:port of a server that has the model of served_model.py")
    parser.addoption("--grpc_server", help="host:port of the same server")


@pytest.fixture(scope="session")
def server(request, tmp_path_factory):
    """`url`, such as http://127.0.0.1:8501, `grpc`, such as 127.0.0.1:8500, and `config`, the path of its file."""
    url = request.config.getoption("--server", default=None)
    grpc = request.config.getoption("--grpc_server", default=None)
    if url or grpc:
        yield types.SimpleNamespace(url=url and url.rstrip("/"), grpc=grpc, config=None)
        return
    from tests.serving.conformance import served_model
    from tflm.serving.server import ModelManager, Server, read_model_config_file

    config = served_model.write(tmp_path_factory.mktemp("models"))
    manager = ModelManager(read_model_config_file(str(config)), poll_seconds=0.1)
    manager.start()
    with Server(manager, rest_port=0, grpc_port=0) as running:
        yield types.SimpleNamespace(
            url=f"http://127.0.0.1:{running.rest_port}", grpc=f"127.0.0.1:{running.grpc_port}", config=config
        )
    manager.stop()
