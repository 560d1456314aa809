"""The server as a program: ready, asked by URL, stopped by a signal; and what can be wrong with its flags."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from apps import serve
from tests.serving.conformance import served_model
from tests.serving.waiting import until
from tflm.errors import UsageError
from tflm.serving import connect
from tflm.serving.client.remote import ServerError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of `probe` and `models.config`."""
    folder = tmp_path_factory.mktemp("models")
    served_model.write(folder, versions=[1])
    return folder


def at_work(url):
    """How many requests the server of a model's URL is answering."""
    with urllib.request.urlopen(f"{url.partition('/v1/')[0]}/monitoring/prometheus/metrics") as response:
        found = re.search(r"^:tflm:serving:requests_at_work (\S+)$", response.read().decode(), re.MULTILINE)
    return float(found[1])


def start(checkout, *arguments, end="pass"):
    script = f"import sys, apps.serve; code = apps.serve.run(['serve', *sys.argv[1:]]); {end}; sys.exit(code)"
    return subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", script, "--rest_api_port=0", "--port=0", *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": checkout},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_from_ready_to_the_signal(models, checkout):
    modules = "print([n for n in ('keras', 'tflm.models', 'tflm.tasks', 'tflm.text') if sys.modules.get(n)])"
    process = start(checkout, f"--model_base_path={models}/probe", "--model_name=名", end=modules)
    try:
        ready = process.stdout.readline()
        rest = re.search(r"http://\S+?/v1/models/%E5%90%8D(?= )", ready)[0]
        grpc = re.search(r"grpc://\S+?(?=;)", ready)[0]
        assert f'curl -d \'{{"instances": ["Hello"]}}\' {rest}:predict' in ready
        for url in (rest, grpc):
            assert connect(url).predict("serving_default", {"text": ["ÄB"]})["text"].tolist() == [
                "äb".encode()
            ]
        answers, model = [], connect(rest)
        slow = threading.Thread(
            target=lambda: answers.append(model.predict("wait", {"seconds": [3.0]})["seconds"].tolist())
        )
        slow.start()
        until(lambda: at_work(rest) == 1)
        process.send_signal(signal.SIGTERM)
        slow.join()
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert answers == [[3.0]]
    assert process.returncode == 0, err
    assert out == "[]\n"
    assert "stopping: no more requests are taken; those at work are answered." in err
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(rest)


def test_stopped_while_it_loads_it_ends_at_once(models, checkout):
    script = (
        "import os, signal, sys, time, apps.serve; from tflm.serving.server import ModelManager\n"
        "ModelManager.start = lambda _: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(60))\n"
        f"sys.exit(apps.serve.run(['serve', '--model_base_path={models}/probe']))"
    )
    environment = {**os.environ, "PYTHONPATH": checkout}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=checkout,
        env=environment,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert b"Traceback" not in done.stderr


def test_a_config_file_and_a_server_that_goes_away(models, checkout):
    process = start(checkout, f"--model_config_file={models}/models.config")
    try:
        ready = process.stdout.readline()
        assert ready.startswith("ready: http://"), process.communicate()
        url = ready.split()[1]
        with urllib.request.urlopen(f"{url}/labels/stable") as response:
            assert json.load(response)["model_version_status"][0]["version"] == "1"
        failures = []
        askers = [
            threading.Thread(target=_wait, args=[connect(found), failures])
            for found in (url, ready.split()[3][:-1])
        ]
        for asker in askers:
            asker.start()
        until(lambda: at_work(url) == 2)
    finally:
        process.kill()
        process.communicate()
    for asker in askers:
        asker.join()
    for failure in failures:
        assert re.search(r"probe: connection lost before the response was complete \(.+\)\.$", failure)
    assert len(failures) == 2


def _wait(model, failures):
    try:
        model.predict("wait", {"seconds": [60.0]})
    except ServerError as error:
        failures.append(str(error))


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        ([], 2, "give either --model_base_path, for one model, or --model_config_file, for several."),
        (["--model_config_file=a", "--model_name=b"], 2, "--model_name goes with --model_base_path"),
        (
            ["--model_base_path={models}/probe", "--cors_origins=https://a.cn,example.com"],
            2,
            "--cors_origins has 'example.com', which is no origin.",
        ),
        (["--model_base_path={models}/none"], 1, "no version to serve in"),
        (["--model_base_path={models}/probe/1"], 1, "is one version of a model. Give the folder above,"),
        (["--model_config_file={models}/none"], 1, "none: cannot be read"),
        (["--model_config_file={models}/empty"], 1, "has no models."),
        (["--model_base_path={models}/broken"], 1, "nothing is served: "),
    ],
)
def test_what_is_wrong_is_said(call, models, arguments, code, words, monkeypatch):
    (models / "broken" / "1").mkdir(parents=True, exist_ok=True)
    (models / "empty").write_text("", encoding="utf-8")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    done = call("serve", *(argument.format(models=models) for argument in arguments))
    assert done.code == code
    assert done.err.startswith("error: ") or "error: " in done.err
    assert words in done.err


def test_origins_are_as_a_browser_sends_them():
    asked = [
        "*",
        "https://Example.com",
        "http://localhost:3000",
        "http://[::1]:80",
        "app-x://tauri.localhost",
    ]
    assert serve.cors_origins(asked) == [each.lower() for each in asked]
    for wrong in (
        "",
        "null",
        "example.com",
        "https://a.cn/",
        "https://a.cn/page",
        "http://[",
        "https://me@a.cn",
        "//a",
    ):
        with pytest.raises(UsageError, match="which is no origin"):
            serve.cors_origins([wrong])


@pytest.mark.parametrize(
    "host, shown", [("::1", "[::1]"), ("::", "localhost"), ("0.0.0.0", "localhost"), ("a.b", "a.b")]
)
def test_the_addresses_that_it_tells_can_be_asked(host, shown, capsys):
    serve._announce(SimpleNamespace(host=host, rest_port=1, grpc_port=2, has_tls=True), "m", has_page=True)
    told = capsys.readouterr().out
    assert (
        f"ready: https://{shown}:1/v1/models/m and grpcs://{shown}:2/m; the page: https://{shown}:1/; "
        in told
    )


def test_help_shows_how(call):
    done = call("serve", "--help")
    assert done.code == 0
    assert done.out.count("tflm serve ") == 5
    assert "curl -d " in done.out


def test_an_app_prints_the_same_for_a_url(call, lstm, tmp_path):
    """Sampled with settings of the command line. The server is not warmed: it runs one signature."""
    from tflm.serving.server import ModelConfig, ModelManager, Server

    shutil.copytree(lstm.version, tmp_path / "5", ignore=shutil.ignore_patterns("tf_serving_warmup_requests"))
    manager = ModelManager([ModelConfig("lstm", str(tmp_path))])
    manager.start()
    arguments = [
        "--text=def f(",
        "--format=json",
        "--max_new_tokens=8",
        "--temperature=0.7",
        "--num_samples=2",
    ]
    with Server(manager, rest_port=0, grpc_port=0) as running:
        expected = call("generate", f"--model={lstm.version}", *arguments)
        assert expected.code == 0, expected.err
        for url in (
            f"http://127.0.0.1:{running.rest_port}/v1/models/lstm",
            f"grpc://127.0.0.1:{running.grpc_port}/lstm",
        ):
            done = call("generate", f"--model={url}", *arguments)
            assert (done.code, done.lines) == (0, expected.lines), done.err
    manager.stop()
    done = call("generate", "--model=grpc://127.0.0.1", "--text=a")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: 'grpc://127.0.0.1' names no served model. Expected grpc://host:port/NAME, with /versions/N or "
        "/labels/L behind it if need be.",
    )
