"""The same models in a folder, behind REST and behind gRPC: every method is called over all three."""

import pathlib
import tarfile
import types

import pytest

import tflm
from tests.apps import small_models
from tests.older_exports import functions_as_written
from tflm.export.warmup import WARMUP_FILE
from tflm.serving import ModelHandle
from tflm.serving.client.grpc import GrpcModel
from tflm.serving.client.rest import RestModel
from tflm.serving.server import ModelConfig, ModelManager, Server

FROZEN = pathlib.Path(__file__).parents[2] / "data/frozen/82625bc.tar.xz"
PATIENCE = 900.0  # seconds: a first run prepares a graph, which takes long on a busy machine
REAL = ("tiny_chat", "tiny_decoder")
SMALL = (
    "beam",
    "alternatives",
    "choose",
    "tokenize",
    "chat",
    "prefill",
    "decode",
    "classify",
    "tag",
    "answer",
)
SMALL += ("embed", "similarity", "nearest", "fill", "score", "about")


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """`paths`, name to folder: a model with every signature, one for pairs of texts, and two real ones. And `rest` and
    `grpc`, the ports of a server of all of them."""
    folder = tmp_path_factory.mktemp("handle")
    paths = {
        "small": small_models.save(folder / "small", "pairs", *SMALL, generate="repeat"),
        "of_pairs": small_models.save(
            folder / "of_pairs", "", classify="classify_pairs", score="score_pairs"
        ),
    }
    with tarfile.open(FROZEN) as archive:
        archive.extractall(folder, filter="data")
    paths |= {name: str(folder / "exports" / name) for name in REAL}
    for path in folder.glob(f"exports/*/*/{WARMUP_FILE}"):
        path.unlink()  # the server would run every signature, which takes minutes
    manager = ModelManager([ModelConfig(name, path) for name, path in paths.items()])
    with functions_as_written():
        manager.start()
    with Server(manager, rest_port=0, grpc_port=0, rest_timeout_seconds=PATIENCE) as running:
        yield types.SimpleNamespace(paths=paths, rest=running.rest_port, grpc=running.grpc_port)
    manager.stop()


@pytest.fixture(params=["folder", "rest", "grpc"])
def load(request, served, loaded):
    """load(NAME): its handle, by one of three ways."""
    return lambda name: loaded(name, request.param)


@pytest.fixture(scope="session")
def loaded(served):
    """loaded(NAME, "folder", "rest" or "grpc"), each once."""
    found = {}

    def load(name, way):
        if (name, way) not in found:
            where = address(served, name, way)
            connected = {"rest": RestModel, "grpc": GrpcModel}.get(way)
            with functions_as_written():
                found[name, way] = ModelHandle(connected(where, PATIENCE)) if connected else tflm.load(where)
        return found[name, way]

    yield load
    for model in found.values():
        model.close()


def address(served, name, way):
    """What `tflm.load` takes."""
    if way == "folder":
        return served.paths[name]
    port = getattr(served, way)
    return f"http://127.0.0.1:{port}/v1/models/{name}" if way == "rest" else f"grpc://127.0.0.1:{port}/{name}"
