"""Every case of the table over a real socket; `--server=URL` asks another server."""

import gzip
import http.client
import json
import math
import urllib.parse

import pytest

from tests.serving.conformance.rest_cases import CASES, MODEL, body_of


def ask(server, method, path, body=None, **headers):
    """Status, content type and body."""
    if not server.url:
        pytest.skip("needs --server")
    parts = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.status, response.getheader("content-type"), response.read()
    connection.close()
    return answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(server, case):
    status, content_type, body = ask(server, case.method, case.path, body_of(case))
    shown = body.decode("utf-8", "backslashreplace")
    assert status == case.status, shown
    assert content_type == "application/json"
    if isinstance(case.answer, str):  # dumped again, since NaN is not equal to itself, and -0.0 is to 0.0
        assert json.dumps(json.loads(body)) == json.dumps(json.loads(case.answer))
    elif case.status != 200:
        message = json.loads(body)["error"]
        expected = case.answer["error"]
        assert message.startswith(expected) if expected == "Matrix size-incompatible" else message == expected
        assert "[Op:" not in message
        assert "Graph execution" not in message
    elif case.answer is not None:
        assert json.loads(body) == case.answer


def test_names_are_different():
    assert len({case.name for case in CASES}) == len(CASES) >= 110


@pytest.mark.parametrize("code", [0, 9, 31, 34, 127, 128, 192, 237, 255])
def test_every_byte_comes_back(server, code):
    body = json.dumps({"signature_name": "raw", "inputs": [code]}).encode()
    status, _, answer = ask(server, "POST", f"{MODEL}:predict", body)
    outputs = json.loads(answer.decode("utf-8", "surrogateescape"))["outputs"]
    assert status == 200
    assert outputs["text"][0].encode("utf-8", "surrogateescape") == bytes([code])


def test_bytes_that_are_no_utf8_reach_the_model(server):
    body = b'{"signature_name": "joined", "instances": [["\xff\xc0", "\xe4\xbd\xa0"]]}'
    assert b'"\xff\xc0|\xe4\xbd\xa0"' in ask(server, "POST", f"{MODEL}:predict", body)[2]


def test_gzip(server):
    body = gzip.compress(b'{"instances": ["A"]}')
    status, _, answer = ask(server, "POST", f"{MODEL}:predict", body, **{"Content-Encoding": "gzip"})
    assert (status, json.loads(answer)) == (200, {"predictions": ["a"]})


def test_metadata(server):
    status, _, answer = ask(server, "GET", f"{MODEL}/labels/stable/metadata")
    record = json.loads(answer)
    assert status == 200
    assert record["model_spec"] == {"name": "probe", "signature_name": "", "version": "1"}
    linear = record["metadata"]["signature_def"]["signature_def"]["linear"]
    assert linear["method_name"] == "tensorflow/serving/predict"
    assert linear["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert linear["inputs"]["x"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}],
        "unknown_rank": False,
    }


def test_outside_of_v1(server):
    status, content_type, _ = ask(server, "GET", "/else")
    assert status == 404
    assert "json" not in (content_type or "")


def test_floats_come_back_as_they_were(server):
    import numpy as np

    values = np.random.default_rng(1).standard_normal(2000).astype(np.float32) * 10.0 ** np.arange(
        -20, 20
    ).repeat(50)
    values = values.astype(np.float32)
    body = json.dumps({"signature_name": "floats", "inputs": values.tolist()}).encode()
    outputs = json.loads(ask(server, "POST", f"{MODEL}:predict", body)[2])["outputs"]
    assert np.array_equal(np.float32(outputs), values)
    assert all(math.isfinite(value) for value in outputs)
