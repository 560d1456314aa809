"""Summaries by command."""

import json


def test_one_line_for_each_text_in_order(chat, call, tmp_path):
    texts = ["What is AI?", "你好\n世界", "Hello"]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    arguments = (f"--model={chat.model}", f"--input={tmp_path}/texts.jsonl", "--min_new_tokens=3")
    plain = call("summarize", *arguments)
    assert plain.code == 0, plain.err
    expected = chat.in_memory(texts, temperature=0.0, min_new_tokens=3, max_new_tokens=36)
    assert plain.lines == [" ".join(text.split()) for text in expected]
    records = [json.loads(line) for line in call("summarize", *arguments, "--format=json").lines]
    assert records == [{"text": t, "summary": s} for t, s in zip(texts, plain.lines, strict=True)]


def test_from_standard_input(chat, call):
    arguments = (f"--model={chat.model}", "--min_new_tokens=3")
    piped = call("summarize", *arguments, stdin="你是谁\n".encode())
    assert piped.out == call("summarize", *arguments, "--text=你是谁").out
    assert piped.out.strip()
