"""What a request to OpenAI's API wants: each field is honoured, ignored because it changes nothing, or refused."""

import pytest

from tflm.generation import DecodingConfig
from tflm.serving.server.openai.request import param_of, read_chat, read_completion
from tflm.serving.server.openai.responses import OpenAIError

COMPLETION = {"model": "m", "prompt": "a"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "你好"}]}


def test_the_fields_that_count_are_read():
    wanted = read_completion(COMPLETION | {"max_tokens": 5, "n": 2, "seed": 7, "temperature": 0})
    assert wanted.settings == {"max_new_tokens": 5, "temperature": 0}
    assert [row.settings["seed"] for row in wanted.rows()] == [7, 8]
    assert {row.text for row in wanted.rows()} == {b"a"}
    wanted = read_chat(CHAT | {"max_tokens": 5, "max_completion_tokens": 6})
    assert wanted.settings == {"max_new_tokens": 6} and not wanted.stream and not wanted.include_usage
    assert read_chat(CHAT | {"logprobs": True}).num_alternatives == 0
    wanted = read_chat(CHAT | {"stream": True, "stream_options": {"include_usage": True}})
    assert wanted.stream and wanted.include_usage and wanted.num_alternatives is None


def test_every_setting_can_be_sent():
    """One that comes to `DecodingConfig` comes to here."""
    request = {name: value for name, value in vars(DecodingConfig()).items() if "new_tokens" not in name}
    request |= {"min_tokens": 1, "max_tokens": 2, "stop": ["a"]}
    wanted = read_completion(COMPLETION | request)
    assert {*wanted.settings, "seed"} == set(vars(DecodingConfig()))


def test_messages_about_settings_name_the_field():
    assert param_of("min_new_tokens is 5") == "min_tokens" and param_of("top_p takes float") == "top_p"
    assert param_of("Servable not found") is None


@pytest.mark.parametrize("read, request_", [(read_completion, COMPLETION), (read_chat, CHAT)])
def test_fields_that_change_nothing_are_ignored(read, request_):
    habits = {"store": False, "metadata": {"a": "b"}, "tools": [], "tool_choice": "none", "user": "me"}
    habits |= {"response_format": {"type": "text"}, "logit_bias": {}, "n": None, "service_tier": "auto"}
    assert read(request_ | habits | {"seed": 1}) == read(request_ | {"seed": 1})


@pytest.mark.parametrize(
    ("request_", "words", "param"),
    [
        ({"model": ""}, "you must provide a model parameter", "model"),
        ({"model": None}, "you must provide a model parameter", "model"),
        ({"max_tokens": -1}, "max_tokens is -1, expected a whole number from 0", "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5, expected a whole number", "max_tokens"),
        ({"n": 0}, "n is 0, expected a whole number from 1 to 128", "n"),
        ({"n": True}, "n is true, expected a whole number from 1 to 128", "n"),
        ({"seed": 2**63}, "seed is 9223372036854775808", "seed"),
        ({"stop": ["a"] * 5}, "stop is a text or up to 4 texts", "stop"),
        ({"stop": [5]}, "stop is a text or up to 4 texts", "stop"),
        ({"prompt": None}, "prompt is a text or a list of texts", "prompt"),
        ({"prompt": [1, 2]}, "prompt takes texts, not token ids", "prompt"),
        ({"prompt": [[1, 2]]}, "prompt takes texts, not token ids", "prompt"),
        ({"prompt": []}, "prompt is a text or a list of texts", "prompt"),
        ({"logit_bias": {"5": False}}, "logit_bias of token 5 is false: -100", "logit_bias"),
        ({"logit_bias": {"5": 0, "6": 0.5}}, "logit_bias of token 6 is 0.5: -100", "logit_bias"),
        ({"best_of": 3, "n": 2}, "best_of is not supported", "best_of"),
        ({"logprobs": True}, "logprobs is true, expected a whole number", "logprobs"),
        ({"logit_bias": {"5": 10}}, "logit_bias of token 5 is 10: -100", "logit_bias"),
        ({"logit_bias": {"x": -100}}, "from token ids to biases", "logit_bias"),
        ({"logit_bias": {"1" * 5000: -100}}, "from token ids to biases", "logit_bias"),
        ({"prompt": ["a"] * 17, "n": 128}, "17 prompts by n are more than 2048 texts", "prompt"),
        ({"logprobs": 6}, "logprobs is 6, expected a whole number from 0 to 5", "logprobs"),
        ({"logprobs": 1, "echo": True}, "leave out echo", "echo"),
        ({"best_of": 2}, "best_of is not supported", "best_of"),
        ({"suffix": "x"}, "suffix is not supported", "suffix"),
        ({"stream": "yes"}, 'stream is "yes", expected true or false', "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options needs stream", "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "object with include_usage", "stream_options"),
        ({"top_kk": 4}, "Unrecognized request argument supplied: top_kk", "top_kk"),
        ({"messages": []}, "Unrecognized request argument supplied: messages", "messages"),
    ],
)
def test_what_a_completion_cannot_honour_is_refused(request_, words, param):
    with pytest.raises(OpenAIError) as caught:
        read_completion(COMPLETION | request_)
    assert words in caught.value.message and (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize(
    ("request_", "words", "param"),
    [
        ({"messages": None}, "one message or more", "messages"),
        ({"tools": [{"type": "function"}]}, "tools is not supported", "tools"),
        ({"tool_choice": "required"}, "tool_choice is not supported", "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported", "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities is not supported", "modalities"),
        ({"logprobs": 3}, "logprobs is 3, expected true or false", "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs", "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs is 21", "top_logprobs"),
        ({"echo": True}, "Unrecognized request argument supplied: echo", "echo"),
    ],
)
def test_what_a_chat_cannot_honour_is_refused(request_, words, param):
    with pytest.raises(OpenAIError) as caught:
        read_chat(CHAT | request_)
    assert words in caught.value.message and caught.value.param == param


@pytest.mark.parametrize(
    "inert",
    [
        {"logit_bias": {"5": 0}},
        {"logit_bias": {"5": 0.0, "17": -0.0}},
        {"stream_options": {"include_usage": False}},
        {"stream_options": {}},
        {"stream_options": {"include_obfuscation": False}},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"},
        {"functions": [{"name": "f"}], "function_call": "none"},
        {"verbosity": "medium"},
        {"logprobs": False},
        {"best_of": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("read, request_", [(read_completion, COMPLETION), (read_chat, CHAT)])
def test_inert_values_are_accepted(read, request_, inert):
    """The rule of the module: a field is refused only where the answer would differ."""
    assert read(request_ | inert | {"seed": 1}) == read(request_ | {"seed": 1})


def test_inert_values_of_one_endpoint_are_accepted():
    def same(read, request_, inert, than):
        assert read(request_ | {"seed": 1} | inert) == read(request_ | {"seed": 1} | than)

    same(read_completion, COMPLETION, {"n": 3, "best_of": 3}, {"n": 3})
    same(read_completion, COMPLETION, {"logprobs": False, "echo": True}, {"echo": True})
    same(read_chat, CHAT, {"top_logprobs": 0, "logprobs": False}, {})
    same(read_chat, CHAT, {"top_logprobs": 0}, {})
    message = {**CHAT["messages"][0], "refusal": "", "tool_calls": [], "reasoning_content": ""}
    same(read_chat, CHAT, {"messages": [message]}, {})
    assert read_chat(CHAT | {"logit_bias": {"5": 0, "7": -100, "9": -100.0}}).settings["banned_ids"] == [7, 9]


def test_a_bias_is_added_to_banned_ids():
    def banned(ids):
        return read_chat(CHAT | {"logit_bias": {"7": -100}, "banned_ids": ids}).settings["banned_ids"]

    assert banned([3]) == [3, 7]
    assert banned(5) == 5, "left as it is, so that it is refused with the other settings"
