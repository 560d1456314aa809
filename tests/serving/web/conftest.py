"""A server with the chat page and two models, and a browser to look at it with."""

import os
import pathlib
import shutil
import types

import pytest

CHROMIUM = "chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """`url` of the page, `manager` of its models."""
    from tests.serving.web import parrot
    from tflm.serving.server import ModelConfig, ModelManager, Server
    from tflm.serving.web.routes import routes

    folder = tmp_path_factory.mktemp("web_models")
    parrot.write(folder)
    configs = [
        ModelConfig("parrot", str(folder / "parrot"), num_latest=0, labels={"stable": 1}),
        ModelConfig("story", str(folder / "story")),
        ModelConfig("absent", str(folder / "absent")),
    ]
    manager = ModelManager(configs)
    manager.start()
    with Server(manager, rest_port=0, drain_seconds=1.0, pages=routes) as server:
        url = f"http://127.0.0.1:{server.rest_port}"
        yield types.SimpleNamespace(url=url, port=server.rest_port, manager=manager)
    manager.stop()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. Of a module: while it is open Playwright runs an event loop in this thread, and a test of
    another file may want its own."""
    path = shutil.which(CHROMIUM)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"no {CHROMIUM} here, and CI is set: apt-get install {CHROMIUM}")
        pytest.skip(f"no {CHROMIUM} here; to test the page in a browser: apt-get install {CHROMIUM}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def visit(browser, site):
    """`visit(url, **settings of the context)` opens the page as a new visitor; it fails on any error of a script."""
    contexts, problems = [], []

    def open_page(url=site.url, **settings):
        context = browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1120, "height": 760}, **settings}
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: problems.append(message.text) if "Security Policy" in message.text else None,
        )
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def screenshots(request):
    """The folder of the pictures in the docs, where `UPDATE_SCREENSHOTS` is set; else one that is thrown away."""
    if os.environ.get("UPDATE_SCREENSHOTS"):
        return pathlib.Path(__file__).parents[3] / "docs" / "images"
    return request.getfixturevalue("tmp_path")
