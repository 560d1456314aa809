"""The flags that choose what is trained: a recipe by name, or one for a file of data, and changes of its config."""

import dataclasses
from collections.abc import Callable
from typing import Any

from absl import flags

from tflm.errors import UsageError

from .plugins import define_name, preset_names, task_names

RECIPE_FLAGS = ("preset", "task", "data", "eval_data", "set", "init_from", "word_vectors")
"""Those that choose what is trained."""


def define_recipe_flags(flag_values: flags.FlagValues) -> None:
    """Defines RECIPE_FLAGS."""
    define_name(
        "preset",
        preset_names,
        "Name of the recipe, as --list_presets prints them. Example: tiny_chat.",
        flag_values,
    )
    define_name(
        "task",
        task_names,
        "Instead of --preset: choose a recipe for this task and the file in --data: classification, translation, "
        "summarization, pairs, similarity, chat, question_answering, tagging, language_modeling, or a plugin's.",
        flag_values,
    )
    flags.DEFINE_multi_string(
        "data",
        None,
        "With --task: the training data. A .tsv, .csv or .jsonl file with named columns; for language_modeling .txt; "
        "for tagging .conll, .jsonl with spans, or .txt with words separated by spaces; for question_answering .json "
        "in SQuAD's format; for chat .jsonl with messages, or a table of questions and answers. Several are a mixture, "
        "each with a weight: --data=wiki.txt@0.7 --data=news.jsonl@0.3.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "eval_data",
        None,
        "With --task: the held-out data; a tenth of --data if not given.",
        flag_values=flag_values,
    )
    flags.DEFINE_multi_string(
        "set",
        [],
        "Changes a field of the config: section.field=value. Example: training.num_steps=500.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "init_from",
        None,
        "Starts from the weights and the vocabulary of this run or export: runs/NAME, saved_models/NAME or "
        "saved_models/NAME/VERSION.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "word_vectors",
        None,
        "Starts the embedding from the vectors in this file, in word2vec's text or binary format or in GloVe's.",
        flag_values=flag_values,
    )


def check_recipe(flag_values: flags.FlagValues) -> None:
    """Checks RECIPE_FLAGS before TensorFlow is imported.

    Raises:
        UsageError: there is no such recipe or task, or flags that do not go together.
    """
    from tflm.recipes import RECIPES, load_preset

    if flag_values.preset and flag_values.task:
        raise UsageError("--preset and --task both choose the recipe: give one of them.")
    if flag_values.task and flag_values.task not in task_names():
        raise UsageError(f"--task={flag_values.task}: no such task. There are: {', '.join(task_names())}.")
    if bool(flag_values.task) != bool(flag_values.data):
        raise UsageError("--task and --data belong together: what to learn, and from which file.")
    if flag_values.preset and flag_values.preset not in RECIPES:
        load_preset(flag_values.preset)  # says which there are


def recipe_config(flag_values: flags.FlagValues, other_fn: Callable[[], Any]) -> Any:
    """The config that RECIPE_FLAGS choose.

    Args:
        other_fn: gives the config to change where they name no recipe.
    """
    from tflm.config import override
    from tflm.experiments import automatic
    from tflm.recipes import load_preset

    if flag_values.preset:
        config = load_preset(flag_values.preset)
    elif flag_values.task:
        config = automatic(
            flag_values.task,
            flag_values.data,
            flag_values.eval_data or "",
            flag_values.set,
            flag_values.init_from or "",
        )
    else:
        config = other_fn()
    if flag_values.init_from:
        config = dataclasses.replace(config, init_from=flag_values.init_from)
    if flag_values.word_vectors:
        config = dataclasses.replace(config, word_vectors=flag_values.word_vectors)
    return override(config, flag_values.set)
