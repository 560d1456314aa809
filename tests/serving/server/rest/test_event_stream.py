"""`:stream`: pieces are the text, settings the model's own unless given, and nothing runs for one who has left."""

import http.client
import json

import pytest

from tests.serving.server.writing_models import LATER, OWN, ask, serving, written
from tests.serving.waiting import until
from tflm.generation import settings_lists
from tflm.serving.server.core.status import ServingError
from tflm.serving.server.core.text_requests import TextRow
from tflm.serving.server.rest import event_stream, server_sent_events
from tflm.serving.server.rest.event_stream import read_rows


@pytest.fixture(scope="module")
def served():
    """(manager, port)."""
    with serving(event_stream.routes) as found:
        yield found


def events(answer):
    """(name, record) of each event; comments are none."""
    found = []
    for block in answer.decode().split("\n\n")[:-1]:
        lines = [line.partition(": ")[::2] for line in block.split("\n") if not line.startswith(":")]
        if lines:
            members = dict(lines)
            found.append((members.get("event", ""), json.loads(members["data"])))
    return found


def texts(answer):
    """What the pieces of each row make, in order, and its last event."""
    *records, last = events(answer)
    assert last == ("end", {}) and not any(name for name, _ in records)
    pieces, ends = {}, {}
    for _, record in records:
        assert record["row"] not in ends
        if "piece" in record:
            assert record["piece"]
            pieces[record["row"]] = pieces.get(record["row"], "") + record["piece"]
        else:
            ends[record["row"]] = record
    assert sorted(ends) == list(range(len(ends)))
    return [pieces.get(row, "") for row in range(len(ends))], [ends[row] for row in range(len(ends))]


def told(port, body, **where):
    """The settings that arrived, of a request whose text is "settings?"."""
    return json.loads(texts(ask(port, body, **where)[2])[0][0])


def test_the_events_are_these(served):
    status, headers, answer = ask(served[1], {"inputs": {"text": "Hi你好😀", "max_new_tokens": 6}})
    assert status == 200
    assert headers["Content-Type"].startswith("text/event-stream")
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-cache", "no")
    end = (
        '{"row": 0, "finish_reason": "length", "num_tokens": 6, "log_probability": -3.0, "truncated": false}'
    )
    assert answer.decode() == (
        'data: {"row": 0, "piece": "H"}\n\ndata: {"row": 0, "piece": "i你好😀"}\n\n'
        f'data: {{"row": 0, "piece": "O"}}\n\ndata: {end}\n\nevent: end\ndata: {{}}\n\n'
    )


@pytest.mark.parametrize("tokens", [1, 3, 1000])
def test_pieces_joined_are_the_text_of_generate(served, tokens):
    prompts, seeds = ["Once", "从前有座山", "", "😀 mixed 中文"], [0, 17, 18, 2**40]
    limits, stops = [40, 25, 60, 0], [[], ["山里", "never"], ["😀"], []]
    rows = [
        {"text": text, "seed": seed, "max_new_tokens": limit, "stop": stop}
        for text, seed, limit, stop in zip(prompts, seeds, limits, stops, strict=True)
    ]
    found, ends = texts(ask(served[1], {"instances": rows, "tokens_per_event": tokens})[2])
    columns = settings_lists(OWN, 4) | {"text": prompts, "seed": seeds, "max_new_tokens": limits}
    columns["stop"] = [[*each, "", ""][:2] for each in stops]
    whole = ask(served[1], {"signature_name": "generate", "inputs": columns}, "/v1/models/lines:predict")[2]
    whole = json.loads(whole)["outputs"]
    assert found == whole["text"]
    for name in ("finish_reason", "num_tokens", "log_probability", "truncated"):
        assert [end[name] for end in ends] == whole[name]
    foretold = [written(*each) for each in zip(prompts, seeds, limits, stops, strict=True)]
    assert list(zip(found, [end["finish_reason"] for end in ends], strict=True)) == foretold


def test_settings_left_out_are_the_models_own(served):
    found = told(
        served[1],
        {"inputs": {"text": "settings?", "max_new_tokens": 1000, "top_p": 0.5, "banned_ids": [7, 5]}},
    )
    assert found["temperature"] == ["0.5"] and found["top_k"] == ["7"] and found["stop"] == ["▮"]
    assert (
        found["max_new_tokens"] == ["1000"]
        and found["top_p"] == ["0.5"]
        and found["banned_ids"] == ["7", "5"]
    )
    assert sorted(found) == sorted(settings_lists(OWN, 1))


def test_lists_of_rows_may_be_of_any_lengths(served):
    rows = [
        {"text": "settings?", "max_new_tokens": 1000, "stop": ["a", "b"], "forced_ids": []},
        {"text": "settings?", "max_new_tokens": 900, "stop": [], "forced_ids": [4, 5, 6]},
    ]
    found = [json.loads(text) for text in texts(ask(served[1], {"instances": rows})[2])[0]]
    assert [each["stop"] for each in found] == [["a", "b"], ["", ""]]
    assert [each["forced_ids"] for each in found] == [["-1", "-1", "-1"], ["4", "5", "6"]]


def test_conversations_are_streamed(served):
    rows = [
        {"roles": ["system", "user"], "messages": ["Be brief.", "你好"], "max_new_tokens": 50},
        {"text": "Hello", "max_new_tokens": 10},
    ]
    found, ends = texts(ask(served[1], {"instances": rows}, "/v1/models/chat:stream")[2])
    assert found[0].startswith("system:Be brief.\nuser:你好\nOnce") and found[1] == "user:Hello"[:10]
    assert ends[0]["num_left_out"] == 0
    body = {"signature_name": "chat", "inputs": {"roles": ["user"], "messages": ["Hi"]}}
    assert texts(ask(served[1], body, "/v1/models/chat/labels/stable:stream")[2])[0] == [
        written("user:Hi\n")[0]
    ]


def test_versions_have_streams_of_their_own(served):
    assert texts(ask(served[1], {"inputs": "a"}, "/v1/models/lines/versions/1:stream")[2])[0] == [
        written("a")[0]
    ]
    status, _, answer = ask(served[1], {"inputs": "a"}, "/v1/models/lines/versions/9:stream")
    assert (status, json.loads(answer)) == (
        404,
        {"error": "Servable not found for request: Specific(lines, 9)"},
    )


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"instances": ["a", {"b64": "5L2g"}]}, [TextRow(b"a"), TextRow("你".encode())]),
        ({"inputs": "a"}, [TextRow(b"a")]),
        ({"inputs": {"b64": "5L2g"}}, [TextRow("你".encode())]),
        ({"inputs": ["a", "b"]}, [TextRow(b"a"), TextRow(b"b")]),
        ({"inputs": {"text": "a", "stop": ["x", ""]}}, [TextRow(b"a", settings={"stop": ["x"]})]),
        (
            {"inputs": {"text": ["a", "b"], "seed": [1, 2], "banned_ids": [[-1, 5], [6, 7]]}},
            [
                TextRow(b"a", (), {"seed": 1, "banned_ids": [5]}),
                TextRow(b"b", (), {"seed": 2, "banned_ids": [6, 7]}),
            ],
        ),
        (
            {"inputs": {"roles": ["user"], "messages": ["你"]}},
            [TextRow(messages=((b"user", "你".encode()),))],
        ),
        (
            {"inputs": {"roles": [["user", ""]], "messages": [["a", ""]]}},
            [TextRow(messages=((b"user", b"a"), (b"", b"")))],
        ),
    ],
)
def test_requests_come_in_rows_and_columns(body, rows):
    assert read_rows(body) == rows


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": "a", "tokens": 1}, "Unknown member 'tokens'"),
        ({}, "either 'inputs' or 'instances'"),
        ({"inputs": "a", "instances": ["a"]}, "either 'inputs' or 'instances'"),
        ({"instances": []}, "list of one row or more"),
        ({"instances": "a"}, "list of one row or more"),
        ({"inputs": {"text": ["a", "b"], "seed": [1]}}, "one value a row; got lengths"),
        ({"inputs": {"text": ["a"], "seed": 1}}, "one value a row; got lengths"),
        ({"instances": [5]}, "A row is an object or a text; got 5"),
        ({"instances": [{"seed": 1}]}, "either 'text' or 'roles'"),
        ({"instances": [{"text": "a", "roles": ["user"], "messages": ["a"]}]}, "either 'text' or 'roles'"),
        ({"instances": [{"text": 5}]}, "'text' holds 5"),
        ({"instances": [{"roles": ["user"], "messages": []}]}, "lists of the same length"),
        ({"instances": [{"roles": ["user"], "messages": [None]}]}, "'messages' holds null"),
    ],
)
def test_requests_of_other_forms_are_refused(body, words):
    with pytest.raises(ServingError, match=words) as caught:
        read_rows(body)
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("none", {"inputs": "a"}, 404, "Servable not found for request: Latest(none)"),
        ("lines", b"{", 400, "JSON Parse error"),
        ("lines", b'{"inputs": ' + b"[" * 100_000, 400, "Nested too deep"),
        ("lines", {"inputs": {"text": "a", "top_p": 7}}, 400, "top_p is 7"),
        (
            "lines",
            {"inputs": {"text": "a", "top_q": 7}},
            400,
            "there is no setting top_q. Did you mean top_p?",
        ),
        ("lines", {"inputs": {"text": "a", "seed": "x"}}, 400, "seed takes int"),
        ("lines", {"inputs": "a", "tokens_per_event": 0}, 400, "tokens_per_event is 0"),
        ("lines", {"inputs": "a", "signature_name": "score"}, 400, "expected one of generate, chat"),
        ("lines", {"inputs": "a", "signature_name": "chat"}, 400, "is not a chat model"),
        ("chat", {"inputs": "a", "signature_name": "chat"}, 400, "takes 'roles' and 'messages'"),
        ("lines", {"inputs": {"roles": ["user"], "messages": ["a"]}}, 400, "give 'text'"),
        ("slow", {"inputs": {"text": "1", "top_k": 4}}, 400, "has no setting 'top_k'"),
        (
            "old",
            {"inputs": "a"},
            400,
            "has no finish_reason, truncated: it was exported by an older version of tflm",
        ),
        ("reviews", {"inputs": "a"}, 400, "no signatures 'prefill' and 'decode'"),
        ("lines", {"inputs": "fail?"}, 400, "it failed at once"),
    ],
)
def test_an_error_before_the_stream_has_a_status(served, name, body, status, words):
    found, headers, answer = ask(served[1], body, f"/v1/models/{name}:stream")
    assert found == status and headers["Content-Type"] == "application/json"
    assert words in json.loads(answer)["error"]


@pytest.mark.parametrize("version", ["1" * 5000, "9" * 19, "x"])
def test_a_version_that_is_no_number(served, version):
    status, _, answer = ask(served[1], {"inputs": "a"}, f"/v1/models/lines/versions/{version}:stream")
    assert (status, json.loads(answer)["error"]) == (400, f"Failed to convert version: {version} to numeric.")


def test_an_error_in_the_stream_is_its_last_event(served):
    status, _, answer = ask(served[1], {"inputs": "fail later?"})
    first, (name, record) = events(answer)
    assert status == 200 and first == ("", {"row": 0, "piece": "f"})
    assert name == "error" and "it failed later" in record["error"]


def test_what_is_not_a_post_is_tensorflow_servings_affair(served):
    status, _, answer = ask(served[1], b"", method="GET")
    assert (status, json.loads(answer)) == (400, {"error": "Malformed request: GET /v1/models/lines:stream"})


def test_a_client_that_leaves_ends_the_writing(served):
    manager, port = served
    for seconds in ("0", str(LATER)):  # after the first piece, and before it
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/v1/models/slow:stream", json.dumps({"inputs": seconds}))
        if seconds == "0":
            assert connection.getresponse().readline().startswith(b"data: ")
        until(lambda: manager.status("slow")[0].in_flight == 1)
        connection.close()
        until(lambda: manager.status("slow")[0].in_flight == 0, LATER / 2)


def test_comments_tell_that_it_is_at_work(served, monkeypatch):
    monkeypatch.setattr(server_sent_events, "HEARTBEAT_SECONDS", 0.05)
    connection = http.client.HTTPConnection("127.0.0.1", served[1], timeout=30)
    connection.request("POST", "/v1/models/slow:stream", json.dumps({"inputs": "0.5"}))
    response = connection.getresponse()
    lines = [response.readline()]
    while not lines[-1].startswith(b"data: "):
        lines.append(response.readline())
    connection.close()
    assert lines[:2] == [b": keep-alive\n", b"\n"]
    until(lambda: served[0].status("slow")[0].in_flight == 0)


def test_each_piece_has_its_deadline(monkeypatch):
    with serving(event_stream.routes, names=["slow"], timeout_seconds=2.0) as (manager, port):
        late = {"error": "Timed out waiting for notification"}
        status, _, answer = ask(port, {"inputs": str(LATER)}, "/v1/models/slow:stream")
        assert (status, json.loads(answer)) == (504, late)
        status, _, answer = ask(port, {"inputs": "0"}, "/v1/models/slow:stream")
        assert status == 200 and events(answer)[-1] == ("error", late)
        monkeypatch.setattr(server_sent_events, "HEARTBEAT_SECONDS", 0.05)
        status, _, answer = ask(port, {"inputs": str(LATER)}, "/v1/models/slow:stream")
        assert status == 200 and events(answer) == [("error", late)]
        until(lambda: manager.status("slow")[0].in_flight == 0)


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-16-le"])
def test_a_body_that_is_not_utf8_is_refused(served, encoding):
    body = '{"inputs": {"text": "今天天气不错", "max_new_tokens": 4}}'.encode(encoding)
    status, headers, answer = ask(served[1], body)
    assert status == 400 and headers["Content-Type"] == "application/json"
    message = json.loads(answer)["error"]
    assert ("byte 0xBD at offset 21" if encoding == "gbk" else encoding.upper()) in message
    assert "Send the JSON as UTF-8" in message


def test_base64_holds_any_bytes(served):
    """As in TensorFlow Serving: it is for what is not UTF-8."""
    status, _, answer = ask(served[1], {"inputs": {"text": {"b64": "vfEg"}, "max_new_tokens": 4}})
    assert status == 200 and texts(answer)[0][0].startswith("\ufffd\ufffd")
