"""Where a client's token and certificates come from, and that the token is never shown."""

import pytest

from tests.serving.certificates import Authority
from tflm.errors import UserError
from tflm.serving.client.credentials import Credentials, client_certificate_hint

TOKEN, OTHER = "0123456789abcdef", "another-0123456789"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("TOKEN", "CA_FILE", "CERTIFICATE_FILE", "KEY_FILE"):
        monkeypatch.delenv(f"TFLM_{name}", raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


def test_what_is_given_comes_before_the_environment(monkeypatch, tmp_path):
    assert Credentials.find() == Credentials()
    assert Credentials.find().headers() == {}
    for name, value in (
        ("TOKEN", f" {TOKEN}\n"),
        ("CA_FILE", "a"),
        ("CERTIFICATE_FILE", "b"),
        ("KEY_FILE", "c"),
    ):
        monkeypatch.setenv(f"TFLM_{name}", value)
    assert Credentials.find() == Credentials(TOKEN, "a", "b", "c")
    path = tmp_path / "token"
    path.write_text(f"{OTHER}\n{TOKEN}\n", encoding="utf-8")
    path.chmod(0o600)
    assert Credentials.find(token_file=str(path)).headers() == {"authorization": f"Bearer {OTHER}"}
    assert Credentials.find(token=OTHER, token_file=str(path), ca_file="x") == Credentials(
        OTHER, "x", "b", "c"
    )
    assert Credentials.find(token="").headers() == {}


def test_the_token_is_not_shown(monkeypatch):
    assert TOKEN not in repr(Credentials(TOKEN))
    monkeypatch.setenv("TFLM_TOKEN", "secret secret secret")
    with pytest.raises(UserError, match="TFLM_TOKEN: the token has a character") as caught:
        Credentials.find()
    assert "secret" not in str(caught.value)


def test_files_that_cannot_be_used(authority, tmp_path):
    mine, other, hidden = (authority.sign(name) for name in ("mine", "other", "hidden"))
    hidden = authority.sign("hidden", password=b"secret")
    (tmp_path / "no.pem").write_text("nothing", encoding="utf-8")
    for credentials, words in (
        (
            Credentials(ca_file=f"{tmp_path}/none"),
            r"cannot be used \(No such file or directory\).*got \S+none\.",
        ),
        (
            Credentials(ca_file=f"{tmp_path}/no.pem"),
            r"cannot be used \(.+\)\. Expected PEM files.*got \S+no.pem\.",
        ),
        (
            Credentials(certificate_file=mine.certificate, key_file=other.key),
            r"(?i)cannot be used \(.*mismatch",
        ),
        (
            Credentials(certificate_file=hidden.certificate, key_file=hidden.key),
            "hidden.key is encrypted, .*openssl",
        ),
    ):
        for use in (credentials.ssl_context, credentials.pem):
            with pytest.raises(UserError, match=words):
                use()


def test_a_key_without_its_certificate(monkeypatch):
    for files in ({"key_file": "k.pem"}, {}):
        with pytest.raises(UserError, match=r"the key 'k\.pem' was given without its certificate"):
            Credentials.find(**files)
        monkeypatch.setenv("TFLM_KEY_FILE", "k.pem")
    assert Credentials.find(certificate_file="c.pem").key_file == "k.pem"


def test_files_for_both_protocols(authority):
    mine = authority.sign("both")
    credentials = Credentials("", authority.file, mine.certificate, mine.key)
    assert credentials.ssl_context().cert_store_stats()["x509_ca"] == 1
    ca, key, certificate = credentials.pem()
    assert (b"CERTIFICATE" in ca, b"PRIVATE KEY" in key, b"CERTIFICATE" in certificate) == (True, True, True)
    assert Credentials().pem() == (None, None, None)
    assert client_certificate_hint(credentials) == ""
    assert "may require a client certificate" in client_certificate_hint(Credentials())
