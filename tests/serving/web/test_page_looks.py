"""The page as it is seen and reached: languages, colours, a phone, a keyboard, errors, a token, its pictures."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.serving.web.test_chat_page import QUESTION, ask, say

PHONE = {
    "viewport": {"width": 360, "height": 740},
    "locale": "zh-CN",
    "color_scheme": "dark",
    "has_touch": True,
    "is_mobile": True,
}
MOST_BYTES = 150_000


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def set_seed(page):
    """So that the picture is the same each time."""
    page.evaluate("localStorage.setItem('tflm.settings', '{\"parrot\": {\"seed\": 7}}')")


def check_access(page):
    """WCAG 2.1 A and AA, contrast among it, as far as axe can see."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    problems = found.response["violations"]
    assert not problems, [(each["id"], each["nodes"][0]["html"]) for each in problems]


def test_languages(visit):
    page = visit()
    expect(page.get_by_role("heading", level=1)).to_have_text("What would you like to talk about?")
    page.fill("#prompt", "typed")
    page.click("#language")
    expect(page.get_by_role("heading", level=1)).to_have_text("想聊点什么？")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.get_by_role("textbox", name="消息")).to_have_value("typed")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("想聊点什么？")
    page.click("#language")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert visit(locale="zh-TW").locator("#new").inner_text() == "新对话"


def test_a_switch_of_language_while_an_answer_comes_loses_nothing(visit):
    page = visit()
    say(page, "slowly")
    expect(page.locator(".assistant .words")).not_to_be_empty()
    page.click("#language")
    expect(page.locator(".assistant .words")).to_have_text(re.compile("seed="))
    expect(page.locator(".facts")).to_contain_text("个词元")


def test_light_and_dark(visit):
    page = visit()
    light = background(page)
    page.emulate_media(color_scheme="dark")
    dark = background(page)
    assert light != dark
    page.click("#theme")
    expect(page.locator("#theme")).to_have_text("Light")
    assert background(page) == light
    page.click("#theme")
    page.emulate_media(color_scheme="light")
    page.reload()
    expect(page.locator("#theme")).to_have_text("Dark")
    assert background(page) == dark


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_everyone_can_read_it(visit, colours):
    page = visit(color_scheme=colours)
    expect(page.locator("#send")).to_be_visible()
    ask(page, QUESTION)
    check_access(page)
    page.route("**/*:stream", lambda route: route.fulfill(status=500, json={"error": "no"}))
    say(page, "x")
    expect(page.locator(".failure")).to_be_visible()
    check_access(page)
    page.click("#open-settings")
    check_access(page)


def test_a_picture_of_the_page(visit, screenshots):
    page = visit()
    set_seed(page)
    ask(page, QUESTION)
    ask(page, "And if I have only tea bags?")
    page.evaluate(
        "for (const each of document.querySelectorAll('.facts')) each.textContent = '138 tokens · seed 7'"
    )
    path = screenshots / "chat_page.png"
    page.screenshot(path=path)
    assert path.stat().st_size < MOST_BYTES


def test_on_a_phone(visit, screenshots):
    page = visit(**PHONE)
    set_seed(page)
    ask(page, "怎样泡一杯好茶？")
    ask(page, "只有茶包怎么办？")
    ask(page, "x" * 200 + " <https://example.org/" + "y" * 200 + ">")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.getElementById('main').scrollWidth <= 360")
    page.get_by_role("button", name="换一个").click()
    expect(page.locator("#send")).to_be_visible()
    check_access(page)
    expect(page.locator("#sidebar")).to_be_hidden()
    page.click("#open-sidebar")
    expect(page.locator("#new")).to_be_focused()
    check_access(page)
    page.keyboard.press("Escape")
    expect(page.locator("#sidebar")).to_be_hidden()
    page.click("#open-sidebar")
    page.click("#new")
    ask(page, "怎样泡一杯好茶？")
    ask(page, "只有茶包怎么办？")
    page.evaluate(
        "for (const each of document.querySelectorAll('.facts')) each.textContent = '36 个词元 · 种子 7'"
    )
    path = screenshots / "chat_page_phone.png"
    page.screenshot(path=path)
    assert path.stat().st_size < MOST_BYTES
    page.click("#open-settings")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_by_keyboard_alone(visit):
    page = visit()
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    expect(page.locator(".facts")).to_be_visible()
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
    wanted = {
        "new",
        "hello",
        "language",
        "theme",
        "model",
        "version",
        "export",
        "open-settings",
        "Copy",
        "Try another",
    }
    assert wanted <= {*reached}, reached
    page.focus("#open-settings")
    page.keyboard.press("Enter")
    expect(page.locator("#settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    expect(page.locator("#open-settings")).to_be_focused()


def test_an_error_and_another_try(visit):
    """The server says no; then breaks off in the midst; then cannot be reached; then answers."""
    page = visit()
    answers = [
        {"status": 503, "json": {"error": "The queue is full. <b>Try</b> again soon."}},
        {"status": 200, "content_type": "text/event-stream", "body": 'data: {"row":0,"piece":"half of"}\n\n'},
        {
            "status": 200,
            "content_type": "text/event-stream",
            "body": 'event: error\ndata: {"error":"it fell"}\n\n',
        },
        None,
    ]

    def fail(route):
        answer = answers.pop(0)
        route.abort() if answer is None else route.fulfill(**answer)

    page.route("**/*:stream", fail, times=len(answers))
    say(page, QUESTION)
    expect(page.get_by_role("alert")).to_contain_text("The queue is full. <b>Try</b> again soon.")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("The connection broke before the answer was complete.")
    expect(page.locator(".assistant .words")).to_have_text("half of")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("it fell")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(page.locator(".user .words")).to_have_text([QUESTION])
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".assistant .words")).to_have_text(re.compile("^Fresh water"))
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_list_of_models_that_is_none(visit, site):
    """As from a proxy that answers with a page of its own; then the server is asked again."""
    page = visit("about:blank")
    page.route("**/web/models", lambda route: route.fulfill(status=200, body="<html>"), times=1)
    page.goto(site.url)
    expect(page.get_by_role("alert")).to_contain_text("The connection broke")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#model option").first).to_have_text("parrot")


def test_a_server_that_asks_for_a_token(visit, site, tmp_path):
    from tflm.serving.server import Server, TokenFile
    from tflm.serving.web.routes import PUBLIC_PATHS, routes

    path = tmp_path / "tokens"
    path.write_text("open-sesame-open-sesame\n", encoding="utf-8")
    path.chmod(0o600)
    tokens = TokenFile(str(path))
    with Server(
        site.manager, rest_port=0, drain_seconds=1.0, tokens=tokens, pages=routes, open_paths=PUBLIC_PATHS
    ) as server:
        page = visit(f"http://127.0.0.1:{server.rest_port}/")
        expect(page.get_by_role("dialog")).to_contain_text("This server asks for a token")
        check_access(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("alert")).to_contain_text("The server requires a token")
        page.get_by_role("button", name="Try again").click()
        page.fill("#token", "词元")  # no header can have it
        page.press("#token", "Enter")
        expect(page.locator("#token-text")).to_have_text("The server does not know this token.")
        expect(page.locator("#token")).to_have_value("")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-text")).to_have_text("The server does not know this token.")
        page.fill("#token", "open-sesame-open-sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_have_value("parrot")
        assert ask(page, QUESTION).startswith("Fresh water")
        page.reload()
        assert ask(page, QUESTION).startswith("Fresh water")
        assert "sesame" not in str(page.evaluate("JSON.stringify(localStorage)"))
        path.write_text("another-sesame-sesame\n", encoding="utf-8")
        lists = "import('/web/server.js').then((s) => Promise.all([s.listModels(), s.listModels()]))"
        page.evaluate(f"void (window.counts = {lists}.then((each) => each.map((models) => models.length)))")
        page.fill("#token", "another-sesame-sesame")
        page.keyboard.press("Enter")
        assert page.evaluate("window.counts") == [3, 3], "one question was for both"
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.context.pages[0].close()
