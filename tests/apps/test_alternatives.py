"""Texts token by token with what might have stood there: numbers of real exports, lines of scripted models."""

import contextlib
import io
import json
import math
import sys

import numpy as np
import pytest

from apps.alternatives import table, visible
from apps.common.tables import is_colored
from tests.apps import small_models
from tests.apps.conftest import built_once, load_once
from tests.apps.refusals import check
from tflm.generation import DecodingConfig, settings_lists

RECORD = {
    "prompt": "1 + 1\n",
    "tokens": ["你好", " x", ""],
    "probabilities": [1.0, 0.25, 0.004],
    "alternatives": [["你好", "\ufffd"], ["\n", " x"], ["。", ""]],
    "alternative_probabilities": [[1.0, 0.0], [0.5, 0.25], [0.1, 0.004]],
}
TABLE = """1·+·1\\n
token   prob.  1             2
你好   100.0%  你好  100.0%  �       0.0%
·x      25.0%  \\n     50.0%  ·x     25.0%
<end>    0.4%  。     10.0%  <end>   0.4%
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name to path of those of `save_writers`, and of one whose tokens are not known."""
    folder = tmp_path_factory.mktemp("no_ids")
    without = small_models.save(folder, "language_modeling", "generate", "alternatives")
    return {**built_once(tmp_path_factory, "writers", small_models.save_writers), "no_ids": without}


def test_columns_line_up_with_chinese_among_them():
    assert table(RECORD, colored=False) == TABLE


def test_colours_from_red_to_green_stand_around_numbers_alone():
    colored = table(RECORD, colored=True)
    assert "\x1b[38;5;46m100.0%\x1b[0m" in colored and "\x1b[38;5;196m  0.4%\x1b[0m" in colored
    plain = colored
    for color in (46, 214, 208, 202, 226, 196):
        plain = plain.replace(f"\x1b[38;5;{color}m", "")
    assert plain.replace("\x1b[0m", "") == TABLE
    assert "\x1b" not in "".join(colored.splitlines()[:2]), "neither the prompt nor the header"


def test_a_text_of_no_tokens():
    empty = {name: [] for name in RECORD} | {"prompt": "你"}
    assert table(empty, colored=True) == "你\ntoken  prob.\n"


def test_what_cannot_be_seen_is_written():
    assert visible(" a\n\r\t") == "·a\\n\\r\\t"
    assert visible("\x1b[31m\u202e\u2028\x85") == "\\x1b[31m\\u202e\\u2028\\x85", (
        "a terminal obeys none of it"
    )
    assert visible("") == "<end>"
    assert visible("语言 e\u0301😀") == "语言·e\u0301😀"


class Stream(io.StringIO):
    """Standard output that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal


def test_colours_in_a_terminal_alone_and_where_they_are_wanted(monkeypatch):
    for terminal, no_color, term, expected in (
        (True, "", "xterm", True),
        (False, "", "xterm", False),
        (True, "1", "xterm", False),
        (True, "", "dumb", False),
    ):
        monkeypatch.setattr(sys, "stdout", Stream(terminal))
        monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setenv("TERM", term)
        assert is_colored() == expected


def test_as_a_table_and_as_json(models, call, tmp_path):
    (tmp_path / "texts.txt").write_text("a \n", encoding="utf-8")
    arguments = ("generate", f"--model={models['complete']}", f"--input={tmp_path}/texts.txt")
    done = call(*arguments, "--show_alternatives=2")
    assert done.code == 0, done.err
    assert done.out == (
        "a·\n"
        "token  prob.  1             2\n"
        "a      50.0%  a      50.0%  好  12.5%\n"
        "·      50.0%  ·      50.0%  好  12.5%\n"
        "<end>  50.0%  <end>  50.0%  好  12.5%\n\n"
    )
    (line,) = call(*arguments, "--show_alternatives=3", "--format=json").lines
    record = json.loads(line)
    assert record.pop("alternative_probabilities") == [pytest.approx([0.5, 0.125, 0.125])] * 3
    assert record.pop("probabilities") == pytest.approx([0.5] * 3)
    assert record == {
        "prompt": "a ",
        "tokens": ["a", " ", ""],
        "alternatives": [["a", "好", "好"], [" ", "好", "好"], ["", "好", "好"]],
    }
    header, row = call(*arguments, "--show_alternatives=2", "--format=tsv").lines
    assert header.split("\t") == [
        *("prompt", "tokens", "probabilities", "alternatives", "alternative_probabilities")
    ]
    assert row.split("\t")[1] == '["a", " ", ""]'


def test_a_server_says_the_same(models, call):
    from tflm.serving.server import ModelConfig, ModelManager, Server

    arguments = ("--text=é 你", "--show_alternatives=2")
    expected = call("generate", f"--model={models['complete']}", *arguments)
    assert expected.code == 0 and expected.out.count("你") == 3, "in the prompt, written, and likeliest"
    manager = ModelManager([ModelConfig("complete", models["complete"])])
    manager.start()
    with contextlib.ExitStack() as stack:
        stack.callback(manager.stop)
        server = stack.enter_context(Server(manager, rest_port=0, grpc_port=0, drain_seconds=1))
        for url in (
            f"http://127.0.0.1:{server.rest_port}/v1/models/complete",
            f"grpc://127.0.0.1:{server.grpc_port}/complete",
        ):
            done = call("generate", f"--model={url}", *arguments)
            assert done.out == expected.out, done.err


@pytest.mark.parametrize("name", ["lstm", "chat"])
def test_of_a_real_model(request, call, tmp_path, name):
    """Greedy tokens are the text, the likeliest at each place, and as likely together as `generate` says."""
    run, texts = request.getfixturevalue(name), ["def f(", "你好", ""]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = {"temperature": 0.0, "max_new_tokens": 8}
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    done = call(
        *("generate", f"--model={run.model}", f"--input={tmp_path}/texts.jsonl", "--format=json"),
        *("--show_alternatives=4", *arguments),
    )
    assert done.code == 0, done.err
    records = [json.loads(line) for line in done.lines]
    assert [record["prompt"] for record in records] == texts
    model = load_once(run.model)
    own = DecodingConfig(**{**model.config["decoding"], **settings})
    outputs = model.predict("generate", {"text": texts, **settings_lists(own, 3)})
    for row, record in enumerate(records):
        text, log_probability = outputs["text"][row].decode(), float(outputs["log_probability"][row])
        assert "".join(record["tokens"]) == text or "\ufffd" in text
        assert sum(map(math.log, record["probabilities"])) == pytest.approx(log_probability, abs=1e-3)
        assert len(record["tokens"]) == outputs["num_tokens"][row] + (record["tokens"][-1] == "")
        for likeliest in record["alternative_probabilities"]:
            assert len(likeliest) == 4
            assert likeliest == sorted(likeliest, reverse=True) and 0 < sum(likeliest) <= 1 + 1e-5
        best = np.array(record["alternative_probabilities"])[:, 0]
        # The likeliest of all may be a token that no text has, as the start.
        assert (np.array(record["probabilities"]) <= best + 1e-6).all()


def test_what_it_does_not_go_with(models, call):
    model = f"--model={models['complete']}"
    for arguments, code, words in (
        ((model, "--length=9"), 2, "is of one text by one request: leave out --length."),
        ((model, "--file=a.txt"), 2, "leave out --file."),
        ((model, "--file=a.txt", "--append"), 2, "leave out --file."),
        ((model, "--beam_size=2"), 2, "leave out --beam_size."),
        ((model, "--num_samples=2"), 2, "leave --num_samples at 1."),
        ((model, "--show_alternatives=-1"), 2, "--show_alternatives=-1"),
        (
            (f"--model={models['older']}", "--text=a"),
            1,
            "has no signature 'alternatives', which --show_alternatives needs; it has generate, ",
        ),
        (
            (f"--model={models['too_little']}", "--text=a"),
            1,
            "its signature 'alternatives' gives text; this app needs tokens, ",
        ),
        (
            (f"--model={models['no_ids']}", "--text=a"),
            1,
            "its signature 'generate' gives log_probability, num_tokens, text; this app needs token_ids too.",
        ),
    ):
        check(call("generate", "--show_alternatives=5", *arguments), code, words)
