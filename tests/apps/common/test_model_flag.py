"""`--token_file` and `--ca_file` go with a URL, as TFLM_TOKEN and TFLM_CA_FILE do."""

import http.server
import threading

import pytest

TOKEN = "0123456789abcdef"


class Recording(http.server.BaseHTTPRequestHandler):
    """A model without signatures; keeps what each request shows."""

    def do_GET(self):
        self.server.shown.append(self.headers["Authorization"])
        body = b'{"metadata": {"signature_def": {"signature_def": {}}}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """`url`, and `shown`, the headers that came."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Recording)
    server.shown, server.url = [], f"http://127.0.0.1:{server.server_port}/v1/models/m"
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def test_the_token_is_sent_and_not_shown(call, server, token_file, monkeypatch):
    monkeypatch.delenv("TFLM_TOKEN", raising=False)
    for app, arguments in (("tag", ["--text=a"]), ("classify", ["--text=a", f"--token_file={token_file}"])):
        done = call(app, f"--model={server.url}", *arguments)
        assert (done.code, "which this app needs" in done.err) == (1, True)
        assert TOKEN not in done.err
    monkeypatch.setenv("TFLM_TOKEN", TOKEN[::-1])
    call("generate", f"--model={server.url}/versions/1", "--text=a", f"--token_file={token_file}")
    call("answer", f"--model={server.url}/labels/a", "--question=a", "--context=b")
    assert server.shown == [None, f"Bearer {TOKEN}", f"Bearer {TOKEN}", f"Bearer {TOKEN[::-1]}"]


@pytest.mark.parametrize(
    "url, is_warned",
    [
        ("http://tflm.invalid:1/v1/models/m", True),
        ("grpc://tflm.invalid:1/m", True),
        ("http://127.0.0.1.tflm.invalid:1/v1/models/m", True),
        ("https://tflm.invalid:1/v1/models/m", False),
        ("grpcs://tflm.invalid:1/m", False),
        ("http://127.0.0.1:1/v1/models/m", False),
        ("http://localhost:1/v1/models/m", False),
        ("http://[::1]:1/v1/models/m", False),
    ],
)
def test_a_token_without_encryption_is_warned_of(call, token_file, monkeypatch, url, is_warned):
    monkeypatch.delenv("TFLM_TOKEN", raising=False)
    words = "The token is sent unencrypted"
    done = call("tag", "--text=a", f"--model={url}", f"--token_file={token_file}")
    assert (done.code, words in done.err) == (1, is_warned)
    assert words not in call("tag", "--text=a", f"--model={url}").err, "there is no token"
    monkeypatch.setenv("TFLM_TOKEN", TOKEN)
    assert (words in call("tag", "--text=a", f"--model={url}").err) == is_warned


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["--model={folder}", "--token_file={token}"], 2, "is a folder, which takes no token_file."),
        (
            ["--model=http://h:1/v1/models/m", "--token_file={folder}/none"],
            1,
            "none cannot be read: No such file",
        ),
        (
            ["--model=https://h:1/v1/models/m", "--ca_file={folder}/none"],
            1,
            "the certificates cannot be used",
        ),
        (["--model=grpcs://h:1/m", "--ca_file={folder}/none"], 1, "the certificates cannot be used"),
        (
            ["--model=grpc://u:p@h:1/m"],
            2,
            "The model's URL has an @, which ends a user name or a password",
        ),
    ],
)
def test_what_is_wrong_is_said(call, tmp_path, token_file, arguments, code, words):
    done = call(
        "tag", "--text=a", *(argument.format(folder=tmp_path, token=token_file) for argument in arguments)
    )
    assert (done.code, words in done.err) == (code, True), done.err
    assert done.out == ""
