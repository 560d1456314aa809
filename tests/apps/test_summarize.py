"""Summaries by command; those of long texts part by part, by a scripted model and by a real one."""

import json

from apps.summarize import by_parts, last_read
from tests.apps import small_models
from tests.apps.conftest import rows
from tflm.serving import connect


def count_words(texts):
    return [len(text.split()) for text in texts]


class Scripted:
    """Summarizes to the first word of each sentence that it is given, and keeps what it was asked."""

    def __init__(self):
        self.requests = []

    def __call__(self, texts):
        self.requests.append(list(texts))
        return [" ".join(part.split()[0] for part in text.split(".") if part.strip()) + "." for text in texts]


def test_parts_then_the_summaries_together():
    model = Scripted()
    long, short = "A b c. D e f. G h i. J k l.", "X y."
    found = by_parts([long, short, ""], model, count_words, limit=6)
    assert model.requests == [["A b c. D e f. ", "G h i. J k l.", "X y.", ""], ["A D. G J."]]
    assert found[0] == (
        "A G.",
        [
            {"round": 1, "text": "A b c. D e f.", "summary": "A D."},
            {"round": 1, "text": "G h i. J k l.", "summary": "G J."},
        ],
    )
    assert found[1:] == [("X.", []), (".", [])]
    assert last_read(long, found[0][1]) == "A D. G J." and last_read(short, found[1][1]) == short


def test_round_after_round_until_it_fits():
    model = Scripted()
    sentences = [f"W{n} two three." for n in range(16)]
    ((summary, parts),) = by_parts([" ".join(sentences)], model, count_words, limit=6)
    assert [len(request) for request in model.requests] == [8, 3, 2, 1]
    assert [part["round"] for part in parts] == [1] * 8 + [2] * 3 + [3] * 2
    assert [part["summary"] for part in parts[8:]] == [
        "W0 W2 W4.",
        "W6 W8 W10.",
        "W12 W14.",
        "W0 W6.",
        "W12.",
    ]
    assert summary == "W0 W12."


def test_chinese_summaries_are_joined_without_spaces():
    requests = []

    def first_two(texts):
        requests.append(list(texts))
        return [text[:2] + "。" for text in texts]

    ((summary, parts),) = by_parts(
        ["今天天气很好。明天会下雨吗？"], first_two, lambda texts: [*map(len, texts)], limit=7
    )
    assert requests == [["今天天气很好。", "明天会下雨吗？"], ["今天。明天。"]]
    assert (summary, len(parts)) == ("今天。", 2)


def test_a_model_that_does_not_shorten_comes_to_an_end():
    requests = []

    def echo(texts):
        requests.append(list(texts))
        return [text.strip() for text in texts]

    ((summary, _),) = by_parts(["A b c. D e f. G h i."], echo, count_words, limit=3)
    assert [len(request) for request in requests] == [3, 1]
    assert summary == requests[-1][0] == "A b c. D e f. G h i."


def test_without_a_limit_every_text_is_read_whole():
    model = Scripted()
    assert by_parts(["A b. C d."], model, None, limit=0) == [("A C.", [])]
    assert model.requests == [["A b. C d."]]


LONG = "What is AI? " * 12 + "你好，你是谁？" * 9


def test_a_long_text_by_a_real_model(pairs, call, tmp_path):
    """Its parts are what the model reads whole, and their summaries what it says to each."""
    (tmp_path / "texts.txt").write_text(f"你好\n{LONG}\nHello\n", encoding="utf-8")
    model = connect(pairs.model)
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
    last = last_read(LONG, found[2]["parts"])
    again = [json.loads(x) for x in call("summarize", *beams, f"--text={last}", "--parts=off").lines]
    assert [record["summary"] for record in again] == [record["summary"] for record in found[2:4]]
    assert found[2]["score"] >= found[3]["score"]


def test_the_best_summaries_of_beams(call, tmp_path):
    model = small_models.save(tmp_path, "pairs", "generate", "beam")
    arguments = ("summarize", f"--model={model}", "--text=你 好", "--beam_size=3", "--num_best=2")
    assert call(*arguments).lines == ["-0.5000\t你 好", "-1.5000\t你 好1"]
    first = json.loads(call(*arguments, "--format=json").lines[0])
    assert first == {"text": "你 好", "summary": "你 好", "score": -0.5, "log_probability": -2.0}


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
    assert records == [{"text": t, "summary": s} for t, s in zip(lines, plain.lines, strict=True)]


def test_from_standard_input(chat, call):
    arguments = (f"--model={chat.model}", "--min_new_tokens=3")
    piped = call("summarize", *arguments, stdin="你是谁\n".encode())
    assert piped.out == call("summarize", *arguments, "--text=你是谁").out
    assert piped.out.strip()
