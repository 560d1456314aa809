"""What a server answers over REST, gRPC and OpenAI's API is what it answered at commit 5b0f821.

`tests/data/frozen/bodies.py` has the requests and says what is compared; `bodies.json` there has the answers. White
space, ids, times and the words of tflm's own errors are not frozen; those of TensorFlow Serving are.
"""

import json

import pytest

from tests.data.frozen import bodies

FROZEN = json.loads((bodies.FOLDER / "bodies.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", name="server")
def server_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    bodies.unpack_models(folder)
    with bodies.served(folder) as addresses:
        yield addresses


def test_every_request_has_a_frozen_answer():
    assert sorted(FROZEN["rest"]) == sorted(bodies.REST)
    assert sorted(FROZEN["grpc"]) == sorted(bodies.GRPC)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in bodies.SLOW else []) for name in bodies.REST],
)
def test_rest(server, name):
    assert not bodies.differences(FROZEN["rest"][name], bodies.rest_answer(server[0], name))


@pytest.mark.parametrize("name", bodies.GRPC)
def test_grpc(server, name):
    assert not bodies.differences(FROZEN["grpc"][name], bodies.grpc_answer(server[1], name))


def test_what_is_masked_and_what_is_not():
    error = {"message": "n is 0", "type": "invalid_request_error", "param": "n", "code": None}
    assert bodies.masked({"error": error}, True) == {"error": {**error, "message": bodies.OWN_WORDS}}
    assert bodies.masked({"error": "x"}, False) == {"error": "x"}
    answer = {"id": "cmpl-12", "created": 7, "choices": [{"message": {"content": "y"}}]}
    assert bodies.masked(answer, True) == {**answer, "id": "cmpl-(id)", "created": "(time)"}


@pytest.mark.parametrize(
    "frozen, now, found",
    [
        ({"a": [1.0, 2]}, {"a": [1.00001, 2]}, []),
        ({"a": [1.0]}, {"a": [1.1]}, [".a[0]: 1.0 became 1.1"]),
        ({"a": 1.0}, {"a": 1}, [".a: 1.0 became 1"]),
        ({"a": 1}, {"b": 1}, [".a: 1 became '(missing)'", ".b: '(missing)' became 1"]),
        ([1], [1, 2], [": [1] became [1, 2]"]),
    ],
)
def test_differences(frozen, now, found):
    assert bodies.differences(frozen, now) == found
