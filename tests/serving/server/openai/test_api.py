"""OpenAI's API, asked by its own client over a socket."""

import asyncio
import json

import openai
import pytest

from tests.serving.server.writing_models import LATER, OWN, ask, folder, serving, written
from tests.serving.waiting import until
from tflm.serving.server import ServingOptions
from tflm.serving.server.core.servable import Servable
from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.openai import api as openai_api
from tflm.serving.server.openai.request import read_chat
from tflm.serving.server.rest import event_stream

WRITERS = ["chat", "lines", "slow", "old"]
HELLO = [{"role": "user", "content": "你好"}]


@pytest.fixture(scope="module")
def served():
    """(manager, port)."""
    with serving(event_stream.routes, openai_api.routes) as found:
        yield found


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{served[1]}/openai/v1", api_key="none", max_retries=0, timeout=30
    ) as client:
        yield client


def complete(client, **request):
    return client.completions.create(**{"model": "lines", "prompt": "Once", "seed": 0, **request})


def chat(client, **request):
    return client.chat.completions.create(**{"model": "chat", "messages": HELLO, "seed": 0, **request})


def fields(client, **request):
    """The settings that arrive at the model."""
    return json.loads(complete(client, prompt="settings?", max_tokens=1000, **request).choices[0].text)


def test_a_completion(client):
    answer = complete(client, max_tokens=9)
    assert answer.id.startswith("cmpl-") and answer.object == "text_completion" and answer.created > 10**9
    assert answer.model == answer.system_fingerprint == "lines/versions/1"
    (choice,) = answer.choices
    assert (choice.index, choice.text, choice.finish_reason, choice.logprobs) == (
        0,
        "OnceOnce ",
        "length",
        None,
    )
    assert choice.truncated is False
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        4,
        9,
        13,
    )


def test_a_chat_completion(client):
    messages = [{"role": "developer", "content": "Be brief."}, *HELLO, {"role": "assistant", "content": "嗯"}]
    messages += [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "😀"}]}]
    answer = chat(client, messages=messages, max_completion_tokens=100, seed=5)
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    (choice,) = answer.choices
    said = "system:Be brief.\nuser:你好\nassistant:嗯\nuser:a\n😀\n"
    assert choice.message.role == "assistant" and choice.message.content == written(said, 5, 100)[0]
    assert choice.finish_reason == "length"
    assert answer.usage.prompt_tokens == len("Be brief.你好嗯a\n😀")
    assert answer.usage.completion_tokens == len(choice.message.content)


def test_each_prompt_has_n_texts(client):
    answer = complete(client, prompt=["Once", "从前"], n=3, seed=17, echo=True, user="me")
    texts = [choice.text for choice in answer.choices]
    assert texts == [
        prompt + written(prompt, 17 + place)[0] for prompt in ("Once", "从前") for place in range(3)
    ]
    assert [choice.index for choice in answer.choices] == list(range(6))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 6 * OWN.max_new_tokens)


@pytest.mark.parametrize("stop", ["time", ["山里", "time"], "none such"])
def test_stop_texts_end_it(client, stop):
    stops = [stop] if isinstance(stop, str) else stop
    text, reason = written("x", 0, 60, stops)
    choice = complete(client, prompt="x", max_tokens=60, stop=stop).choices[0]
    assert (choice.text, choice.finish_reason) == (text, reason)


def test_streamed_equals_unstreamed(client):
    request = {"prompt": ["Once", "你好😀"], "n": 2, "seed": 3, "max_tokens": 30, "stop": "山"}
    whole = complete(client, **request, echo=True)
    chunks = list(complete(client, **request, echo=True, stream=True, stream_options={"include_usage": True}))
    *chunks, last = chunks
    assert last.choices == [] and last.usage == whole.usage
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks)
    texts, reasons = [""] * 4, {}
    for chunk in chunks:
        (choice,) = chunk.choices
        assert choice.index not in reasons and chunk.id == last.id and chunk.object == "text_completion"
        texts[choice.index] += choice.text
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices]
    assert [reasons[index] for index in range(4)] == [choice.finish_reason for choice in whole.choices]
    assert len(chunks) > 12


def test_a_streamed_chat_equals_an_unstreamed_one(client):
    whole = chat(client, max_tokens=25)
    first, *chunks, last = chat(client, max_tokens=25, stream=True)
    assert first.choices[0].delta.role == "assistant" and first.object == "chat.completion.chunk"
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == whole.choices[0].message.content
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason == "length"
    assert last.choices[0].delta.content is None and "usage" not in last.model_fields_set


def test_a_stream_ends_as_clients_expect(served):
    body = {"model": "chat", "messages": HELLO, "max_tokens": 1, "seed": 0, "stream": True}
    status, headers, answer = ask(served[1], body, "/v1/chat/completions")
    *chunks, last = answer.decode().removesuffix("\n\n").split("\n\n")
    assert (
        status == 200 and headers["Content-Type"].startswith("text/event-stream") and last == "data: [DONE]"
    )
    fields = [json.loads(chunk.removeprefix("data: "))["choices"][0] for chunk in chunks]
    assert [choice["delta"] for choice in fields] == [
        {"role": "assistant", "content": ""},
        {"content": "u"},
        {},
    ]
    assert [choice["finish_reason"] for choice in fields] == [None, None, "length"]


def test_the_asynchronous_client_streams(served):
    async def ask():
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{served[1]}/v1", api_key="none", max_retries=0
        ) as client:
            chunks = await client.chat.completions.create(model="chat", messages=HELLO, seed=0, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    assert asyncio.run(ask()) == written("user:你好\n")[0]


def test_settings_left_out_are_the_models_own(client):
    found = fields(client)
    assert (found["temperature"], found["top_k"], found["stop"]) == (["0.5"], ["7"], ["▮"])
    assert len(complete(client).choices[0].text) == OWN.max_new_tokens


def test_settings_arrive_under_their_own_names(client):
    extra = {
        "top_k": 3,
        "min_p": 0.25,
        "typical_p": 0.5,
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 2,
    }
    found = fields(
        client,
        temperature=0,
        top_p=0.75,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        seed=9,
        stop=["a", "b"],
        logit_bias={"17": -100, "5": -100},
        extra_body={**extra, "min_tokens": 4, "choices": ["yes", "不"]},
    )
    expected = {name: [f"{value:g}"] for name, value in extra.items()}
    expected |= {
        "temperature": ["0"],
        "top_p": ["0.75"],
        "presence_penalty": ["0.5"],
        "frequency_penalty": ["-0.5"],
    }
    expected |= {"seed": ["9"], "stop": ["a", "b"], "banned_ids": ["17", "5"], "choices": ["yes", "不"]}
    assert found == {**fields(client), **expected, "min_new_tokens": ["4"], "max_new_tokens": ["1000"]}


def test_a_seed_left_out_is_drawn(client):
    seeds = {fields(client, seed=None)["seed"][0] for _ in range(4)}
    assert len(seeds) == 4 and all(0 <= int(seed) < 2**63 for seed in seeds)


@pytest.mark.parametrize("usage", [False, True])
def test_probabilities_are_streamed(client, usage):
    options = {"stream_options": {"include_usage": True}} if usage else {}
    request = {"max_tokens": 5, "n": 2, "logprobs": True, "top_logprobs": 2}
    whole, chunks = chat(client, **request), list(chat(client, **request, stream=True, **options))
    assert [chunk.usage for chunk in chunks if not chunk.choices] == [whole.usage] * usage
    for choice in whole.choices:
        pieces = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert pieces[0].delta.role == "assistant"
        assert "".join(piece.delta.content or "" for piece in pieces) == choice.message.content
        fields = [token for piece in pieces if piece.logprobs for token in piece.logprobs.content]
        assert fields == choice.logprobs.content and len(fields) == 5
        assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    request = {"prompt": ["你", "Once"], "max_tokens": 4, "logprobs": 1}
    whole, chunks = complete(client, **request), list(complete(client, **request, stream=True))
    for choice in whole.choices:
        pieces = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert "".join(piece.text for piece in pieces) == choice.text
        assert [piece.logprobs for piece in pieces if piece.logprobs] == [choice.logprobs]


def test_a_bias_of_nothing_changes_nothing(client):
    assert fields(client, logit_bias={"5": 0})["banned_ids"] == fields(client)["banned_ids"]
    assert fields(client, logit_bias={"5": 0, "17": -100})["banned_ids"] == ["17"]


def test_fields_that_change_nothing_are_ignored(client):
    request = {
        "store": False,
        "metadata": {"a": "b"},
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": True,
    }
    request |= {"response_format": {"type": "text"}, "logit_bias": {}, "n": None, "service_tier": "auto"}
    message = {**HELLO[0], "name": "Ann", "refusal": None, "tool_calls": None}
    found = chat(client, messages=[message], extra_body=request).choices[0].message.content
    assert found == written("user:你好\n")[0]


def test_completions_tell_probabilities(client):
    found = complete(client, prompt="你", max_tokens=3, logprobs=2).choices[0].logprobs
    assert found.tokens == ["你", "O", "n"] and found.text_offset == [0, 1, 2]
    shares = [-ord(token) / 1024 for token in found.tokens]
    assert found.token_logprobs == pytest.approx(shares)
    assert [list(each) for each in found.top_logprobs] == [["你1", "你"], ["O1", "O"], ["n1", "n"]]
    assert found.top_logprobs[0] == pytest.approx({"你": shares[0], "你1": shares[0] - 1})
    assert complete(client, logprobs=0).choices[0].logprobs.top_logprobs is None
    assert complete(client, logprobs=1, max_tokens=0).choices[0].logprobs.tokens == []


def test_chats_tell_probabilities(client):
    found = chat(client, logprobs=True, top_logprobs=2, n=2).choices[1].logprobs.content
    assert len(found) == OWN.max_new_tokens
    assert bytes(found[0].bytes).decode() == found[0].token
    assert [each.token for each in found[0].top_logprobs] == [found[0].token, found[0].token + "1"]
    assert found[0].top_logprobs[0].logprob == found[0].logprob
    assert chat(client, logprobs=True).choices[0].logprobs.content[0].top_logprobs == []


@pytest.mark.parametrize(
    "history",
    [
        [{"role": "system", "content": "Be brief."}],
        [*HELLO, {"role": "assistant", "content": "嗯"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}] * 2,
    ],
)
def test_an_answer_with_a_history_has_probabilities(client, history):
    """Those of the whole conversation: the model takes 1 off for each message after the first."""
    request = {"messages": [*history, *HELLO], "logprobs": True, "top_logprobs": 2, "n": 2, "max_tokens": 9}
    whole, chunks = chat(client, **request), list(chat(client, **request, stream=True))
    for choice in whole.choices:
        content = choice.logprobs.content
        assert "".join(each.token for each in content) == choice.message.content
        expected = [-ord(each.token) / 1024 - len(history) for each in content]
        assert [each.logprob for each in content] == pytest.approx(expected)
        assert all(each.top_logprobs[0].token == each.token for each in content)
        pieces = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert "".join(piece.delta.content or "" for piece in pieces) == choice.message.content
        streamed = [token for piece in pieces if piece.logprobs for token in piece.logprobs.content]
        assert streamed == content and len(streamed) == 9


@pytest.mark.parametrize("stream", [False, True])
def test_an_older_export_has_probabilities_of_one_message_alone(client, monkeypatch, stream):
    now = ServedModel.signatures.fget
    monkeypatch.setattr(
        ServedModel,
        "signatures",
        property(
            lambda model: {name: value for name, value in now(model).items() if name != "chat_alternatives"}
        ),
    )
    assert chat(client, logprobs=True).choices[0].logprobs.content
    for history in (
        [{"role": "system", "content": "请简短。"}],
        [*HELLO, {"role": "assistant", "content": "嗯"}],
    ):
        with pytest.raises(
            openai.BadRequestError, match=r"no signature 'chat_alternatives'.*Export the model again"
        ):
            list(chat(client, messages=[*history, *HELLO], logprobs=True, stream=stream))


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
def test_models_are_listed_and_found(served, prefix):
    """`/v1` is what a client's `base_url` usually ends with."""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{served[1]}{prefix}", api_key="none", max_retries=0
    ) as client:
        _list_and_find(client)


def _list_and_find(client):
    assert [model.id for model in client.models.list()] == WRITERS
    for name in ("chat", "chat/versions/1", "chat/labels/stable"):
        found = client.models.retrieve(name)
        assert (found.id, found.object, found.owned_by) == (name, "model", "tflm")
        assert found.created > 10**9 and [each["state"] for each in found.model_version_status] == [
            "AVAILABLE"
        ]
        assert chat(client, model=name).model == "chat/versions/1"
    for name in ("none", "chat/versions/7", "chat/labels/none", "chat/7", "a:b"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve(name)
        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")
        with pytest.raises(openai.NotFoundError):
            chat(client, model=name)


def test_both_prefixes_answer_and_the_rest_is_tensorflow_servings(served):
    def asked(path, body, method="POST"):
        status, _, answer = ask(served[1], body, path, method)
        return status, json.loads(answer)

    body = {"model": "lines", "prompt": "a", "seed": 0}
    first, second = (asked(f"{prefix}/completions", body)[1] for prefix in ("/v1", "/openai/v1"))
    assert first["choices"] == second["choices"]
    status, listed = asked("/v1/models", b"", "GET")
    assert (status, listed["object"], [each["id"] for each in listed["data"]]) == (200, "list", WRITERS)
    status, found = asked("/v1/models/chat", b"", "GET")
    assert (status, set(found)) == (200, {"model_version_status"})
    assert asked("/v1/models/none", b"", "GET")[1] == {"error": "Could not find any versions of model none"}
    status, answer = asked("/openai/v1/embeddings", {})
    assert status == 404
    assert answer["error"]["message"].startswith("Unknown request URL: POST /openai/v1/embeddings.")


@pytest.mark.parametrize(
    ("request_", "words", "param"),
    [
        ({"model": "reviews"}, "does not generate text: it has no signature 'generate'", None),
        ({"model": "old"}, "Export the model again", None),
        ({"model": "old", "stream": True}, "Export the model again", None),
        ({"top_p": 7}, "top_p is 7", "top_p"),
        ({"temperature": "x", "stream": True}, "temperature takes float", "temperature"),
        ({"stop": [""]}, "stop is", "stop"),
        ({"n": 0}, "n is 0", "n"),
        ({"extra_body": {"min_tokens": 50}, "max_tokens": 4}, "min_new_tokens is 50", "min_tokens"),
        ({"prompt": "fail?"}, "it failed at once", None),
        ({"prompt": "fail?", "stream": True}, "it failed at once", None),
    ],
)
def test_what_cannot_be_honoured_is_refused(client, request_, words, param):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **request_)
    assert words in caught.value.message and caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_a_model_that_goes_on_with_texts_is_asked_for_no_chat(client):
    with pytest.raises(
        openai.BadRequestError, match="lines/1 is not a chat model: it has no signature 'chat'"
    ):
        chat(client, model="lines")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": ' + b"[" * 100_000], ids=range(4))
def test_bodies_that_are_no_json_are_refused(served, body):
    status, _, answer = ask(served[1], body, "/v1/completions")
    assert status == 400 and json.loads(answer)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/completions", "/openai/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_bodies_that_are_not_utf8_are_refused(served, path, stream):
    request = {"model": "chat", "max_tokens": 3, "stream": stream}
    request |= {"messages": [{"role": "user", "content": "温州"}]} if "chat" in path else {"prompt": "温州"}
    text = json.dumps(request, ensure_ascii=False)
    for encoding, words in (
        ("gbk", f"byte 0xCE at offset {text.index('温')}"),
        ("utf-16", "body is UTF-16, from byte offset 0"),
    ):
        status, _, answer = ask(served[1], text.encode(encoding), path)
        error = json.loads(answer)["error"]
        assert (status, error["type"]) == (400, "invalid_request_error") and words in error["message"]
    declared = {"Content-Type": "application/json; charset=gbk"}
    status, _, answer = ask(served[1], text.encode(), path, **declared)
    assert status == 400 and "charset=gbk" in json.loads(answer)["error"]["message"]
    assert ask(served[1], b"\xef\xbb\xbf" + text.encode(), path)[0] == 200


@pytest.mark.parametrize("text", ["\ud800", "你好\udc80", "\ude00\ud83d"])
def test_half_of_a_surrogate_pair_is_refused(served, text):
    for body in ({"prompt": text}, {"prompt": "a", "stop": text}):
        status, _, answer = ask(served[1], {"model": "lines", **body}, "/v1/completions")
        assert status == 400 and "surrogate pair in string is invalid" in answer.decode()


def test_an_error_in_the_stream_is_raised(client):
    with pytest.raises(openai.APIError, match="it failed later"):
        list(complete(client, prompt="fail later?", stream=True))


def test_who_leaves_a_stream_ends_the_writing(served, client):
    manager = served[0]
    stream = complete(client, model="slow", prompt="0", stream=True)
    next(iter(stream))
    until(lambda: manager.status("slow")[0].in_flight == 1)
    stream.close()
    until(lambda: manager.status("slow")[0].in_flight == 0, LATER / 2)


def test_a_conversation_may_have_more_messages_than_a_request_rows():
    """Its tokens are counted all the same."""
    options = ServingOptions(max_rows=2)
    servable = Servable(f"{folder()}/chat/1", "chat", 1, options)
    messages = [{"role": "user", "content": "a" * size} for size in (1, 2, 3, 4, 5)]
    wanted = read_chat({"model": "chat", "messages": messages})
    assert openai_api._count_prompts(ServedModel(servable), wanted) == 15
    servable.close()
