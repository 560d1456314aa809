"""Downloads from model hubs, by the real clients in processes of their own, from servers on 127.0.0.1."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import types

import pytest

from tests.experiments.hub_server import COMMIT, HubServer
from tflm.errors import UserError
from tflm.experiments.hub import download, wanted_files

ROOT = pathlib.Path(__file__).parents[2]
needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None,
    reason='huggingface_hub is not installed; to test it: pip install "tflm[hub]"',
)
needs_modelscope = pytest.mark.skipif(
    importlib.util.find_spec("modelscope") is None,
    reason='modelscope is not installed; to test it: pip install "tflm[modelscope]"',
)
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "README.md": b"# A model",
    "vocab.txt": "[PAD]\n你\n好\n".encode(),
    "model.safetensors": bytes(range(256)) * 40,
    "pytorch_model.bin": b"not wanted",
    "onnx/model.safetensors": b"not wanted",
    "1_Pooling/config.json": b"{}",
}
WANTED = ["1_Pooling/config.json", "config.json", "model.safetensors", "vocab.txt"]
SCRIPT = """
import sys
from tflm.errors import UserError
from tflm.experiments.hub import download
try:
    print(download(sys.argv[1], lambda text: print("note:", text)))
except UserError as error:
    sys.exit(f"UserError: {error}")
"""


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(name="server")
def server_fixture(tmp_path):
    quantized = {"a-q4.gguf": b"GGUF4" * 99, "a-q8.gguf": b"GGUF8" * 99, "README.md": b""}
    server = HubServer(
        {
            "tiny/bert": write(tmp_path / "bert", FILES),
            "tiny/gguf": write(tmp_path / "gguf", quantized),
            "tiny/text": write(tmp_path / "text", {"README.md": b"", "config.json": b"{}"}),
        }
    )
    yield server
    server.close()


@pytest.fixture(name="fetch")
def fetch_fixture(server, tmp_path):
    """`fetch(checkpoint)` downloads in a new process: its exit code, its last line, and what it reported."""

    def fetch(checkpoint, **changes):
        home = str(tmp_path / "home")
        environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "PYTHONPATH": str(ROOT),
            "HOME": home,
            "HF_HOME": f"{home}/hf",
            "HF_ENDPOINT": server.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_TOKEN": "",
            "MODELSCOPE_ENDPOINT": server.url,
            "MODELSCOPE_CACHE": f"{home}/modelscope",
            "MODELSCOPE_HOME": f"{home}/settings",
            "MODELSCOPE_API_TOKEN": "",
            **changes,
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, checkpoint],
            capture_output=True,
            encoding="utf-8",
            env=environment,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        lines = done.stdout.splitlines()
        return types.SimpleNamespace(
            code=done.returncode, last=(lines or [""])[-1], out=done.stdout, err=done.stderr
        )

    return fetch


def message(done):
    """The one line of a failure."""
    assert done.code == 1, done.out
    _, mark, line = done.err.rstrip().rpartition("UserError: ")
    assert mark and "\n" not in line, done.err
    return line


def found(folder):
    """The files that were downloaded."""
    paths = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in sorted(names.items()) if not name.startswith(".")}


@needs_hub
def test_a_download_from_hugging_face_and_the_cache(server, fetch):
    done = fetch("hf://tiny/bert")
    assert done.code == 0, done.err
    assert "note: downloading hf://tiny/bert" in done.out
    assert found(done.last) == {name: FILES[name] for name in WANTED}
    assert [server.count("GET", name) for name in WANTED] == [1, 2, 1, 1]  # two are called config.json
    again = fetch("hf://tiny/bert")
    assert again.last == done.last and server.count("GET", "model.safetensors") == 1
    server.close()
    offline = fetch("hf://tiny/bert")
    assert (offline.code, offline.last) == (0, done.last)


@needs_hub
def test_no_progress_bars_in_a_pipe(fetch):
    assert fetch("hf://tiny/bert").err.replace("Warning", "").strip() == ""


@needs_hub
def test_a_revision(server, fetch):
    server.revisions["tiny/bert"] = ["v1.0"]
    for revision in ("v1.0", COMMIT):
        done = fetch(f"hf://tiny/bert@{revision}")
        assert done.code == 0 and COMMIT in done.last, done.err
    assert message(fetch("hf://tiny/bert@v2")) == (
        "'hf://tiny/bert@v2': tiny/bert has no revision 'v2'. Give a branch, a tag or a commit of it, or none."
    )


@needs_hub
def test_a_repository_that_is_missing_or_gated(server, fetch):
    assert message(fetch("hf://tiny/other")) == (
        f"'hf://tiny/other' is not on the hub {server.url}, or is private. Check the name; for a private one set "
        "HF_TOKEN."
    )
    server.gated.add("tiny/bert")
    assert message(fetch("hf://tiny/bert")) == (
        f"'hf://tiny/bert' is gated: accept its licence at {server.url}/tiny/bert, and set HF_TOKEN to a token of the "
        "same account."
    )


@needs_hub
def test_a_name_that_the_client_refuses(fetch):
    assert message(fetch("hf://tiny/a b")).startswith("cannot download 'hf://tiny/a b': ")


@needs_hub
def test_a_connection_that_breaks_off_goes_on_where_it_stopped(server, fetch):
    server.faults["model.safetensors"] = "broken once"
    done = fetch("hf://tiny/bert")
    assert done.code == 0, done.err
    assert found(done.last)["model.safetensors"] == FILES["model.safetensors"]
    assert server.count("GET", "model.safetensors") == 2


@needs_hub
def test_a_connection_that_breaks_off_each_time(server, fetch):
    server.faults["model.safetensors"] = "broken"
    said = message(fetch("hf://tiny/bert"))
    assert said.startswith("cannot download 'hf://tiny/bert': ")
    assert said.endswith(
        "Check the name and the connection, and run the command again; it goes on where it stopped."
    )
    server.faults.clear()
    done = fetch("hf://tiny/bert")
    assert found(done.last) == {name: FILES[name] for name in WANTED}


@needs_hub
@pytest.mark.parametrize("name", ["model.safetensors", "vocab.txt"])
def test_a_file_with_the_wrong_checksum_is_removed(name, server, fetch):
    server.faults[name] = "corrupt"
    said = message(fetch("hf://tiny/bert"))
    assert said.startswith(f"{name} of 'hf://tiny/bert' is damaged: its checksum is ")
    assert said.endswith("It was removed from the cache: run the command again.")
    server.faults.clear()
    done = fetch("hf://tiny/bert")
    assert done.code == 0 and found(done.last)[name] == FILES[name], done.err


@needs_hub
def test_a_file_of_the_wrong_size(server, fetch):
    server.faults["model.safetensors"] = "short"
    assert message(fetch("hf://tiny/bert")).startswith("cannot download 'hf://tiny/bert': ")


@needs_hub
def test_a_hub_that_cannot_be_reached_or_does_not_answer(server, fetch):
    said = message(fetch("hf://tiny/bert", HF_ENDPOINT="http://127.0.0.1:9"))
    assert said.startswith("cannot download 'hf://tiny/bert': no answer from http://127.0.0.1:9 (")
    assert said.endswith(
        "), and it is not in the cache. Check the connection; for another address of the hub set HF_ENDPOINT."
    )
    server.faults["all"] = "silent"
    said = message(fetch("hf://tiny/bert", HF_HUB_ETAG_TIMEOUT="1"))
    assert f"no answer from {server.url}" in said
    server.faults = {"vocab.txt": "silent"}  # after others have come
    said = message(fetch("hf://tiny/bert", HF_HUB_ETAG_TIMEOUT="1", HF_HUB_DOWNLOAD_TIMEOUT="1"))
    assert said.startswith("cannot download 'hf://tiny/bert': ")


@needs_hub
def test_one_file_of_gguf(server, fetch):
    done = fetch("hf://tiny/gguf/a-q8.gguf")
    assert done.code == 0, done.err
    assert pathlib.Path(done.last).read_bytes() == b"GGUF8" * 99 and done.last.endswith("/a-q8.gguf")
    assert server.count("GET", "a-q4.gguf") == 0
    assert message(fetch("hf://tiny/gguf")) == (
        "'hf://tiny/gguf' has files of GGUF: give one of them, such as hf://tiny/gguf/a-q4.gguf."
    )
    assert message(fetch("hf://tiny/gguf/b.gguf")) == (
        "'hf://tiny/gguf/b.gguf' has no file 'b.gguf'; found: a-q4.gguf, a-q8.gguf."
    )
    server.close()
    assert fetch("hf://tiny/gguf/a-q8.gguf").last == done.last
    assert "it is not in the cache" in message(fetch("hf://tiny/gguf/a-q4.gguf"))


@needs_hub
def test_a_repository_without_weights(fetch):
    assert message(fetch("hf://tiny/text")) == (
        "'hf://tiny/text' has no weights that are supported: expected model.safetensors, pytorch_model.bin or a .gguf "
        "file; found: README.md, config.json."
    )


@needs_modelscope
def test_a_download_from_modelscope_and_the_cache(server, fetch):
    done = fetch("modelscope://tiny/bert")
    assert done.code == 0, done.err
    assert found(done.last) == {name: FILES[name] for name in WANTED}
    again = fetch("modelscope://tiny/bert")
    assert again.last == done.last and server.count("GET", "model.safetensors") == 1
    server.close()
    offline = fetch("modelscope://tiny/bert")
    assert (offline.code, offline.last) == (0, done.last), offline.err
    said = message(fetch("modelscope://tiny/bert@v1"))
    assert said.startswith("cannot download 'modelscope://tiny/bert@v1': "), said


@needs_modelscope
def test_what_modelscope_refuses(server, fetch):
    said = message(fetch("modelscope://tiny/other"))
    assert said.startswith("cannot download 'modelscope://tiny/other': ") and "404" in said
    server.revisions["tiny/bert"] = ["v1"]
    assert fetch("modelscope://tiny/bert@v1").code == 0
    assert "404" in message(fetch("modelscope://tiny/bert@v2"))


@needs_modelscope
def test_a_file_from_modelscope_with_the_wrong_checksum(server, fetch):
    server.faults["vocab.txt"] = "short"
    said = message(fetch("modelscope://tiny/bert"))
    assert said.startswith("cannot download 'modelscope://tiny/bert': ") and "vocab.txt" in said, said
    server.faults.clear()
    done = fetch("modelscope://tiny/bert")
    assert done.code == 0 and found(done.last)["vocab.txt"] == FILES["vocab.txt"], done.err


@needs_modelscope
def test_one_file_of_gguf_from_modelscope(fetch):
    done = fetch("modelscope://tiny/gguf/a-q8.gguf")
    assert done.code == 0 and pathlib.Path(done.last).read_bytes() == b"GGUF8" * 99, done.err
    assert message(fetch("modelscope://tiny/gguf")).endswith("such as modelscope://tiny/gguf/a-q4.gguf.")


@pytest.mark.parametrize(
    "checkpoint, module, extra",
    [("hf://tiny/bert", "huggingface_hub", "hub"), ("modelscope://tiny/bert", "modelscope", "modelscope")],
)
def test_a_client_that_is_not_installed(checkpoint, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    scheme = checkpoint.partition(":")[0]
    expected = rf'^{scheme}:// needs the client of that hub: pip install "tflm\[{extra}\]"\.$'
    with pytest.raises(UserError, match=expected):
        download(checkpoint)


def test_what_is_no_address_of_a_hub(tmp_path):
    assert download(str(tmp_path)) == str(tmp_path)
    for wrong in ("hf://bert", "hf://tiny/", "hf:///bert", "hf://tiny/bert/config.json"):
        with pytest.raises(
            UserError, match=r"is not hf://OWNER/NAME, with @REVISION .*, or hf://OWNER/NAME/FILE\.gguf"
        ):
            download(wrong)
    with pytest.raises(UserError, match="begins with http://; supported: hf:// and modelscope://"):
        download("http://127.0.0.1/a")
    with pytest.raises(UserError, match=r"no file or folder '没有'\. A checkpoint is a folder"):
        download("没有")
    with pytest.raises(UserError, match=r"no file or folder 'tiny/bert'.* Is it hf://tiny/bert\?"):
        download("tiny/bert")


def test_which_files_are_wanted():
    sharded = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "consolidated.safetensors"]
    assert wanted_files("a", [*sharded, "tokenizer.json", "tokenizer.model", "original/params.json"]) == [
        "tokenizer.json",
        "tokenizer.model",
        *sharded[:2],
    ]
    assert wanted_files("a", ["config.json", "pytorch_model.bin", "training_args.bin", "rust_model.ot"]) == [
        "config.json",
        "pytorch_model.bin",
    ]
    with pytest.raises(UserError, match="found: no files"):
        wanted_files("a", [])
