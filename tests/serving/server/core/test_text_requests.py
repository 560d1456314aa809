"""Requests filled up from the model's own settings."""

import pytest

from tests.serving.server.writing_models import OWN, serving, written
from tflm.generation import settings_lists
from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.core.status import ServingError
from tflm.serving.server.core.telemetry import gathering
from tflm.serving.server.core.text_requests import TextRow, check_writes, inputs_of, write_in_pieces


@pytest.fixture(scope="module")
def models():
    """Name to `ServedModel`."""
    names = ("chat", "lines", "reviews")
    with serving(names=names) as (manager, _):
        found = {}
        for name in names:
            with manager.use(name) as servable:
                found[name] = ServedModel(servable)
        yield found


def test_a_request_has_every_input(models):
    rows = [
        TextRow(messages=((b"system", b"x"), (b"user", "你".encode()))),
        TextRow(b"Hi", settings={"top_k": 5, "stop": ["a", "不"], "banned_ids": [3]}),
    ]
    inputs = inputs_of(models["chat"], "prefill", rows)
    assert inputs == {
        **settings_lists(OWN, 2),
        "roles": [[b"system", b"user"], [b"user", b""]],
        "messages": [[b"x", "你".encode()], [b"Hi", b""]],
        "top_k": [7, 5],
        "stop": [["▮".encode(), b""], [b"a", "不".encode()]],
        "banned_ids": [[-1], [3]],
        "choices": [[b""], [b""]],
    }
    assert inputs_of(models["chat"], "generate", [TextRow(b"Hi")])["text"] == [b"Hi"]


def test_conversations_are_for_models_that_hold_them(models):
    with pytest.raises(ServingError, match="lines/1 is not a chat model: give 'text'"):
        inputs_of(models["lines"], "prefill", [TextRow(messages=((b"user", b"a"),))])
    with pytest.raises(
        ServingError,
        match="reviews/1 does not generate text: it has no signature 'generate', but: serving_default",
    ):
        check_writes(models["reviews"], "generate")


def test_what_is_written_is_told_and_noted(models):
    rows = [
        TextRow(b"a"),
        TextRow(b"b", settings={"max_new_tokens": 5}),
        TextRow(b"", settings={"max_new_tokens": 0}),
    ]
    with gathering() as noted:
        records = list(write_in_pieces(models["lines"], rows, 2))
    texts = ["".join(each.get("piece", "") for each in records if each["row"] == row) for row in range(3)]
    assert texts == [written("a")[0], written("b", 0, 5)[0], ""]
    ends = {each["row"]: each for each in records if "finish_reason" in each}
    assert ends[1] == {
        "row": 1, "finish_reason": "length", "num_tokens": 5, "log_probability": -2.5, "truncated": False,
    }  # fmt: skip
    assert noted.num_tokens == OWN.max_new_tokens + 5


def test_a_long_list_of_many_rows_is_refused(models):
    """A request of kilobytes would fill gigabytes."""
    rows = [TextRow(b"a", settings={"stop": ["x"] * 2**12}), *[TextRow(b"a")] * 2**10]
    with pytest.raises(
        ServingError, match="1025 rows, with 4096 values in the longest list, are 4198400 values"
    ):
        inputs_of(models["lines"], "prefill", rows)
