"""Summaries by command; those of long texts part by part."""

import json

from tests.apps import small_models
from tests.apps.conftest import load_once, rows
from tflm.serving.handle.results import SummaryPart
from tflm.serving.handle.summary import last_read

LONG = "What is AI? " * 12 + "你好，你是谁？" * 9


def test_a_long_text_by_a_real_model(pairs, call, tmp_path):
    """Its parts are what the model reads whole, and their summaries what it says to each."""
    (tmp_path / "texts.txt").write_text(f"你好\n{LONG}\nHello\n", encoding="utf-8")
    model = load_once(pairs.model)
    arguments = (
        f"--model={pairs.model}",
        f"--input={tmp_path}/texts.txt",
        "--max_new_tokens=6",
        "--min_new_tokens=6",
    )
    done = call("summarize", *arguments, "--format=json", "--show_parts")
    assert done.code == 0, done.err
    short, long, other = map(json.loads, done.lines)
    assert short["parts"] == other["parts"] == []
    first = [part for part in long["parts"] if part["round"] == 1]
    assert len(first) > 2 and "".join("".join(part["text"] for part in first).split()) == "".join(
        LONG.split()
    )
    assert max(model.predict("tokenize", {"text": [part["text"] for part in first]})["lengths"]) <= 24

    def alone(text):
        settings = {"temperature": 0.0, "min_new_tokens": 6, "max_new_tokens": 6}
        written = model.predict("generate", {"text": [text], **rows(settings, 1)})["text"][0]
        return " ".join(written.decode().split())

    assert [part["summary"] for part in first] == [alone(part["text"]) for part in first]
    assert short["summary"] == alone("你好")
    shown = call("summarize", *arguments, "--show_parts").lines
    assert shown[1] == long["summary"] and shown[2] == f"  round 1, part 1: {first[0]['summary']}"
    off = call("summarize", *arguments, "--parts=off").lines
    assert off[1] == alone(LONG)
    # By beams the parts are summarized anew, and the best of what was read last are told.
    beams = (*arguments, "--beam_size=3", "--num_best=2", "--format=json")
    found = [json.loads(line) for line in call("summarize", *beams, "--show_parts").lines]
    assert [record["text"] for record in found] == [
        text for text in ("你好", LONG, "Hello") for _ in range(2)
    ]
    last = last_read(LONG, [SummaryPart(**part) for part in found[2]["parts"]])
    again = [json.loads(x) for x in call("summarize", *beams, f"--text={last}", "--parts=off").lines]
    assert [record["summary"] for record in again] == [record["summary"] for record in found[2:4]]
    assert found[2]["score"] >= found[3]["score"]


def test_the_best_summaries_of_beams(call, tmp_path):
    model = small_models.save(tmp_path, "pairs", "generate", "beam")
    arguments = ("summarize", f"--model={model}", "--text=你 好", "--beam_size=3", "--num_best=2")
    assert call(*arguments).lines == ["-0.5000\t你 好", "-1.5000\t你 好1"]
    first = json.loads(call(*arguments, "--format=json").lines[0])
    assert first == {
        "text": "你 好",
        "summary": "你 好",
        "score": -0.5,
        "log_probability": -2.0,
        "truncated": False,
    }


def test_one_line_for_each_text_in_order(chat, call, tmp_path):
    lines = ["What is AI?", "你好\n世界", "Hello"]
    records = [json.dumps({"text": text}, ensure_ascii=False) for text in lines]
    (tmp_path / "texts.jsonl").write_text("\n".join(records), encoding="utf-8")
    arguments = (f"--model={chat.model}", f"--input={tmp_path}/texts.jsonl", "--min_new_tokens=3")
    plain = call("summarize", *arguments)
    assert plain.code == 0, plain.err
    expected = chat.in_memory(lines, temperature=0.0, min_new_tokens=3, max_new_tokens=36)
    assert plain.lines == [" ".join(text.split()) for text in expected]
    records = [json.loads(line) for line in call("summarize", *arguments, "--format=json").lines]
    assert records == [
        {"text": t, "summary": s, "truncated": False} for t, s in zip(lines, plain.lines, strict=True)
    ]


def test_from_standard_input(chat, call):
    arguments = (f"--model={chat.model}", "--min_new_tokens=3")
    piped = call("summarize", *arguments, stdin="你是谁\n".encode())
    assert piped.out == call("summarize", *arguments, "--text=你是谁").out
    assert piped.out.strip()
