"""TLS on both ports: with the clients of this project, with wrong certificates, with clients that must have one too."""

import http.server
import logging
import pathlib
import socket
import ssl
import threading

import grpc
import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.serving.certificates import Authority
from tflm.errors import UserError
from tflm.serving import connect
from tflm.serving.client.credentials import Credentials
from tflm.serving.client.grpc import GrpcModel
from tflm.serving.client.remote import NotFound, ServerError, Untrusted
from tflm.serving.client.rest import RestModel
from tflm.serving.server import ModelManager
from tflm.serving.server.auth.tls import Tls
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.grpc.server import GrpcServer
from tflm.serving.server.rest.http_server import RestServer

NOTHING = {"metadata": {"signature_def": {"signature_def": {}}}}


def routes(*_):
    return [Route("/v1/models/m/metadata", lambda _: JSONResponse(NOTHING))]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def good(authority):
    return authority.sign("good")


class Listener:
    """Both ports with TLS. REST knows a model `m` without signatures, gRPC knows none."""

    def __init__(self, tls: Tls) -> None:
        manager = ModelManager([])
        self._rest = RestServer(manager, Runner(2, 10.0), 1.0, [routes], tls=tls.context)
        self._grpc = GrpcServer(manager, 2, 1.0, credentials=tls.credentials)

    def __enter__(self):
        self.rest = f"https://127.0.0.1:{self._rest.start('127.0.0.1', 0)}/v1/models/m"
        self.grpc = f"grpcs://127.0.0.1:{self._grpc.start('127.0.0.1', 0)}/m"
        return self

    def __exit__(self, *_):
        stopped = self._grpc.begin_stop()
        self._rest.stop()
        stopped.wait()

    def check_both(self, **credentials):
        assert connect(self.rest, **credentials).signatures == {}
        with pytest.raises(NotFound, match=r"Servable not found for request: Latest\(m\)"):
            connect(self.grpc, **credentials)


@pytest.fixture(scope="module")
def listener(good):
    with Listener(Tls.from_files(good.certificate, good.key)) as listener:
        yield listener


def test_over_tls_to_whoever_trusts_the_authority(listener, authority, monkeypatch):
    listener.check_both(ca_file=authority.file)
    monkeypatch.setenv("TFLM_CA_FILE", authority.file)
    listener.check_both()


def test_a_stranger_is_not_trusted(listener, tmp_path):
    """Neither by default nor with another authority."""
    words = r"/m: the server's certificate is not trusted: .*Give the certificate authority that signed it by TFLM_"
    for credentials in ({}, {"ca_file": Authority(tmp_path).file}):
        with pytest.raises(Untrusted, match=words):
            connect(listener.rest, **credentials)
        with pytest.raises(Untrusted, match=r"/m: TLS handshake failed: .*CERTIFICATE_VERIFY_FAILED"):
            connect(listener.grpc, **credentials)


@pytest.mark.parametrize(
    "changes, rest, by_grpc",
    [
        ({"last": -1, "first": -3}, "certificate has expired", "CERTIFICATE_VERIFY_FAILED"),
        ({"host": "example.org"}, "IP address mismatch", "Hostname Verification Check failed"),
    ],
    ids=["expired", "of another host"],
)
def test_bad_certificates_are_refused_by_clients(authority, changes, rest, by_grpc):
    pair = authority.sign("bad", **changes)
    with Listener(Tls.from_files(pair.certificate, pair.key)) as listener:
        with pytest.raises(Untrusted, match=rest):
            connect(listener.rest, ca_file=authority.file)
        with pytest.raises(Untrusted, match=by_grpc):
            connect(listener.grpc, ca_file=authority.file)


def test_mutual(authority, good, tmp_path):
    """Who shows no certificate, or one of a stranger, is refused."""
    clients, stranger = Authority(tmp_path, "clients"), Authority(tmp_path, "stranger")
    client, other = clients.sign("client", "a client"), stranger.sign("other", "a client")
    with Listener(Tls.from_files(good.certificate, good.key, clients.file)) as listener:
        listener.check_both(ca_file=authority.file, certificate_file=client.certificate, key_file=client.key)
        mine = {"certificate_file": other.certificate, "key_file": other.key}
        wanted = "may require a client certificate: TFLM_CERTIFICATE_FILE and TFLM_KEY_FILE"
        for model, url in ((RestModel, listener.rest), (GrpcModel, listener.grpc)):
            with pytest.raises(ServerError, match=wanted):
                model(url, retries=0, credentials=Credentials(ca_file=authority.file))
            with pytest.raises(ServerError):
                model(url, retries=0, credentials=Credentials(ca_file=authority.file, **mine))


def test_old_versions_are_not_spoken(listener, authority):
    context = ssl.create_default_context(cafile=authority.file)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    port = int(listener.rest.split(":")[2].split("/")[0])
    with (
        pytest.raises(OSError),
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1"),
    ):
        pass


def test_plain_http_behind_https():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    with pytest.raises(Untrusted, match=r"TLS handshake failed .*The server may speak plain http://"):
        connect(f"https://127.0.0.1:{server.server_port}/v1/models/m")
    server.shutdown()
    server.server_close()


def test_files_that_cannot_be_used(authority, good, tmp_path):
    other, hidden = authority.sign("other"), authority.sign("hidden", password=b"secret")
    (tmp_path / "no.pem").write_text("你好", encoding="utf-8")
    for arguments, words in (
        ((f"{tmp_path}/none", good.key), r"--ssl_certificate_file=\S+none cannot be read: No such file"),
        ((good.certificate, str(tmp_path)), r"--ssl_key_file=\S+ cannot be read: Is a directory"),
        ((good.certificate, good.key, f"{tmp_path}/none"), r"--ssl_client_ca_file=\S+none cannot be read"),
        ((good.certificate, other.key), r"other.key does not belong to the certificate \S+good.pem"),
        ((hidden.certificate, hidden.key), r"hidden.key is encrypted, .*openssl pkey -in \S+hidden.key"),
        (
            (f"{tmp_path}/no.pem", good.key),
            r"cannot be used \(.*\). Expected a certificate and a key in PEM form",
        ),
        ((good.certificate, good.key, f"{tmp_path}/no.pem"), r"no.pem has no certificates of authorities"),
    ):
        with pytest.raises(UserError, match=words):
            Tls.from_files(*arguments)


def test_dates_are_warned_of(authority, good, caplog):
    caplog.set_level(logging.WARNING)
    Tls.from_files(good.certificate, good.key)
    assert not caplog.messages
    old, early = authority.sign("old", first=-9, last=-2), authority.sign("early", first=2)
    for pair in (old, early):
        Tls.from_files(pair.certificate, pair.key)
    assert caplog.messages == [
        f"the certificate {old.certificate} has expired: clients will refuse it. Renew it.",
        f"the certificate {early.certificate} is not valid yet: clients will refuse it. Is this machine's clock right?",
    ]


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def text_proto(path, **texts):
    lines = []
    for name, value in texts.items():
        shown = str(value).lower() if isinstance(value, bool) else '"' + value.replace("\n", "\\n") + '"'
        lines.append(f"{name}: {shown}\n")
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def test_the_stock_servers_file(authority, good, tmp_path):
    key, certificate, ca = (read(file) for file in (good.key, good.certificate, authority.file))
    path = text_proto(
        tmp_path / "ssl", server_key=key, server_cert=certificate, custom_ca="", client_verify=False
    )
    with Listener(Tls.from_config_file(path)) as listener:
        listener.check_both(ca_file=authority.file)
    path = text_proto(
        tmp_path / "ssl", server_key=key, server_cert=certificate, custom_ca=ca, client_verify=True
    )
    assert Tls.from_config_file(path).context.verify_mode == ssl.CERT_REQUIRED
    other = read(authority.sign("other").key)
    for texts, words in (
        ({"client_verify": True}, "client_verify is on, but custom_ca, .* is empty"),
        (
            {"server_key": other, "server_cert": certificate},
            "ssl: the key server_key does not belong to the cert",
        ),
        ({"server_keys": key}, "line 1:1 .*server_keys"),
    ):
        with pytest.raises(UserError, match=rf"--ssl_config_file=.*{words}"):
            Tls.from_config_file(text_proto(tmp_path / "ssl", **texts))
    with pytest.raises(UserError, match=r"--ssl_config_file=none: cannot be read"):
        Tls.from_config_file("none")


def test_grpc_alone_needs_no_client_certificate(listener, authority):
    """A plain client of gRPC, not ours."""
    with open(authority.file, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(listener.grpc.split("/")[2], credentials) as channel:
        grpc.channel_ready_future(channel).result(10)
