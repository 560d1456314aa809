"""Every family and objective, the whole way by the apps: a small file, training until it is known by heart, an export,
and the right text or label from the SavedModel in a process that has neither tflm nor Keras."""

import json
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from tflm.export import text_op_libraries, verify_child

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

# `verify_child` for several exports, so that TensorFlow is loaded once.
ALL_IN_ONE = """
import runpy, sys
main = runpy.run_path(sys.argv[1], run_name="child")["main"]
for name in sys.argv[3:]:
    main(f"{sys.argv[2]}/{name}.task", f"{sys.argv[2]}/{name}.out")
"""
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
    """A preset, what it is trained on, and what its export must then say."""

    preset: str
    data: str
    sets: list[str]
    num_steps: int
    expected: dict[str, str]
    output: str = "text"


ROWS = {
    "lstm": Row("tiny_lstm", "lines.txt", [*TEXT, *FASTER], 300, BEGINNINGS),
    "gpt": Row("tiny_gpt", "lines.txt", TEXT, 100, BEGINNINGS),
    "gpt_pairs": Row("tiny_pairs", "pairs.jsonl", PAIR, 100, PAIRS),
    "lstm_luong": Row("tiny_lstm_seq2seq", "pairs.jsonl", [*PAIR, *FASTER], 300, PAIRS),
    "lstm_bahdanau": Row(
        "tiny_lstm_seq2seq", "pairs.jsonl", [*PAIR, *FASTER, "model.attention=bahdanau"], 300, PAIRS
    ),
    "transformer_2017": Row("tiny_transformer", "pairs.jsonl", PAIR, 120, PAIRS),
    "bert": Row("tiny_bert", "lines.txt", TEXT, 250, BLANKS),
    "t5": Row("tiny_t5", "lines.txt", [*TEXT, *FASTER, "task.objective=prefix_lm"], 300, BEGINNINGS),
    "bert_classifier": Row("tiny_bert_classifier", "labels.jsonl", LABEL, 60, LABELS, "label"),
}
STEADY = [
    "tokenizer.kind=character",
    "tokenizer.vocab_size=400",
    "training.warmup_steps=10",
    "training.log_every=20",
    "data.eval_fraction=0",
    "decoding.temperature=0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the data lie: a line, or a JSON object, an example."""
    path = tmp_path_factory.mktemp("rows")
    (path / "lines.txt").write_text("\n".join(LINES * 8) + "\n", encoding="utf-8")
    tables = {"pairs": ("source", "target", PAIRS), "labels": ("text", "label", LABELS)}
    for name, (key, value, rows) in tables.items():
        lines = [json.dumps({key: a or "nil", value: b}, ensure_ascii=False) for a, b in rows.items()]
        (path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exports(folder, call):
    """Name of a row to its verified export."""
    paths = {}
    for name, row in ROWS.items():
        sets = [*STEADY, *row.sets, f"data.path={folder / row.data}", f"training.num_steps={row.num_steps}"]
        arguments = [f"--preset={row.preset}", f"--workdir={folder / name}", *(f"--set={s}" for s in sets)]
        trained = call("train", *arguments)
        assert trained.code == 0, trained.err
        output = f"--output={folder / 'models' / name}"
        exported = call("export", f"--workdir={folder / name}", output, "--signatures=serving_default")
        assert exported.code == 0, exported.err
        paths[name] = f"{folder}/models/{name}/1"
    return paths


@pytest.fixture(scope="module")
def answers(exports, folder):
    """What each export says, in a process that cannot import tflm or Keras: each text alone, and all at once."""
    for name, path in exports.items():
        texts = [text or "nil" for text in ROWS[name].expected]
        requests = [
            {"text": verify_child.encode(np.array([text.encode() for text in group], object))}
            for group in ([texts] + [[text] for text in texts])
        ]
        task = {
            "path": path,
            "sys_path": sys.path,
            "blocked": ["tflm", "keras", "keras_hub", "keras_nlp", "tensorflow_text"],
            "op_libraries": text_op_libraries(),
            "requests": {"serving_default": requests},
        }
        (folder / f"{name}.task").write_text(json.dumps(task), encoding="utf-8")
    command = [sys.executable, "-I", "-c", ALL_IN_ONE, verify_child.__file__, str(folder), *exports]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for name in exports:
        outputs = json.loads((folder / f"{name}.out").read_text(encoding="utf-8"))["serving_default"]
        decoded = [verify_child.decode(output[ROWS[name].output]) for output in outputs]
        found[name] = [[text.decode() for text in batch] for batch in decoded]
    return found


@pytest.mark.parametrize("name", list(ROWS))
def test_what_was_learned_comes_back(name, answers):
    expected = list(ROWS[name].expected.values())
    together, *alone = answers[name]
    assert together == expected
    assert [batch[0] for batch in alone] == expected
