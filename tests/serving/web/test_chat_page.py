"""Talking on the page, in a real browser: what is sent, how the answer comes, what is kept."""

import json
import re

import pytest
from playwright.sync_api import expect

QUESTION = "What makes a good cup of tea?"


def say(page, words):
    page.fill("#prompt", words)
    page.press("#prompt", "Enter")


def ask(page, words):
    """Says it and waits until the answer is complete; the answer."""
    before = page.locator(".assistant").count()
    say(page, words)
    expect(page.locator(".assistant")).to_have_count(before + 1)
    expect(page.locator("#send")).to_be_visible()
    return page.locator(".assistant .words").last.inner_text()


def requests_of(page):
    """What the page asks `:stream`: (path, body)."""
    found = []

    def keep(request):
        if request.url.endswith(":stream"):
            found.append((re.sub("^http://[^/]*", "", request.url), json.loads(request.post_data)))

    page.on("request", keep)
    return found


def in_flight(site):
    return sum(version.in_flight for version in site.manager.status("parrot"))


def test_an_answer_comes_piece_by_piece(visit):
    page = visit()
    say(page, "tell it slowly")
    words = page.locator(".assistant .words")
    expect(words).to_have_text(re.compile("^user: "))
    first = words.inner_text()
    assert "seed=" not in first, "or it came whole"
    expect(page.locator(".assistant")).to_have_attribute("aria-busy", "true")
    expect(words).to_have_text(re.compile(re.escape(first) + ".+", re.DOTALL))
    page.keyboard.press("Escape")
    assert page.locator(".user .words").inner_text() == "tell it slowly"


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stopped_in_the_midst(visit, site, way):
    page = visit()
    say(page, "tell it very slowly")
    expect(page.locator(".assistant .words")).not_to_be_empty()
    if way == "button":
        page.click("#stop")
    else:
        page.keyboard.press("Escape")
    expect(page.locator(".facts")).to_contain_text("Stopped")
    partial = page.locator(".assistant .words").inner_text()
    assert partial and "seed=" not in partial
    for _ in range(100):
        if not in_flight(site):
            break
        page.wait_for_timeout(50)
    assert in_flight(site) == 0, "the server goes on for nobody"
    assert page.locator(".assistant .words").inner_text() == partial
    expect(page.locator("#prompt")).to_be_focused()


def test_the_model_sees_the_conversation_and_a_reload_keeps_it(visit):
    page = visit()
    requests = requests_of(page)
    first = ask(page, QUESTION)
    ask(page, "再说一遍")
    assert requests[1][1]["instances"][0]["roles"] == ["user", "assistant", "user"]
    assert requests[1][1]["instances"][0]["messages"] == [QUESTION, first, "再说一遍"]
    page.fill("#prompt", "half a thought")
    shown = page.locator("#messages .words").all_inner_texts()
    page.reload()
    expect(page.locator("#messages .words")).to_have_count(4)
    assert page.locator("#messages .words").all_inner_texts() == shown
    expect(page.locator("#prompt")).to_have_value("half a thought")


def test_several_conversations(visit):
    page = visit()
    ask(page, "first one")
    page.click("#new")
    expect(page.locator("#messages .message")).to_have_count(0)
    ask(page, "另一个")
    titles = page.locator("#conversations .open")
    expect(titles).to_have_text(["另一个", "first one"])
    titles.nth(1).click()
    expect(page.locator(".user .words")).to_have_text(["first one"])
    with page.expect_download() as download:
        page.click("#export")
    exported = json.loads(download.value.path().read_text(encoding="utf-8"))
    roles = [message["role"] for message in exported["messages"]]
    assert (roles, exported["messages"][0]["content"]) == (["user", "assistant"], "first one")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Delete “first one”").click()
    expect(titles).to_have_text(["另一个"])
    expect(page.locator("#messages .message")).to_have_count(0)
    page.reload()
    expect(titles).to_have_text(["另一个"])


def test_shift_enter_and_an_input_method_do_not_send(visit):
    page = visit()
    requests = requests_of(page)
    page.evaluate("addEventListener('keydown', (event) => { window.last = [event.key, event.isComposing]; })")
    page.focus("#prompt")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    ime = page.context.new_cdp_session(page)
    ime.send("Input.imeSetComposition", {"text": "nihao", "selectionStart": 5, "selectionEnd": 5})
    page.keyboard.press("Enter")  # chooses what the input method offers
    assert page.evaluate("window.last") == ["Enter", True], "or the test shows nothing"
    ime.send("Input.insertText", {"text": "你好"})
    page.locator("#prompt").dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    page.wait_for_timeout(100)
    assert not requests and page.locator(".message").count() == 0
    assert page.input_value("#prompt").startswith("one\ntwo你好")
    page.keyboard.press("Enter")
    expect(page.locator(".user .words")).to_contain_text("one\ntwo你好", use_inner_text=True)


def test_what_a_model_writes_stays_text(visit):
    page = visit()
    evil = '<script>document.title="x"</script><img src=x onerror="alert()"><b>bold'
    assert evil in ask(page, evil)
    assert page.title() == "tflm"
    assert page.locator("#messages b, #messages img, #messages script").count() == 0
    assert page.locator("#conversations .open").inner_text() == evil


def test_settings_reach_the_model(visit):
    page = visit()
    requests = requests_of(page)
    ask(page, "as you are")
    assert list(requests[0][1]["instances"][0]) == ["roles", "messages", "seed"], (
        "the rest is the model's own"
    )
    page.click("#open-settings")
    for name, value in {
        "temperature": "0.25",
        "top_p": "0.5",
        "top_k": "7",
        "seed": "42",
        "max_new_tokens": "600",
    }.items():
        page.fill(f"#setting-{name}", value)
    page.fill("#setting-system", "Say 好")
    page.get_by_role("button", name="Done").click()
    answer = ask(page, "now")
    for setting in ("temperature=0.25", "top_p=0.5", "top_k=7", "seed=42", "max_new_tokens=600"):
        assert setting in answer
    assert answer.startswith("system: Say 好\nuser: as you are\n")
    page.reload()
    page.click("#open-settings")
    expect(page.locator("#setting-temperature")).to_have_value("0.25")
    page.fill("#setting-temperature", "7")
    expect(page.locator("#setting-temperature")).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Escape")
    assert "temperature=0.25" in ask(page, "what is out of range changes nothing")
    page.click("#open-settings")
    page.click("#reset-settings")
    expect(page.locator("#setting-temperature")).to_have_value("")
    page.get_by_role("button", name="Done").click()
    assert "temperature=0.8" in ask(page, "again")
    assert "system" not in requests[-1][1]["instances"][0]["roles"]


def test_a_length_limit_is_told(visit):
    page = visit()
    page.click("#open-settings")
    page.fill("#setting-max_new_tokens", "5")
    page.keyboard.press("Escape")
    assert ask(page, QUESTION) == "Fresh"
    expect(page.locator(".facts")).to_contain_text("The answer ended at its length limit · 5 tokens · seed ")


def test_model_and_version_are_chosen(visit):
    page = visit()
    requests = requests_of(page)
    expect(page.locator("#model option")).to_have_text(["parrot", "story", "absent"])
    expect(page.locator("#model option").nth(2)).to_be_disabled()
    expect(page.locator("#version option")).to_have_text(
        ["Latest (2)", "Version 2", "Version 1", "stable (1)"]
    )
    for choice in ("Latest (2)", "Version 1", "stable (1)"):
        page.select_option("#version", label=choice)
        ask(page, choice)
    paths = [path.removeprefix("/v1/models/parrot") for path, _ in requests]
    assert paths == [":stream", "/versions/1:stream", "/labels/stable:stream"]


def test_a_text_that_goes_on(visit):
    page = visit()
    requests = requests_of(page)
    ask(page, "a conversation")
    page.select_option("#model", "story")
    expect(page.locator("#messages .message")).to_have_count(0)
    expect(page.locator("#prompt")).to_have_attribute("placeholder", "Write a beginning; the model goes on")
    ask(page, "Once upon a time")
    page.press("#prompt", "Enter")
    expect(page.locator(".assistant")).to_have_count(2)
    expect(page.locator("#send")).to_be_visible()
    story = " a fox lived at the edge of the wood. 从前有一只狐狸。"
    assert requests[-1][1]["instances"][0]["text"] == f"Once upon a time{story}"
    assert page.locator("#messages .words").all_text_contents() == ["Once upon a time", story, story]


def test_another_answer_takes_its_place(visit):
    page = visit()
    requests = requests_of(page)
    ask(page, "hello")
    page.get_by_role("button", name="Try another").click()
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator(".assistant")).to_have_count(1)
    rows = [body["instances"][0] for _, body in requests]
    assert rows[0]["messages"] == rows[1]["messages"] == ["hello"] and rows[0]["seed"] != rows[1]["seed"]
