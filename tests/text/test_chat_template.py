"""Tables of chat templates against Jinja."""

import datetime
import itertools
import json

import pytest

from tests.text import templates
from tflm.config import from_dict, to_dict
from tflm.errors import UserError
from tflm.text.chat_template import ChatTemplate, from_jinja, jinja_renderer, special_parts

KINDS = {
    "marked": (templates.MARKED, {}),
    "trimmed": (templates.TRIMMED, {}),
    "in_first_turn": (templates.IN_FIRST_TURN, {}),
    "plain": (templates.PLAIN, {}),
    "thinking": (templates.THINKING, {}),
    "not_thinking": (templates.THINKING, {"thinking": False}),
    "dated": (templates.DATED, {}),
}
CONTENTS = ("Hello", "  你好，世界\n", "<think>\nhm\n</think>\n\n好", "\n\nHi <|end|>", "")


def both(name):
    source, variables = KINDS[name]
    variables = {**templates.VARIABLES, **variables}
    return from_jinja(source, variables), jinja_renderer(source, variables)


def test_the_example():
    template, _ = both("marked")
    assert template.render([("user", "Hi")], generation=True) == (
        "<|begin|>system\nBe kind.<|end|>\n<|begin|>user\nHi<|end|>\n<|begin|>assistant\n"
    )
    assert template.text("user", "assistant") == "<|end|>\n<|begin|>assistant\n"


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_conversation_is_what_jinja_renders(name):
    template, render = both(name)
    assert template.trains
    compared = 0
    for roles in (("user",), ("user", "assistant"), ("user", "assistant", "user"), ("system", "user")):
        generation = roles[-1] == "user"
        for contents in itertools.product(CONTENTS, repeat=len(roles)):
            messages = list(zip(roles, contents, strict=True))
            expected = render(messages, generation)
            if expected is not None:
                assert template.render(messages, generation) == expected
                compared += 1
    assert compared > 100


def test_what_each_kind_does_to_contents():
    assert both("trimmed")[0].trimmed == ("system", "user", "assistant")
    assert both("marked")[0].trimmed == ()
    assert both("thinking")[0].drops_thinking and not both("marked")[0].drops_thinking
    assert both("not_thinking")[0].text("user", "generation").endswith("<think>\n\n</think>\n\n")


def test_a_date_is_that_of_today():
    today = datetime.date.today()
    text = both("dated")[0].text("", "user")
    assert any(f"{day:%d %B %Y}" in text for day in (today, today - datetime.timedelta(days=1)))


def test_a_role_without_a_place_is_refused():
    template, _ = both("plain")
    with pytest.raises(UserError, match="no place for a message of system at the beginning"):
        template.render([("system", "a"), ("user", "b")], generation=True)
    with pytest.raises(UserError, match="no place for a message of user after a message of user"):
        both("in_first_turn")[0].render([("user", "a"), ("user", "b")], generation=True)


def test_it_is_saved_as_json():
    template, _ = both("thinking")
    assert from_dict(ChatTemplate, json.loads(json.dumps(to_dict(template)))) == template


@pytest.mark.parametrize(
    "source,words",
    [
        (templates.BY_NUMBER, "depends on more than their roles. In a conversation of"),
        (templates.TOGETHER, "cannot use the chat template: for .* it writes"),
        ("{% for message in messages %}", "cannot read the chat template: line 1"),
        ("{{ raise_exception('no') }}", "it refuses a conversation of one user message"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "does not write each message once"),
        ("{{ tools | length }}", "does not write each message once and in order. In a conversation of user"),
    ],
)
def test_a_template_that_is_no_table_is_refused(source, words):
    with pytest.raises(UserError, match=words):
        from_jinja(source, templates.VARIABLES)


def test_a_template_cannot_reach_python():
    with pytest.raises(UserError, match="refuses a conversation"):
        from_jinja("{{ ''.__class__.__mro__[1].__subclasses__() }}" + templates.PLAIN, templates.VARIABLES)


def test_the_example_of_special_parts():
    assert special_parts("<|im_start|>user\n", ["<|im_start|>"]) == ["", "<|im_start|>", "user\n"]
    assert special_parts("<a><a>b", ["<a>", "<a><a>"]) == ["", "<a><a>", "b"]
    assert special_parts("text", []) == ["text"]
