"""Over REST and over gRPC a served model answers as its folder does; what goes wrong is said in one line."""

import concurrent.futures
import socket
import subprocess
import sys

import numpy as np
import pytest

from tflm.errors import UsageError, UserError
from tflm.serving import connect
from tflm.serving.client.grpc import GrpcModel
from tflm.serving.client.remote import (
    NotFound,
    RequestError,
    ServerError,
    Unavailable,
)
from tflm.serving.client.rest import RestModel
from tflm.serving.protos.prediction_pb2 import GetModelMetadataResponse, SignatureDefMap
from tflm.serving.runtime.local import LocalModel

SMALL = {"uint8": [255], "bool": [True]}
TEXTS = ["Hello", "你好，世界", "😀👩‍👩‍👧", 'a\x00b\x1f\x7f\u2028"\\/', "", b"\xff\xfe", "\ud800", "é" * 5000]


@pytest.fixture(scope="module")
def folder(server):
    return LocalModel(str(server.config.parent / "probe" / "2"))


@pytest.fixture(scope="module", params=["http", "grpc"])
def served(request, server):
    url = f"{server.url}/v1/models/probe" if request.param == "http" else f"grpc://{server.grpc}/probe"
    return connect(url)


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def test_the_signatures_are_those_of_the_folder(served, folder):
    assert served.signatures == folder.signatures
    assert (served.config, served.card) == ({}, "")


@pytest.mark.parametrize(
    "signature, inputs",
    [
        ("joined", {"words": [[text] for text in TEXTS]}),
        ("joined", {"words": [["a", "你"], ["b", ""]]}),
        ("raw", {"code": list(range(256))}),
        ("linear", {"x": np.arange(6).reshape(2, 3), "n": [1, -2]}),
        ("floats", {"x": [0.1, 1 / 3, np.nan, np.inf, -np.inf, 3e38, -0.0, 1e-45]}),
        (
            "types",
            {
                "float32": [1],
                "float64": [1e300],
                "int32": [-1],
                "int64": [2**62 + 1],
                "uint8": [255],
                "bool": [True],
            },
        ),
        ("total", {"x": [1.0, 2.5]}),
    ],
)
def test_answers_are_the_same_to_the_byte(served, folder, signature, inputs):
    same(served.predict(signature, inputs), folder.predict(signature, inputs))


def test_in_batches_as_one_by_one(served):
    texts = ["ÄB", "你好", "C"]
    together = served.predict("serving_default", {"text": texts})["text"].tolist()
    assert together == [served.predict("serving_default", {"text": [text]})["text"][0] for text in texts]


def test_versions_and_labels(server):
    for end, version in (("", 2), ("/versions/1", 1), ("/labels/stable", 1)):
        for url in (f"{server.url}/v1/models/probe{end}", f"grpc://{server.grpc}/probe{end}"):
            assert connect(url).predict("which", {"text": [""]})["version"].tolist() == [version]


def test_requests_are_checked_before_they_are_sent(served):
    with pytest.raises(UserError, match=r"no signature 'score'. It has: classify, floats,"):
        served.predict("score", {})
    with pytest.raises(UserError, match=r"takes text \(string\). Missing: \['text'\]; unknown: \['x'\]"):
        served.predict("serving_default", {"x": [1]})
    with pytest.raises(UserError, match=r"input 'x' takes float32 \[any, 3\]; got the shape \[1, 2\]"):
        served.predict("linear", {"x": [[1, 2]], "n": [1]})
    with pytest.raises(UserError, match=r'have 1 to 2 values. Make them equally long, with "" at the end'):
        served.predict("joined", {"words": [["a"], ["b", "c"]]})


def test_what_the_server_refuses_comes_in_its_words(served, server):
    words = r"probe: Matrix size-incompatible: .* \((HTTP 400|INVALID_ARGUMENT)\)"
    with pytest.raises(RequestError, match=words) as caught:
        served.predict("product", {"x": [[1.0, 2.0, 3.0]]})
    assert caught.value.code == "INVALID_ARGUMENT"
    for url in (f"{server.url}/v1/models/none", f"grpc://{server.grpc}/none"):
        words = r"none: Servable not found for request: Latest\(none\) \((HTTP 404|NOT_FOUND)\)"
        with pytest.raises(NotFound, match=words) as missing:
            connect(url)
        assert missing.value.code == "NOT_FOUND"


def test_many_threads_ask_one_model(served):
    """Each gets its own answer, whoever shares a connection."""
    texts = [f"Ä{index}你" for index in range(64)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        asked = threads.map(lambda text: served.predict("serving_default", {"text": [text]})["text"], texts)
        assert [array.tolist() for array in asked] == [[text.lower().encode()] for text in texts]


def test_a_model_that_is_closed(server):
    for url in (f"{server.url}/v1/models/probe", f"grpc://{server.grpc}/probe"):
        with connect(url) as model:
            model.predict("raw", {"code": [65]})
        model.close()


@pytest.mark.parametrize(
    "url",
    ["http://h", "http://h:1/v1/models/", "http://h:x/v1/models/m", "ftp://h/v1/models/m", "grpc://h:1/", "grpc:///m",
     "http://h/v1/models/m:predict", "grpc://h:1/m/versions/x", "grpc://h:1/m/versions/" + 20 * "9",
     "http://h\x01/v1/models/m"],
)  # fmt: skip
def test_urls_of_another_form(url):
    with pytest.raises(
        UsageError,
        match=r"names no served model. Expected (http|grpc)://host:port/",
    ):
        connect(url)


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=r"/m: cannot connect to the server \(Connection refused\)\."):
            RestModel(f"http://127.0.0.1:{port}/v1/models/m", retries=1)
        with pytest.raises(Unavailable, match=r"/m: cannot connect to the server\."):
            GrpcModel(f"grpc://127.0.0.1:{port}/m", retries=1)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".org"])
def test_no_host_can_have_that_name(host):
    for scheme in ("http", "https"):
        with pytest.raises(Unavailable, match=r"cannot connect to the server \(invalid host name\)\."):
            RestModel(f"{scheme}://{host}:1/v1/models/m", retries=0)


def test_a_dtype_that_has_no_array(monkeypatch):
    """The other signatures of the model can be asked."""
    definitions, answer = SignatureDefMap(), GetModelMetadataResponse()
    definitions.signature_def["fft"].inputs["x"].dtype = 8
    definitions.signature_def["raw"].inputs["code"].dtype = 3
    answer.metadata["signature_def"].value = definitions.SerializeToString()
    monkeypatch.setattr(GrpcModel, "_call", lambda *_: answer)
    with GrpcModel("grpc://h:1/m") as model:
        assert model.signatures["raw"].inputs == {"code": "int32"}
        with pytest.raises(UserError, match="input 'x' takes DataType 8, which tflm cannot send"):
            model.predict("fft", {"x": [1.0]})
    answer.metadata["signature_def"].value = b"\xff"
    with pytest.raises(ServerError, match="/m: not the metadata of a model server"):
        GrpcModel("grpc://h:1/m")


def test_without_tensorflow(server):
    script = """
import sys
from tflm.serving import connect
for url in sys.argv[1:]:
    print(connect(url).predict("serving_default", {"text": ["ÄB"]})["text"][0].decode())
print([name for name in ("tensorflow", "keras", "tensorflow_serving") if name in sys.modules])
"""
    urls = [f"{server.url}/v1/models/probe", f"grpc://{server.grpc}/probe"]
    command = [sys.executable, "-X", "utf8", "-c", script, *urls]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines() == ["äb", "äb", "[]"]
