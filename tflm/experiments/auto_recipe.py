"""A recipe for a user's own file: columns by their names, the model by the task, its length of training by the amount.

automatic("classification", "reviews.tsv")      # id, review, label -> a classifier of `review`
"""

import dataclasses
import glob
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tflm.config import override
from tflm.data import DataConfig, read_examples
from tflm.data.config import MixtureConfig
from tflm.data.examples import find_place
from tflm.data.files import find_files
from tflm.data.sources.tables import read_header
from tflm.errors import UsageError
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.fine_tuned_recipe import fine_tuned
from tflm.files.formats import ending_of, source_of
from tflm.generation import DecodingConfig
from tflm.registry import UnknownNameError
from tflm.tasks import TASK_RECIPES, Columns, Task
from tflm.tasks.task_recipes import BATCH_SIZE, TaskRecipe, num_steps
from tflm.text import TokenizerConfig
from tflm.text.cjk import HAN, HANGUL, KANA
from tflm.text.words import written_in_characters
from tflm.training import TrainingConfig

_COLUMN = re.compile(r"\s*data\.\w+_column\s*=")
_PLACES = ("data.path=", "data.train_file=", "data.encoding=")
_SAMPLE = 1000  # examples whose writing is looked at
_MOST = 0.9  # of the texts


def automatic(
    task: str,
    path: str | Sequence[str],
    eval_path: str = "",
    settings: Sequence[str] = (),
    init_from: str = "",
) -> ExperimentConfig:
    """A small recipe for a task on a file, or on a mixture of several.

    Args:
        task: the name of a `task_recipe`, such as "translation".
        path: a file, a folder or a glob; its ending says what it is. Several are a mixture, `PATH@WEIGHT` each.
        eval_path: evaluation examples; "" to hold a tenth out.
        settings: `section.field=value`, as for `override`; what they say of the data is not guessed.
        init_from: a run or an export to begin with: the model and the vocabulary are its own, see `fine_tuned`.
    Raises:
        UsageError: there is no such recipe, the file's ending says nothing, or a column is not found by its name; says
            what to give.
        UserError: the file cannot be read, or holds nothing.
    """
    recipe = find_task_recipe(task)
    paths = [path] if isinstance(path, str) else list(path)
    if len(paths) > 1:
        data = _mixture(recipe.task, task, paths, eval_path, settings)
    else:
        data = find_columns(recipe.task, task, paths[0], eval_path, settings)
    examples = iter(read_examples(data, "train"))
    sample = list(itertools.islice(examples, _SAMPLE))
    num_examples = len(sample) + sum(1 for _ in examples)
    config = recipe(usual_config(task, data, sample, num_examples), num_examples)
    if init_from:
        config = fine_tuned(config, init_from, num_examples, settings)
    if "model.kind=ngram" in [setting.replace(" ", "") for setting in settings]:
        config = dataclasses.replace(
            config, training=dataclasses.replace(config.training, num_steps=1, warmup_steps=0)
        )
    return override(config, settings)


def _mixture(
    task: type[Task], name: str, paths: Sequence[str], eval_path: str, settings: Sequence[str]
) -> DataConfig:
    """Several files, `PATH@WEIGHT` each; each is read by its own ending and columns."""
    if eval_path:
        raise UsageError(
            f"--eval_data={eval_path} goes with one --data. Of a mixture a tenth of each source is held out; "
            "data.mixture has an eval_path for each."
        )
    sources, found = [], []
    for given in paths:
        path, at, weight = given.rpartition("@")
        try:
            number = float(weight)
        except ValueError:
            at = ""
        if not at:
            raise UsageError(
                f"--data={given}: several files are a mixture, and each has a weight: --data={given}@0.5, say."
            )
        own = settings
        if source_of(path) == "text":
            own = [setting for setting in settings if not _COLUMN.match(setting)]
        data = find_columns(task, name, path, settings=own)
        columns = {f"{role}_column": column for role, column in data.columns.items()}
        sources.append(MixtureConfig(path, number, source=data.source, **columns))
        found.append(data)
    no_columns: dict[str, Any] = {f"{role}_column": "" for role in found[0].columns}
    return dataclasses.replace(found[0], path="", **no_columns, mixture=tuple(sources))


def find_task_recipe(task: str) -> TaskRecipe:
    """The recipe of `--task`.

    Raises:
        UsageError: there is no such task.
    """
    try:
        return TASK_RECIPES.get(task)
    except UnknownNameError as error:
        raise UsageError(f"--task={task}: {error}") from error


def usual_config(
    name: str, data: DataConfig, sample: Sequence[dict[str, str]], num_examples: int
) -> ExperimentConfig:
    """What a `TaskRecipe` begins with: the tokenizer fits the writing of the sample, the steps the number of
    examples."""
    training = TrainingConfig(
        num_steps=num_steps(num_examples, epochs=6, least=300, most=3000),
        global_batch_size=BATCH_SIZE,
        warmup_steps=50,
        schedule="linear",
        final_learning_rate=0.0,
        log_every=20,
    )
    decoding = DecodingConfig(temperature=0.0, max_new_tokens=62)
    return ExperimentConfig(name, data, tokenizer=tokenizer_for(sample), training=training, decoding=decoding)


def tokenizer_for(examples: Sequence[dict[str, str]]) -> TokenizerConfig:
    """Characters where every part of nearly all examples is written in them, as Chinese is; else SentencePiece.

    A character says about as much as a word, and on data of this size models of single characters overfit less and
    meet fewer unknown words than those of words (Li et al., 2019, "Is Word Segmentation Necessary for Deep Learning of
    Chinese Representations?"). A part in words, such as the target of a translation into English, would become several
    times as long.
    """
    parts: dict[str, list[bool]] = {}
    for example in examples:
        for name, text in example.items():
            if name == "messages":
                text = " ".join(message["content"] for message in json.loads(text))
            if name not in ("label", "spans", "answers"):
                parts.setdefault(name, []).append(written_in_characters([text], HAN + KANA + HANGUL))
    by_character = bool(parts) and all(sum(each) >= _MOST * len(each) for each in parts.values())
    return TokenizerConfig(
        kind="character" if by_character else "sentencepiece", vocab_size=8000, soft_vocab_limit=True
    )


def find_columns(
    task: type[Task], name: str, path: str, eval_path: str = "", settings: Sequence[str] = ()
) -> DataConfig:
    """How the examples of a task are read from a file: its source by the ending, its columns by their names.

    Args:
        task: says which columns it needs.
        name: of the task, for messages.
        path, eval_path, settings: see `automatic`.
    Raises:
        UsageError: the file's ending says nothing, or a column is not found by its name; says what to give.
    """
    pairs = [(key.strip(), value) for key, equals, value in (s.partition("=") for s in settings) if equals]
    own = [f"{key}={value}" for key, value in pairs if key.startswith("data.")]
    # The file may need them to be read at all.
    given = dict(setting.removeprefix("data.").split("=", 1) for setting in own)
    # Where the columns are read, and how: as training reads them.
    start = _Data(DataConfig(path=path))
    place = override(start, [setting for setting in own if setting.startswith(_PLACES)]).data
    source = given.get("source") or _source(task.columns, name, find_place(place, "train"))
    if "source" not in given:
        _check_same(task.columns, source, eval_path)
    fields: dict[str, Any] = {"source": source, "path": place.path, "eval_path": eval_path}
    if source in ("tsv", "csv", "jsonl"):
        fields |= {key: value for key, value in given.items() if key.endswith("_column")}
        fields |= _columns(task.columns, place, source, given)
    return override(_Data(DataConfig(eval_fraction=0.0 if eval_path else 0.1, **fields)), own).data


@dataclasses.dataclass(frozen=True)
class _Data:
    """What `override` changes: a config with a section data."""

    data: DataConfig


def _found_sources(columns: Columns, path: str) -> set[str]:
    """The sources of the files at `path`, by their endings."""
    names = glob.glob(os.path.join(path, "**", "*"), recursive=True) if os.path.isdir(path) else [path]
    return {columns.sources[ending] for name in names if (ending := ending_of(name)) in columns.sources}


def _check_same(columns: Columns, source: str, eval_path: str) -> None:
    found = _found_sources(columns, eval_path)
    if found and source not in found:
        raise UsageError(
            f"--eval_data={eval_path} is {' and '.join(sorted(found))}, and --data is {source}: give both in one form."
        )


def _source(columns: Columns, task: str, path: str) -> str:
    found = _found_sources(columns, path)
    if len(found) != 1:
        raise UsageError(
            f"--data={path}: its name does not say what it is; for --task={task} it should end in "
            f"{', '.join(columns.sources)}. Rename it, or say it: "
            f"--set data.source={next(iter(columns.sources.values()))}."
        )
    (source,) = found
    if source == "text" and not columns.plain_text:
        raise UsageError(
            f"--data={path} is plain text, and --task={task} needs columns. Give a .tsv, .csv or .jsonl file, or "
            "--task=language_modeling."
        )
    return source


def _columns(columns: Columns, place: DataConfig, source: str, given: dict[str, str]) -> dict[str, str]:
    """{"text_column": "review", ...}: those that are not given."""
    path = find_place(place, "train")
    there = read_header(find_files(path, source)[0], source, place.encoding)
    known = {column.casefold().strip(): column for column in there}
    twice = {
        name for name, count in Counter(column.casefold().strip() for column in there).items() if count > 1
    }
    found: dict[str, str] = {}
    for role in (*_roles(columns, known, source, given), *columns.optional):
        if f"{role}_column" in given:
            continue
        names = [
            known[name]
            for name in columns.names_of(role)
            if name in known and known[name] not in found.values()
        ]
        if names and names[0].casefold().strip() in twice:
            raise UsageError(
                f"--data={path}: which column is the {role}? Two are named {names[0].strip()!r}, among "
                f"{', '.join(there)}. Give each a name of its own."
            )
        if names:
            found[f"{role}_column"] = names[0]
        elif role not in columns.optional:
            numbers = "" if source == "jsonl" else ", or its number from 0 where the first line is no header"
            raise UsageError(
                f"--data={path}: which column is the {role}? They are {', '.join(there)}. Say it: "
                f"--set data.{role}_column=NAME{numbers}."
            )
    return found


def _roles(columns: Columns, known: dict[str, str], source: str, given: dict[str, str]) -> tuple[str, ...]:
    """The columns that are needed: those that the task asks for first, unless others are there in their place, or may
    be in a table."""
    if not columns.otherwise:
        return columns.required

    def has(roles: tuple[str, ...]) -> bool:
        return any(f"{role}_column" in given or set(columns.names_of(role)) & set(known) for role in roles)

    if has(columns.required) or not (has(columns.otherwise) or source != "jsonl"):
        return columns.required
    return columns.otherwise
