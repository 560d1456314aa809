"""The benchmarks of public chat checkpoints: their tables and their data. The sides need real weights."""

import importlib.util
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(text, num_tokens, seconds):
    return [{"text": text, "num_tokens": num_tokens, "first": 0.5, "all": 0.5 + seconds}]


def test_the_table_counts_tokens_after_the_first_and_equal_answers():
    peer = {"load": 3.0, "peak_bytes": 2**30, "answers": answers("你好", 3, 4.0)}
    ours = {"load": 1.0, "peak_bytes": 2**31, "answers": answers("你好", 3, 1.0)}
    other = {"load": 2.0, "peak_bytes": 2**29, "answers": answers("hello", 5, 1.0)}
    results = {"rest_float32": [ours, ours], "rest_bfloat16": [other], "transformers_float32": [peer]}
    assert load("public_checkpoint").table(results).splitlines()[2:] == [
        "| tflm, REST, float32 | 2.0 | 500 | 1.0 | 2.00 | 1 of 1 |",
        "| tflm, REST, bfloat16 | 4.0 | 500 | 2.0 | 0.50 | 0 of 1 |",
        "| transformers, float32 | 0.5 | 500 | 3.0 | 1.00 | 1 of 1 |",
    ]


def test_an_unknown_side():
    load("public_checkpoint")
    peers = sys.modules["peers"]
    assert peers.chosen_sides(["b", "a"], ["a", "b", "c"]) == ["a", "b"]
    with pytest.raises(SystemExit, match=r"--sides has \['d'\], expected some of a, b, c"):
        peers.chosen_sides(["a", "d"], ["a", "b", "c"])


def test_no_held_out_question_is_trained_on_and_each_answer_is_right():
    conversations = load("chat_fine_tuning").conversations
    trained, held_out = list(conversations(held_out=False)), list(conversations(held_out=True))
    assert (len(trained), len(held_out)) == (200, 40)
    assert not {question for question, _, _ in trained} & {question for question, _, _ in held_out}
    assert all(mark in answer for _, answer, mark in trained + held_out)
    assert {answer for _, answer, _ in trained} == {answer for _, answer, _ in held_out}
