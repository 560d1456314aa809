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
from tflm.decoding import DecodingConfig
from tflm.errors import UsageError, UserError
from tflm.models import (
    LSTMEncoderConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
)
from tflm.presets.config import ExperimentConfig
from tflm.tasks import (
    ClassificationConfig,
    LanguageModelingConfig,
    PairsConfig,
    SimilarityConfig,
    TaggingConfig,
)
from tflm.text import TokenizerConfig
from tflm.training import TrainingConfig

_PAIR = ("source", "target")
_ROLES = {  # task -> the columns that it needs
    "classification": ("text", "label"),
    "translation": _PAIR,
    "summarization": _PAIR,
    "pairs": _PAIR,
    "similarity": _PAIR,
    "tagging": ("text", "spans"),
    "language_modeling": ("text",),
}
TASKS = tuple(_ROLES)
_NAMES = {  # how people name these columns, the likeliest first
    "text": "text sentence review content comment sentence1 premise 文本 内容 句子 评论",
    "text_pair": "text_pair sentence2 hypothesis",
    "label": "label labels class category sentiment 标签 类别 情感",
    "source": "source src input prompt question query document article body text sentence1 原文 问题 文章 正文",
    "target": "target tgt output answer response reply summary translation title sentence2 译文 答案 回答 摘要 标题",
    "spans": "spans entities 实体",
}
_ENDINGS = {".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
_TAGGED = {".conll": "conll", ".bio": "conll", ".bioes": "conll", ".txt": "segmented", ".utf8": "segmented"}
_LINES = 20  # that are looked at for the columns
_BATCH = 64


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
    num_examples = sum(1 for _ in read_examples(data, "train"))
    return override(_recipe(task, data, num_examples), settings)


@dataclasses.dataclass(frozen=True)
class _Data:
    """What `override` changes: a config with a section data."""

    data: DataConfig


def _source(task: str, path: str) -> str:
    endings = {**_ENDINGS, **_TAGGED} if task == "tagging" else _ENDINGS
    names = [path] if not os.path.isdir(path) else sorted(os.listdir(path))
    found = {
        endings[ending]
        for name in names
        if (ending := os.path.splitext(name.removesuffix(".gz"))[1].lower()) in endings
    }
    if len(found) != 1:
        raise UsageError(
            f"--data={path}: its name does not say what it is; it should end in {', '.join(endings)}. Rename it, or "
            "say it: --set data.source=tsv."
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
    found: dict[str, str] = {}
    for role in (*_ROLES[task], *(["text_pair"] if task == "classification" else [])):
        if f"{role}_column" in given:
            continue
        names = [
            known[name]
            for name in _NAMES[role].split()
            if name in known and known[name] not in found.values()
        ]
        if names:
            found[f"{role}_column"] = names[0]
        elif role != "text_pair":
            numbers = "" if source == "jsonl" else ", or its number from 0 where the first line is no header"
            raise UsageError(
                f"--data={path}: which column is the {role}? They are {', '.join(columns)}. Say it: "
                f"--set data.{role}_column=NAME{numbers}."
            )
    return found


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


def _recipe(task: str, data: DataConfig, num_examples: int) -> ExperimentConfig:
    """Sizes near those of the small recipes; the number of steps follows that of the examples."""
    tokenizer = TokenizerConfig(vocab_size=8000, soft_vocab_limit=True)
    encoder = TransformerEncoderConfig(num_layers=2, hidden_dim=128, num_heads=4, max_length=128, dropout=0.2)
    config = ExperimentConfig(
        name=task,
        data=data,
        tokenizer=tokenizer,
        training=TrainingConfig(
            num_steps=_steps(num_examples, epochs=6, least=300, most=3000),
            global_batch_size=_BATCH,
            warmup_steps=50,
            schedule="linear",
            final_learning_rate=0.0,
            log_every=20,
        ),
        decoding=DecodingConfig(temperature=0.0, max_new_tokens=62),
    )
    change = dataclasses.replace
    match task:
        case "classification":
            model = LSTMEncoderConfig(num_layers=1, max_length=256, dropout=0.4, token_dropout=0.2)
            classification = ClassificationConfig(
                text_pair=bool(data.text_pair_column), pooling="max", dropout=0.4
            )
            return change(config, task=classification, model=model)
        case "similarity":
            return change(config, task=SimilarityConfig(), model=encoder)
        case "tagging":
            tokenizer = TokenizerConfig(kind="character", vocab_size=4000)
            training = change(config.training, optimizer="muon", peak_learning_rate=1e-2)
            return change(config, task=TaggingConfig(), model=encoder, tokenizer=tokenizer, training=training)
        case "language_modeling":
            decoder = TransformerDecoderConfig(
                num_layers=4, hidden_dim=192, num_heads=4, max_length=128, qk_norm=True
            )
            training = change(
                config.training,
                num_steps=1500,
                global_batch_size=32,
                optimizer="muon",
                peak_learning_rate=1.5e-2,
            )
            decoding = DecodingConfig(temperature=0.7, top_p=0.9, max_new_tokens=80)
            return change(
                config, task=LanguageModelingConfig(), model=decoder, training=training, decoding=decoding
            )
    length = 256 if task == "summarization" else 62
    pairs = PairsConfig(
        max_source_length=length,
        max_target_length=62,
        label_smoothing=0.1,
        measure="bleu" if task == "translation" else "rouge",
    )
    both = TransformerEncoderDecoderConfig(
        num_layers=3,
        num_decoder_layers=2,
        hidden_dim=160,
        num_heads=5,
        intermediate_dim=480,
        max_length=length + 2,
        activation="relu_squared",
        qk_norm=True,
        dropout=0.2,
    )
    training = change(
        config.training,
        num_steps=_steps(num_examples, epochs=15, least=500, most=7000),
        optimizer="muon",
        peak_learning_rate=4e-3,
    )
    return change(config, task=pairs, model=both, training=training)


def _steps(num_examples: int, epochs: int, least: int, most: int) -> int:
    """So many epochs, within limits, in whole hundreds."""
    return min(most, max(least, -(-num_examples * epochs // (_BATCH * 100)) * 100))
