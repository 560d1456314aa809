"""Longer than one request: requests that follow each other, by a scripted model and by a real one."""

import pytest

from tflm.errors import UsageError
from tflm.serving.handle.continuation import continue_texts
from tflm.serving.handle.results import Generated


class Scripted:
    """Writes "0123456789..." after a prompt "name:", a character a token, and ends where `ends` says."""

    def __init__(self, ends=None):
        self.ends, self.requests = ends or {}, []

    def __call__(self, texts, seeds, **changes):
        self.requests.append((list(texts), list(seeds), changes))
        return [self.answer(text, changes["max_new_tokens"]) for text in texts]

    def answer(self, text, count):
        name, _, written = text.partition(":")
        full = "".join(str(n % 10) for n in range(100))[: self.ends.get(name, 100)]
        new = full[len(written) :][:count]
        return Generated(new, len(new), -float(len(new)), truncated=len(text) > 9)


def test_requests_follow_each_other_to_the_length():
    model = Scripted(ends={"b": 11})
    first, second = continue_texts(model, ["a:", "b:"], [5, 6], 19, max_new_tokens=8, max_length=20)
    assert first == Generated("0123456789012345678", 19, -19.0, truncated=False)
    assert second == Generated("01234567890", 11, -11.0, truncated=False)
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
    model = Scripted()
    continue_texts(model, ["a:"], [0], 9, max_new_tokens=8, max_length=10)
    assert [request[2]["max_new_tokens"] for request in model.requests] == [5, 4]


def test_where_a_server_does_not_tell_its_length():
    model = Scripted()
    continue_texts(model, ["a:"], [0], 9, max_new_tokens=8)
    assert [request[2]["max_new_tokens"] for request in model.requests] == [8, 1]


def test_the_least_number_of_tokens_is_for_the_whole():
    model = Scripted()
    continue_texts(model, ["a:"], [0], 12, max_new_tokens=5, min_new_tokens=8, max_length=10)
    assert [request[2]["min_new_tokens"] for request in model.requests] == [5, 3, 0]


def test_half_a_character_is_left_to_the_next_request():
    model = Scripted()
    model.answer = lambda text, count: Generated("你\ufffd", count, -1.0)
    (found,) = continue_texts(model, [""], [0], 16, max_new_tokens=8)
    assert found.text == "你你\ufffd"


def test_a_model_that_gets_nowhere_comes_to_an_end():
    model = Scripted()
    model.answer = lambda text, count: Generated("", count, -1.0)
    assert continue_texts(model, ["a"], [0], 10**6, max_new_tokens=8)[0].text == ""
    assert len(model.requests) == 1


def test_requests_of_no_tokens():
    with pytest.raises(UsageError, match=r"^a long text goes in requests of max_new_tokens: give 1 or more"):
        continue_texts(Scripted(), ["a"], [0], 10, max_new_tokens=0)


def test_three_requests_are_one_where_all_of_it_fits(loaded):
    """Greedily, of a model whose tokens are bytes."""
    model, texts = loaded("tiny_decoder", "folder"), ["def ", "import 你"]
    settings = {"temperature": 0, "min_new_tokens": 18}
    whole = model.generate(texts, max_new_tokens=18, **settings)
    assert model.continue_text(texts, 18, max_new_tokens=18, **settings) == whole
