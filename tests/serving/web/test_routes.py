"""The files of the page and the list of models, over a socket."""

import http.client
import json
import pathlib
import re

import pytest

from tflm.serving.web import routes

FOLDER = pathlib.Path(routes.__file__).parent


def get(site, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_every_file_is_given_as_it_is_with_headers_that_shut_others_out(site):
    names = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".svg"))
    assert {"/", *(f"/web/{name}" for name in names)} == routes.PUBLIC_PATHS
    for path in sorted(routes.PUBLIC_PATHS):
        status, headers, body = get(site, path)
        assert (status, body) == (200, (FOLDER / (path[5:] or "index.html")).read_bytes())
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert get(site, "/web/chat.js")[1]["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/routes.py",
        "/web/../routes.py",
        "/web/%2e%2e/routes.py",
        "/web/..%2froutes.py",
        "/web//etc/passwd",
    ],
)
def test_no_other_file_is_read(site, path):
    assert get(site, path)[0] == 404


def test_nothing_comes_from_elsewhere_and_no_script_stands_in_the_page():
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", html)
    for path in FOLDER.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            found = path.read_text(encoding="utf-8")
            assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+|@import|url\(", found), path
            assert not re.findall(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", found
            ), path


def test_the_models(site):
    status, _, body = get(site, "/web/models")
    parrot, story, absent = json.loads(body)["models"]
    assert status == 200
    assert [(each["version"], each["labels"], each["mode"]) for each in parrot["versions"]] == [
        (2, [], "chat"),
        (1, ["stable"], "chat"),
    ]
    assert parrot["versions"][0] == {
        "version": 2,
        "state": "AVAILABLE",
        "error": "",
        "labels": [],
        "mode": "chat",
        "streams": True,
        "settings": {"temperature": 0.8, "top_p": 0.95, "top_k": 0, "max_new_tokens": 900, "seed": 0},
        "system": "Be kind.",
    }
    assert (story["versions"][0]["mode"], story["versions"][0]["system"]) == ("complete", "")
    assert absent == {"name": "absent", "versions": []}


def test_models_of_other_kinds(site, monkeypatch):
    """One that answers, one that tells nothing of itself, one that classifies, one that cannot be loaded."""
    from tflm.serving.server import ServingError
    from tflm.serving.server.core.served_model import ServedModel

    def described(config):
        monkeypatch.setattr(ServedModel, "config", property(lambda _: config()))
        return routes.describe_models(site.manager)[1]["versions"][0]

    assert described(lambda: {"task": {"kind": "pairs"}})["mode"] == "answer"
    damaged = described(lambda: {"task": 3, "decoding": []})
    assert (damaged["mode"], damaged["settings"]["temperature"]) == ("complete", None)
    assert described(lambda: {"task": {"system": None}})["system"] == ""
    silent = described(lambda: {}["config"])
    assert (silent["mode"], silent["state"]) == ("complete", "AVAILABLE")
    monkeypatch.setattr(ServedModel, "signatures", {"classify": None})
    classifier = described(dict)
    assert (classifier["mode"], classifier["streams"]) == (None, False)

    broken = site.manager.status("story")[0]
    broken.state, broken.error = "END", ServingError("INVALID_ARGUMENT", "no variables")
    monkeypatch.setattr(site.manager, "status", lambda name: [broken])
    assert described(dict) | {"labels": []} == {
        **dict.fromkeys(("mode",)),
        "version": 1,
        "state": "END",
        "error": "no variables",
        "labels": [],
        "streams": False,
        "settings": {},
        "system": "",
    }


def test_too_much_at_once_is_told(site, monkeypatch):
    from tflm.serving.server import ServingError

    def refuse(*_):
        raise ServingError("UNAVAILABLE", "full")

    monkeypatch.setattr(routes, "describe_models", refuse)
    status, _, body = get(site, "/web/models")
    assert (status, json.loads(body)) == (503, {"error": "full"})


def test_both_languages_have_every_text_that_is_used():
    source = (FOLDER / "i18n.js").read_text(encoding="utf-8")
    english, chinese = source.split("\n  zh: {")
    keys = [set(re.findall(r"^    (\w+):", part, re.MULTILINE)) for part in (english, chinese)]
    assert keys[0] == keys[1]
    files = [path for path in FOLDER.iterdir() if path.suffix in (".html", ".js") and path.name != "i18n.js"]
    others = "".join(path.read_text(encoding="utf-8") for path in files)
    assert set(re.findall(r'(?:text\(|data-(?:text|label)=)"(\w+)"', others)) <= keys[0]
    made_up = ("theme_", "placeholder_", "title_", "text_", "error_", "setting_", "about_")
    for key in sorted(keys[0]):
        assert key.startswith(made_up) or f'"{key}"' in others, f"{key} is never shown"
        lines = [re.search(rf'^    {key}: "(.*)",$', part, re.MULTILINE) for part in (english, chinese)]
        values = [sorted(re.findall(r"\{\w+\}", line[1])) for line in lines]
        assert values[0] == values[1], key
