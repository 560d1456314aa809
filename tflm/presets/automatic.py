"""A recipe for a user's own file: columns by their names, the model by the task, its length of training by the amount.

automatic("classification", "reviews.tsv")      # id, review, label -> a classifier of `review`
"""

import csv
import dataclasses
import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

from tflm.config import override
from tflm.data import DataConfig, read_examples
from tflm.data.files import find_files, read_lines
from tflm.errors import UsageError, UserError
from tflm.presets.config import ExperimentConfig
from tflm.presets.task_recipes import task_recipe

_PAIR = ("source", "target")
_ROLES = {  # task -> the columns that it needs
    "classification": ("text", "label"),
    "translation": _PAIR,
    "summarization": _PAIR,
    "pairs": _PAIR,
    "similarity": _PAIR,
    "chat": ("messages",),  # or a pair
    "question_answering": ("question", "context", "answer"),
    "tagging": ("text", "spans"),
    "language_modeling": ("text",),
}
_OPTIONAL = {"classification": ("text_pair",), "question_answering": ("answer_start",)}
TASKS = tuple(_ROLES)
_NAMES = {  # how people name these columns, the likeliest first
    "text": "text sentence review content comment sentence1 premise 文本 内容 句子 评论",
    "text_pair": "text_pair sentence2 hypothesis",
    "label": "label labels class category sentiment 标签 类别 情感",
    "source": "source src input prompt question query anchor document article body text sentence1 原文 问题 文章 正文",
    "target": "target tgt output answer response reply positive summary translation title sentence2 text_pair "
    "译文 答案 回答 摘要 标题",
    "messages": "messages conversation conversations dialogue 对话",
    "question": "question query 问题",
    "context": "context passage paragraph document text 上下文 段落 文章 正文",
    "answer": "answer answers 答案 回答",
    "answer_start": "answer_start",
    "spans": "spans entities 实体",
}
_JSON_LINES = {".jsonl": "jsonl", ".ndjson": "jsonl"}
_TABLES = {".tsv": "tsv", ".csv": "csv", **_JSON_LINES}
_TAGGED = {".conll": "conll", ".bio": "conll", ".bioes": "conll", ".txt": "segmented", ".utf8": "segmented"}
_ENDINGS = {  # task -> ending of a file -> its source; of the others those of tables
    "tagging": {**_JSON_LINES, **_TAGGED},
    "question_answering": {".json": "squad", **_JSON_LINES},
}
_LINES = 20  # that are looked at for the columns
_SAMPLE = 1000  # examples whose writing is looked at


def automatic(task: str, path: str, eval_path: str = "", settings: Sequence[str] = ()) -> ExperimentConfig:
    """A small recipe for a task on a file.

    Args:
        task: one of TASKS.
        path: a file, a folder or a glob; its ending says what it is.
        eval_path: evaluation examples; "" to hold a tenth out.
        settings: `section.field=value`, as for `override`; what they say of the data is not guessed.
    Raises:
        UsageError: the file's ending says nothing, or a column is not found by its name; says what to give.
        UserError: the file cannot be read, or holds nothing.
    """
    own = [setting for setting in settings if setting.startswith("data.")]
    # The file may need them to be read at all.
    given = dict(setting.removeprefix("data.").split("=", 1) for setting in own if "=" in setting)
    source = given.get("source") or _source(task, path)
    fields: dict[str, Any] = {"source": source, "path": path, "eval_path": eval_path}
    if source in ("tsv", "csv", "jsonl"):
        fields |= {name: value for name, value in given.items() if name.endswith("_column")}
        fields |= _columns(task, path, source, given)
    data = override(_Data(DataConfig(eval_fraction=0.0 if eval_path else 0.1, **fields)), own).data
    examples = iter(read_examples(data, "train"))
    sample = list(itertools.islice(examples, _SAMPLE))
    num_examples = len(sample) + sum(1 for _ in examples)
    return override(task_recipe(task, data, sample, num_examples), settings)


@dataclasses.dataclass(frozen=True)
class _Data:
    """What `override` changes: a config with a section data."""

    data: DataConfig


def _source(task: str, path: str) -> str:
    endings = _ENDINGS.get(task, {**_TABLES, ".txt": "text"})
    names = [path] if not os.path.isdir(path) else sorted(os.listdir(path))
    found = {
        endings[ending]
        for name in names
        if (ending := os.path.splitext(name.removesuffix(".gz"))[1].lower()) in endings
    }
    if len(found) != 1:
        raise UsageError(
            f"--data={path}: its name does not say what it is; for --task={task} it should end in "
            f"{', '.join(endings)}. Rename it, or say it: --set data.source={next(iter(endings.values()))}."
        )
    (source,) = found
    if source == "text" and task != "language_modeling":
        raise UsageError(
            f"--data={path} is plain text, and --task={task} needs columns. Give a .tsv, .csv or .jsonl file, or "
            "--task=language_modeling."
        )
    return source


def _columns(task: str, path: str, source: str, given: dict[str, str]) -> dict[str, str]:
    """{"text_column": "review", ...}: those that are not given."""
    columns = _header(path, source)
    known = {column.casefold().strip(): column for column in columns}
    optional, found = _OPTIONAL.get(task, ()), {}  # type: ignore[var-annotated]
    for role in (*_roles(task, known, source, given), *optional):
        if f"{role}_column" in given:
            continue
        names = [
            known[name]
            for name in _NAMES[role].split()
            if name in known and known[name] not in found.values()
        ]
        if names:
            found[f"{role}_column"] = names[0]
        elif role not in optional:
            numbers = "" if source == "jsonl" else ", or its number from 0 where the first line is no header"
            raise UsageError(
                f"--data={path}: which column is the {role}? They are {', '.join(columns)}. Say it: "
                f"--set data.{role}_column=NAME{numbers}."
            )
    return found


def _roles(task: str, known: dict[str, str], source: str, given: dict[str, str]) -> tuple[str, ...]:
    """The columns that the task needs. A chat learns from conversations, or from questions and their answers."""
    if task != "chat" or "messages_column" in given or set(_NAMES["messages"].split()) & set(known):
        return _ROLES[task]
    pair = {name for role in _PAIR for name in _NAMES[role].split()} & set(known)
    pair |= {role for role in _PAIR if f"{role}_column" in given}
    return _PAIR if pair or source != "jsonl" else _ROLES[task]


def _header(path: str, source: str) -> list[str]:
    """The names of the columns."""
    lines = itertools.islice(read_lines(find_files(path, source)[0], "utf-8"), _LINES)
    try:
        if source == "jsonl":
            return list(json.loads(next(line for line in lines if line.strip())))
        if source == "tsv":
            return next(lines).rstrip("\r\n").lstrip("\ufeff").split("\t")
        return [name.lstrip("\ufeff") for name in next(csv.reader(lines))]
    except StopIteration as error:
        raise UserError(f"--data={path} is empty.") from error
    except ValueError as error:
        raise UserError(f"--data={path}: its first line is no JSON object: {error}.") from error
