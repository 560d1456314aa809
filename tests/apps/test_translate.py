"""Translations by command."""

import json


def test_one_line_for_each_text_in_order(chat, call, tmp_path):
    texts = ["What is AI?", "你好", "Hello"]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    arguments = (f"--model={chat.model}", f"--input={tmp_path}/texts.txt", "--min_new_tokens=3")
    plain = call("translate", *arguments)
    assert plain.code == 0, plain.err
    expected = chat.in_memory(texts, temperature=0.0, min_new_tokens=3, max_new_tokens=36)
    assert plain.lines == [" ".join(text.split()) for text in expected]
    records = [json.loads(line) for line in call("translate", *arguments, "--format=json").lines]
    assert records == [{"text": t, "translation": s} for t, s in zip(texts, plain.lines, strict=True)]
