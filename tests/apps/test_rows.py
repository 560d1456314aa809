"""Families and objectives, the whole way by the apps: a small file, training until it is known by heart, an export,
and the right text or label from the SavedModel in a process that has neither tflm nor Keras. A decoder that continues
texts is in `test_whole_way`; Luong's attention is in `tests/models`."""

import json
import pathlib
import tempfile
from typing import NamedTuple

import numpy as np
import pytest

from tests.by_heart import train_until
from tflm.export import verify, verify_child
from tflm.training import read_log

LINES = ["the quick brown fox jumps over a lazy dog", "语言模型把文字变成文字，一个接着一个"]
PAIRS = {
    "hi": "hello there",
    "bye": "see you",
    "你好": "你好，世界",
    "再见": "明天见",
    "two": "二 2",
    "": "nothing",
}
LABELS = {
    "good film": "pos",
    "bad film": "neg",
    "很好看": "pos",
    "不好看": "neg",
    "so so": "mixed",
    "一般": "mixed",
}

TEXT = ["data.source=text", "data.text_column=", "data.document=line"]
PAIR = ["data.source=jsonl", "data.source_column=source", "data.target_column=target"]
LABEL = ["data.source=jsonl", "data.text_column=text", "data.label_column=label"]
FASTER = ["training.optimizer=muon", "training.peak_learning_rate=2e-2"]
BEGINNINGS = {"the quick bro": "wn fox jumps over a lazy dog", "语言模型把": "文字变成文字，一个接着一个"}
BLANKS = {
    "the quick br____wn fox jumps over a lazy dog": LINES[0],
    "语言模型把文____变成文字，一个接着一个": LINES[1],
}


class Row(NamedTuple):
    """A preset, what it is trained on, for how many steps in a round, and what its export must then say."""

    preset: str
    data: str
    sets: list[str]
    num_steps: int
    expected: dict[str, str]
    output: str = "text"


ROWS = {
    "lstm": Row("tiny_lstm", "lines.txt", [*TEXT, *FASTER], 100, BEGINNINGS),
    "gpt_pairs": Row("tiny_pairs", "pairs.jsonl", PAIR, 100, PAIRS),
    "lstm_bahdanau": Row(
        "tiny_lstm_seq2seq", "pairs.jsonl", [*PAIR, *FASTER, "model.attention=bahdanau"], 120, PAIRS
    ),
    "transformer_2017": Row("tiny_transformer", "pairs.jsonl", PAIR, 120, PAIRS),
    "bert_classifier": Row("tiny_bert_classifier", "labels.jsonl", LABEL, 60, LABELS, "label"),
    "bert": Row("tiny_bert", "lines.txt", TEXT, 150, BLANKS),
    "t5": Row("tiny_t5", "lines.txt", [*TEXT, *FASTER, "task.objective=prefix_lm"], 400, BEGINNINGS),
}
STEADY = [
    "model.dropout=0",
    "tokenizer.kind=character",
    "tokenizer.vocab_size=400",
    "training.warmup_steps=10",
    "training.log_every=20",
    "data.eval_fraction=0",
    "decoding.temperature=0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the data is: an example is a line or a JSON object."""
    path = tmp_path_factory.mktemp("rows")
    (path / "lines.txt").write_text("\n".join(LINES * 8) + "\n", encoding="utf-8")
    tables = {"pairs": ("source", "target", PAIRS), "labels": ("text", "label", LABELS)}
    for name, (key, value, rows) in tables.items():
        lines = [json.dumps({key: a or "nil", value: b}, ensure_ascii=False) for a, b in rows.items()]
        (path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_rows(values):
    """All values together, and each alone."""
    return [values, *([value] for value in values)]


@pytest.fixture(scope="module")
def learned(folder, call):
    """learned(NAME): what the verified export of a row says, trained until it says what it must."""
    return lambda name: learn(ROWS[name], folder / name, folder / "models" / name, call)


def learn(row, workdir, models, call):
    """Trains and exports in rounds; the answers of the last export."""
    num_steps, path, answers = 0, "", []

    def train(count):
        nonlocal num_steps, path
        num_steps += count  # from the beginning: a schedule is that of a length
        sets = [
            *STEADY,
            *row.sets,
            f"data.path={workdir.parent / row.data}",
            f"training.num_steps={num_steps}",
        ]
        arguments = [f"--preset={row.preset}", f"--workdir={workdir}", *(f"--set={s}" for s in sets)]
        done = call("train", *arguments, "--overwrite")
        assert done.code == 0, done.err
        path = f"{models}/{num_steps}"
        done = call("export", f"--workdir={workdir}", f"--output={path}", "--signatures=serving_default")
        assert done.code == 0, done.err
        return [record["loss"] for record in read_log(str(workdir)) if "loss" in record]

    def is_known(_):
        nonlocal answers
        answers = answers_of(path, row)
        return answers == by_rows([*row.expected.values()])

    train_until(is_known, train, row.num_steps, most_rounds=8)
    return answers


def answers_of(path, row):
    """What an export says in a process that cannot import tflm or Keras: all texts at once, and each alone."""
    requests = [
        {"text": np.array([text.encode() for text in group], object)}
        for group in by_rows([text or "nil" for text in row.expected])
    ]
    task = verify.child_task(path, {"serving_default": requests})
    assert {"tflm", "keras", "tensorflow_text"} <= set(task["blocked"])
    with tempfile.TemporaryDirectory() as folder:
        task_path, answers_path = pathlib.Path(folder, "task.json"), pathlib.Path(folder, "answers.json")
        task_path.write_text(json.dumps(task), encoding="utf-8")
        done = verify._run_child(str(task_path), str(answers_path))
        assert done.returncode == 0, done.stderr[-2000:]
        outputs = json.loads(answers_path.read_text(encoding="utf-8"))["serving_default"]
    decoded = [verify_child.decode(output[row.output]) for output in outputs]
    return [[text.decode() for text in batch] for batch in decoded]


@pytest.mark.parametrize("name", list(ROWS))
def test_what_was_learned_comes_back(name, learned):
    assert learned(name) == by_rows(list(ROWS[name].expected.values()))
