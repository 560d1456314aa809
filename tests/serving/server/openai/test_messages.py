"""OpenAI's messages as conversations."""

import pytest

from tflm.serving.server.openai.request import read_messages
from tflm.serving.server.openai.responses import OpenAIError

HELLO = [{"role": "user", "content": "你好"}]


def test_messages_are_roles_and_texts():
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": ""},
        {**HELLO[0], "name": "Ann", "tool_calls": None, "refusal": None, "annotations": []},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "😀"}]},
    ]
    expected = [("system", "Be brief."), ("system", ""), ("user", "你好"), ("assistant", "a\n😀")]
    assert read_messages(messages) == tuple((role.encode(), text.encode()) for role, text in expected)


def test_bytes_that_are_no_utf8_stay_as_they_are():
    assert read_messages([{"role": "user", "content": "a\udcff"}]) == ((b"user", b"a\xff"),)


@pytest.mark.parametrize(
    ("messages", "words", "param"),
    [
        (None, "one message or more", "messages"),
        ([], "one message or more", "messages"),
        (["a"], "expected an object with role and content", "messages[0]"),
        ([{"role": "tool", "content": "a"}], "tools are not supported", "messages[0].role"),
        ([{"role": ["user"], "content": "a"}], "expected system, user or assistant", "messages[0].role"),
        ([{"role": "user"}], "is null, expected a text or a list of text parts", "messages[0].content"),
        ([{"role": "user", "content": ["a"]}], "expected a text part", "messages[0].content[0]"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "other parts are not supported",
            "messages[0].content[0]",
        ),
        (
            [*HELLO, {"role": "assistant", "content": "", "tool_calls": [{}]}],
            "tool_calls is not supported",
            "messages[1].tool_calls",
        ),
    ],
)
def test_others_are_refused(messages, words, param):
    with pytest.raises(OpenAIError) as caught:
        read_messages(messages)
    assert words in caught.value.message and caught.value.param == param
