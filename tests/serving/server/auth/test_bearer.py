"""Who has no token gets no answer, over REST and over gRPC; tokens change while the server runs."""

import hmac
import http.client
import json
import logging
import os

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from tflm.errors import UserError
from tflm.serving import connect
from tflm.serving.client.remote import Unauthorized
from tflm.serving.server import ModelManager, read_model_config_file
from tflm.serving.server.auth import bearer
from tflm.serving.server.auth.bearer import OPEN_PATHS, BearerAuth, BearerInterceptor, TokenFile
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.grpc.server import GrpcServer
from tflm.serving.server.rest.http_server import RestServer

FIRST, SECOND = "0123456789abcdef-first", "ABCDEFGHIJKLMNOP._~+/second=="
WANTED = "This server requires a token. Send it as 'Authorization: Bearer TOKEN'."
WRONG = "Unknown token."
PLAIN, INVALID = 'Bearer realm="tflm"', 'Bearer realm="tflm", error="invalid_token"'


def write(path, *lines, mode=0o600):
    path.touch()
    path.chmod(mode)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="module")
def guarded(folder, server):
    """Both ports behind FIRST and SECOND; `/metrics` and `/healthz` beside the models."""
    tokens = TokenFile(write(folder / "tokens", "# for the tests", FIRST, "", f"  {SECOND}  "))
    manager = ModelManager(read_model_config_file(str(server.config)))
    manager.start()

    def routes(*_):
        return [Route(path, lambda _: Response("here")) for path in ("/healthz", "/metrics", "/page")]

    middleware = [Middleware(BearerAuth, tokens=tokens, open_paths=[*OPEN_PATHS, "/page"])]
    rest = RestServer(manager, Runner(4, 10.0), 1.0, more_routes=[routes], middleware=middleware)
    rpc = GrpcServer(manager, 4, 1.0, interceptors=[BearerInterceptor(tokens)])
    yield rest.start("127.0.0.1", 0), rpc.start("127.0.0.1", 0)
    rpc.begin_stop()
    rest.stop()
    manager.stop()


@pytest.fixture
def urls(guarded):
    return f"http://127.0.0.1:{guarded[0]}/v1/models/probe", f"grpc://127.0.0.1:{guarded[1]}/probe"


def get(port, path, *authorizations, method="GET", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path)
    for value in authorizations:
        connection.putheader("Authorization", value)
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    found = response.status, response.read(), response.getheader("WWW-Authenticate")
    connection.close()
    return found


@pytest.mark.parametrize("token", [FIRST, SECOND])
def test_with_a_token_all_is_as_ever(urls, token):
    for url in urls:
        with connect(url, token=token) as model:
            assert model.predict("serving_default", {"text": ["ÄB你"]})["text"].tolist() == ["äb你".encode()]


def test_without_one_nothing_is_answered(urls, monkeypatch):
    monkeypatch.delenv("TFLM_TOKEN", raising=False)
    for url in urls:
        words = (
            rf"/probe: {WANTED} \((HTTP 401|UNAUTHENTICATED)\)\. Give a token by TFLM_TOKEN or --token_file"
        )
        with pytest.raises(Unauthorized, match=words) as caught:
            connect(url)
        assert caught.value.code == "UNAUTHENTICATED"
        with pytest.raises(Unauthorized, match=WRONG) as caught:
            connect(url, token=FIRST[:-1] + "x")
        assert "first" not in str(caught.value)


@pytest.mark.parametrize(
    "shown, words, challenge",
    [
        ([], WANTED, PLAIN),
        ([f"Bearer {FIRST}x"], WRONG, INVALID),
        ([f"Basic {FIRST}"], WRONG, INVALID),
        ([FIRST], WRONG, INVALID),
        (["Bearer "], WRONG, INVALID),
        (["Bearer \xff\xe4"], WRONG, INVALID),
        ([f"Bearer {FIRST}", f"Bearer {FIRST}"], WANTED, PLAIN),
        ([f"Bearer {FIRST} {SECOND}"], WRONG, INVALID),
    ],
    ids=range(8),
)
def test_headers_that_do_not_do(guarded, shown, words, challenge):
    for path in ("/v1/models/probe", "/metrics", "/nowhere", "/healthz/", "//healthz", "/HEALTHZ"):
        status, body, found = get(guarded[0], path, *shown)
        assert (status, json.loads(body), found) == (401, {"error": words}, challenge)
    assert get(guarded[0], "/v1/models/probe:predict", *shown, method="POST", body=b"{" * 1000)[0] == 401


def test_what_is_open_and_what_is_not(guarded):
    for path, code in (("/healthz", 200), ("/page", 200), ("/%68ealthz", 200), ("/metrics", 401)):
        assert get(guarded[0], path)[0] == code
    assert get(guarded[0], "/metrics", f"bearer {FIRST}")[:2] == (200, b"here")
    assert get(guarded[0], "/metrics", method="OPTIONS")[0] == 401


def test_every_kind_of_call_over_grpc(guarded):
    """Health is open; reflection, which streams, is not, and an unknown method tells nothing."""
    with grpc.insecure_channel(f"127.0.0.1:{guarded[1]}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        for call in (
            lambda: next(reflect(iter([b""]), timeout=10)),
            lambda: channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(
                b"x" * 9, timeout=10
            ),
            lambda: channel.unary_unary("/no.such/Method")(b"", timeout=10),
            lambda: channel.unary_unary("/grpc.health.v1.HealthX/Check")(b"", timeout=10),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAUTHENTICATED, WANTED)


def test_a_token_is_replaced_while_the_server_runs(folder, guarded, urls):
    """A client that is connected goes on with the old one as long as it is in the file."""
    path, third = folder / "tokens", "third-token-0123456789"
    models = [connect(url, token=FIRST) for url in urls]
    try:
        write(path, FIRST, third)
        for url, model in zip(urls, models):
            assert connect(url, token=third).signatures == model.signatures
            model.predict("serving_default", {"text": ["a"]})
        new = folder / "new"
        os.replace(write(new, third), path)
        for url, model in zip(urls, models):
            with pytest.raises(Unauthorized, match=WRONG):
                model.predict("serving_default", {"text": ["a"]})
            assert connect(url, token=third).signatures == model.signatures
    finally:
        write(path, FIRST, SECOND)


def test_a_file_that_goes_bad_changes_nothing(tmp_path, caplog):
    path = tmp_path / "tokens"
    tokens = TokenFile(write(path, FIRST))
    caplog.set_level(logging.INFO)
    for spoil in (lambda: path.chmod(0o644), lambda: write(path, "short"), path.unlink):
        spoil()
        assert [tokens.accepts(f"Bearer {token}") for token in (FIRST, FIRST, SECOND)] == [True, True, False]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3  # once each
    assert all(
        "tokens not reloaded, the old ones stay valid: --auth_token_file=" in line for line in caplog.messages
    )
    write(path, SECOND)
    assert [tokens.accepts(f"Bearer {token}") for token in (FIRST, SECOND)] == [False, True]
    assert caplog.messages[-1] == "tokens reloaded: 1"


def test_tokens_are_compared_in_constant_time(tmp_path, monkeypatch):
    """All of them, always, as digests of one length."""
    compared, compare = [], hmac.compare_digest

    def compare_digest(one, other):
        compared.append((len(one), len(other)))
        return compare(one, other)

    tokens = TokenFile(write(tmp_path / "tokens", FIRST, SECOND))
    monkeypatch.setattr(bearer.hmac, "compare_digest", compare_digest)
    for authorization in (f"Bearer {FIRST}", "Bearer x", f"Basic {SECOND}", None, ""):
        compared.clear()
        assert tokens.accepts(authorization) == (authorization == f"Bearer {FIRST}")
        assert compared == [(32, 32), (32, 32)]


def test_a_bad_file_is_refused_at_the_start(tmp_path):
    with pytest.raises(UserError, match=r"--auth_token_file=\S+ has no token"):
        TokenFile(write(tmp_path / "tokens", "# none"))
