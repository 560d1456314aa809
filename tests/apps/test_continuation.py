"""Longer than one request: requests that follow each other, by a scripted model and by a real one."""

import json
import types

import pytest

from apps.continuation import continue_texts
from tflm.errors import UsageError


class Scripted:
    """Writes "0123456789..." after a prompt "name:", a character a token, and ends where `ends` says."""

    def __init__(self, max_length=20, ends=None, **settings):
        self.model = types.SimpleNamespace(config={"model": {"max_length": max_length}})
        self.settings = {"max_new_tokens": 8, "min_new_tokens": 0, **settings}
        self.ends, self.requests = ends or {}, []

    def __call__(self, texts, seeds, **changes):
        self.requests.append((list(texts), list(seeds), changes))
        return [self.answer(text, changes["max_new_tokens"]) for text in texts]

    def answer(self, text, count):
        name, _, written = text.partition(":")
        full = "".join(str(n % 10) for n in range(100))[: self.ends.get(name, 100)]
        new = full[len(written) :][:count]
        return {"text": new, "num_tokens": len(new), "log_probability": -float(len(new))}


def test_requests_follow_each_other_to_the_length():
    model = Scripted(ends={"b": 11})
    first, second = continue_texts(model, ["a:", "b:"], [5, 6], length=19)
    assert first == {"text": "0123456789012345678", "num_tokens": 19, "log_probability": -19.0}
    assert second == {"text": "01234567890", "num_tokens": 11, "log_probability": -11.0}
    assert [request[0] for request in model.requests] == [
        ["a:", "b:"],
        ["a:01234567", "b:01234567"],
        ["a:0123456789012345"],
    ]
    assert [request[2]["max_new_tokens"] for request in model.requests] == [8, 8, 3]
    assert model.requests[0][1] == [5, 6]
    later = [seed for request in model.requests[1:] for seed in request[1]]
    assert len({5, 6, *later}) == 2 + len(later), "no two requests draw alike"


def test_a_request_leaves_half_of_the_model_to_what_came_before():
    model = Scripted(max_length=10)
    continue_texts(model, ["a:"], [0], length=9)
    assert [request[2]["max_new_tokens"] for request in model.requests] == [5, 4]


def test_where_a_server_does_not_tell_its_length():
    model = Scripted()
    model.model.config = {}
    continue_texts(model, ["a:"], [0], length=9)
    assert [request[2]["max_new_tokens"] for request in model.requests] == [8, 1]


def test_the_least_number_of_tokens_is_for_the_whole():
    model = Scripted(min_new_tokens=8, max_new_tokens=5, max_length=10)
    continue_texts(model, ["a:"], [0], length=12)
    assert [request[2]["min_new_tokens"] for request in model.requests] == [5, 3, 0]


def test_half_a_character_is_left_to_the_next_request():
    model = Scripted()
    model.answer = lambda text, count: {"text": "你\ufffd", "num_tokens": count, "log_probability": -1.0}
    (record,) = continue_texts(model, [""], [0], length=16)
    assert record["text"] == "你你\ufffd"


def test_a_model_that_gets_nowhere_comes_to_an_end():
    model = Scripted()
    model.answer = lambda text, count: {"text": "", "num_tokens": count, "log_probability": -1.0}
    assert continue_texts(model, ["a"], [0], length=10**6)[0]["text"] == ""
    assert len(model.requests) == 1


def test_requests_of_no_tokens():
    with pytest.raises(UsageError, match=r"--length goes in requests of --max_new_tokens: give 1 or more"):
        continue_texts(Scripted(max_new_tokens=0), ["a"], [0], length=10)


def test_three_requests_are_one_where_all_of_it_fits(decoder):
    """Greedily, of a model whose tokens are bytes of plain letters."""
    from tflm.serving import connect

    class Real:
        model = connect(decoder.version)

        def __init__(self):
            self.settings = {"max_new_tokens": 10, "min_new_tokens": 30}

        def __call__(self, texts, seeds, **changes):
            texts = list(texts)
            outputs = decoder.exported(texts, temperature=0.0, seed=seeds, **changes)
            counts = [changes["max_new_tokens"]] * len(texts)
            return [
                {"text": text, "num_tokens": count, "log_probability": 0.0}
                for text, count in zip(outputs, counts, strict=True)
            ]

    prompts = ["def ", "import 你"]
    found = [record["text"] for record in continue_texts(Real(), prompts, [0, 0], length=30)]
    assert found == decoder.exported(prompts, temperature=0.0, min_new_tokens=30, max_new_tokens=30)


def test_by_command(decoder, call):
    arguments = (
        "generate",
        f"--model={decoder.model}",
        "--text=def ",
        "--format=json",
        "--min_new_tokens=60",
    )
    done = call(*arguments, "--length=150", "--max_new_tokens=60", "--num_samples=2", "--seed=3")
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.lines]
    assert [record["seed"] for record in records] == [3, 4]
    assert all(60 <= record["num_tokens"] <= 150 for record in records)
    assert records[0]["text"] != records[1]["text"]
    alone = json.loads(call(*arguments, "--length=150", "--max_new_tokens=60", "--seed=4").out)
    # A row alone goes through other kernels than one of two: the sum may differ in its last bits.
    assert alone.pop("log_probability") == pytest.approx(records[1].pop("log_probability"), rel=1e-5)
    assert alone == records[1]
