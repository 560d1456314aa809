"""A few lines for each application, English and Chinese together, what a model that knows them says, and the commands
that make one."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.by_heart import train_until
from tflm.training import read_log

Call = Callable[..., Any]
"""The fixture `call`, which loads an export once for all calls."""

LABELS = {
    "good film": "pos",
    "bad film": "neg",
    "很好看": "pos",
    "不好看": "neg",
    "so so": "mixed",
    "一般": "mixed",
}
SUMMARIES = {
    "The cat sat on the mat all day. It did not move.": "A lazy cat.",
    "It rained in Paris. Then the sun came out.": "Rain, then sun.",
    "今天下了一整天的雨，晚上才停。": "下雨了。",
    "小猫在垫子上睡了一天。": "猫睡觉。",
}
TRANSLATIONS = {
    "hello": "你好",
    "thank you": "谢谢",
    "see you tomorrow": "明天见",
    "我爱你": "I love you",
    "猫": "a cat",
}
NEIGHBOURS = {
    "how do I return it": "send it back within a week",
    "where is my parcel": "look at the tracking page",
    "怎么退货": "七天内寄回即可",
    "快递到哪了": "请看物流页面",
}
SPANS = {
    "Anna lives in Paris.": [(0, 4, "PER"), (14, 19, "LOC")],
    "王小明在北京读书。": [(0, 3, "PER"), (4, 6, "LOC")],
    "Bob likes 上海.": [(0, 3, "PER"), (10, 12, "LOC")],
    "no names here 没有": [],
}
LINES = ["the quick brown fox jumps over a lazy dog", "语言模型把文字变成文字，一个接着一个"]
BEGINNINGS = {"the quick bro": LINES[0], "语言模型把": LINES[1]}

ENGLISH, CHINESE = "Anna lives in Paris. Bob lives in Rome.", "王小明在北京读书，李红在上海工作。"
ANSWERS = {
    ("Where is Anna?", ENGLISH): "Paris",
    ("Who is in Rome?", ENGLISH): "Bob",
    ("谁在读书？", CHINESE): "王小明",
    ("李红在哪？", CHINESE): "上海",
    ("谁在东京？", CHINESE): "",
}

TALKS = [
    ["I am Anna.", "Hi Anna.", "Who am I?", "You are Anna."],
    ["我叫小明。", "你好小明。", "我叫什么？", "你叫小明。"],
    ["Who am I?", "I do not know."],
    ["我叫什么？", "我不知道。"],
]
TYPED = [*TALKS[0][::2], "/reset", *TALKS[1][::2], "/reset", "Who am I?", "/reset", "我叫什么？"]
SAID = [*TALKS[0][1::2], *TALKS[1][1::2], TALKS[2][1], TALKS[3][1]]


class Way(NamedTuple):
    """From a file to an application's output."""

    app: str
    task: str
    data: str
    """Name of the file."""
    write: Callable[[pathlib.Path], Any]
    num_steps: int
    """Of a round of training."""
    sets: tuple[str, ...]
    measures: dict[str, float]
    """What of `this model` must come out."""
    arguments: tuple[str, ...]
    """Of the app, beside --model and, where there is `typed`, --input."""
    typed: list[str]
    """What goes into the app, a line each; of chat its standard input."""
    expected: list[str]
    """What comes out, a line each."""
    column: int | None = None
    """Which of the cells of an output line is compared; None for all of it."""
    signatures: str = ""
    """Of the export; "" for all. `test_export` has all signatures of models that write; here those of the app."""


def table(header: tuple[str, str], rows: dict[str, str]) -> Callable[[pathlib.Path], Any]:
    """Writes a TSV file."""
    lines = ["\t".join(row) for row in [header, *rows.items()]]
    return lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def objects(records: list[dict[str, Any]]) -> Callable[[pathlib.Path], Any]:
    """Writes JSON lines."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    return lambda path: path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def squad(path: pathlib.Path) -> None:
    """Writes ANSWERS as SQuAD 2.0 has them."""
    paragraphs = []
    for context in (ENGLISH, CHINESE):
        asked = [(question, answer) for (question, where), answer in ANSWERS.items() if where == context]
        questions = [
            {
                "id": question,
                "question": question,
                "is_impossible": not answer,
                "answers": [{"text": answer, "answer_start": context.index(answer)}] if answer else [],
            }
            for question, answer in asked
        ]
        paragraphs.append({"context": context, "qas": questions})
    content = {"version": "v2.0", "data": [{"title": "places", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def conversation(talk: list[str]) -> dict[str, Any]:
    """{"messages": ...} of what user and assistant say by turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(talk)]}


_WRITES = "serving_default,generate,score,tokenize"
_TALKS = "serving_default,generate,score,chat,prefill,decode,resume"
_PAIRS = (
    "model.num_layers=1",
    "model.num_decoder_layers=1",
    "model.num_heads=2",
    "model.intermediate_dim=128",
    "task.label_smoothing=0",
)
_SMALLEST = ("model.num_layers=1", "model.num_heads=2")
_GREEDY = ("decoding.temperature=0", "decoding.max_new_tokens=40")  # else it would go on after a line
WAYS = {
    "classify": Way(
        "classify", "classification", "films.tsv", table(("review", "sentiment"), LABELS), 40,
        ("model.token_dropout=0", "task.dropout=0", "training.peak_learning_rate=1e-2"),
        {"accuracy": 1.0}, (), list(LABELS), list(LABELS.values()), 0,
    ),
    "summarize": Way(
        "summarize", "summarization", "news.tsv", table(("article", "summary"), SUMMARIES), 60, _PAIRS,
        {"rougeL": 100.0}, (), list(SUMMARIES), list(SUMMARIES.values()), signatures=_WRITES,
    ),
    "translate": Way(
        "translate", "translation", "phrases.tsv", table(("src", "tgt"), TRANSLATIONS), 60, _PAIRS,
        {}, (), list(TRANSLATIONS), list(TRANSLATIONS.values()), signatures=_WRITES,
    ),
    "answer": Way(
        "answer", "question_answering", "places.json", squad, 80, (*_SMALLEST, "model.max_length=96"),
        {"f1": 100.0}, (), ["\t".join(pair) for pair in ANSWERS],
        [answer or "(no answer)" for answer in ANSWERS.values()], 0,
    ),
    "chat": Way(
        "chat", "chat", "talks.jsonl", objects([conversation(talk) for talk in TALKS]), 80, _SMALLEST,
        {"rougeL": 100.0}, ("--nostream",), TYPED, SAID, signatures=_TALKS,
    ),
    "embed": Way(
        "embed", "similarity", "faq.tsv", table(("question", "answer"), NEIGHBOURS), 40, _SMALLEST,
        {"recall@1": 100.0}, ("--query=怎么退货", "--top=1"), list(NEIGHBOURS.values()), [NEIGHBOURS["怎么退货"]], 2,
    ),
    "tag": Way(
        "tag", "tagging", "names.jsonl",
        objects([{"text": text, "spans": spans} for text, spans in SPANS.items()]), 60, _SMALLEST,
        {"micro_f1": 1.0}, (), list(SPANS),
        [
            f"{text}\t{' '.join(f'{start}-{end}:{label}' for start, end, label in spans)}"
            for text, spans in SPANS.items()
        ],
    ),
    "generate": Way(
        "generate", "language_modeling", "lines.txt",
        lambda path: path.write_text("\n".join(LINES * 8) + "\n", encoding="utf-8"), 120, (*_SMALLEST, *_GREEDY),
        {}, (), list(BEGINNINGS), list(BEGINNINGS.values()), signatures=_WRITES,
    ),
}  # fmt: skip
_ALL = (
    "tokenizer.kind=character",
    "tokenizer.vocab_size=400",
    "model.hidden_dim=64",
    "model.dropout=0",
    "training.global_batch_size=16",
    "training.warmup_steps=10",
    "training.peak_learning_rate=1e-2",
    "training.log_every=20",
)


def make(name: str, folder: pathlib.Path, call: Call) -> str:
    """Writes the file of a way and what is typed, trains until the app says what it must, and exports: `NAME/run` and
    `models/NAME/VERSION`; the path of the version. `call` runs an app."""
    way, here, model = WAYS[name], folder / name, folder / "models" / name
    here.mkdir()
    way.write(here / way.data)
    (here / "typed.txt").write_text("\n".join(way.typed) + "\n", encoding="utf-8")
    num_steps, version = 0, ""

    def train(count: int) -> list[float]:
        nonlocal num_steps, version
        num_steps += count  # from the beginning: a schedule is that of a length
        sets = [f"--set={value}" for value in (*_ALL, *way.sets, f"training.num_steps={num_steps}")]
        data = [f"--data={here / way.data}", f"--eval_data={here / way.data}"]
        _run(call, "train", f"--task={way.task}", *data, f"--workdir={here}/run", "--overwrite", *sets)
        only = [f"--signatures={way.signatures}"] if way.signatures else []
        version = f"{model}/{num_steps}"
        _run(call, "export", f"--workdir={here}/run", f"--output={version}", *only)
        return [record["loss"] for record in read_log(f"{here}/run") if "loss" in record]

    def is_known(_: list[float]) -> bool:
        if said(way, ask(call, way, version, here / "typed.txt")) != way.expected:
            return False
        if way.app != "embed":  # one question is asked of it, and others are measured
            return True
        _run(
            call,
            "evaluate",
            f"--model={version}",
            f"--output={here}/measured",
            "--nobaseline",
            "--examples=0",
        )
        measured = json.loads((here / "measured/report.json").read_text(encoding="utf-8"))["this model"]
        return all(measured[measure] == pytest.approx(value) for measure, value in way.measures.items())

    train_until(is_known, train, way.num_steps, most_rounds=8)
    return version


def ask(call: Call, way: Way, model: str, typed: pathlib.Path, *arguments: str) -> Any:
    """Calls the app of a way on its input; `model` is a folder or a URL."""
    if way.app == "chat":
        return _run(call, way.app, f"--model={model}", *way.arguments, *arguments, stdin=typed.read_bytes())
    return _run(call, way.app, f"--model={model}", *way.arguments, *arguments, f"--input={typed}")


def said(way: Way, done: Any) -> list[str]:
    """What of an app's output is compared with `expected`."""
    return done.lines if way.column is None else [line.split("\t")[way.column] for line in done.lines]


def _run(call: Call, *command: str, **settings: Any) -> Any:
    done = call(*command, **settings)
    assert done.code == 0, done.err
    return done
