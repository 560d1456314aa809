"""The recipe of a task for a user's own file: `tflm train --task=NAME --data=FILE`.

@task_recipe(Headlines)
def headlines(config, num_examples):
    \"\"\"A topic for a headline.\"\"\"
    return dataclasses.replace(config, task=HeadlinesConfig(), model=small_encoder())
"""

import functools
from collections.abc import Callable
from typing import Any

from tflm.models import TransformerEncoderConfig
from tflm.tasks.registry import TASK_RECIPES
from tflm.tasks.task import Task

BATCH_SIZE = 64

RecipeFn = Callable[[Any, int], Any]
"""From an `ExperimentConfig` with the data, a tokenizer that fits its writing and a usual `training`, and the number of
examples, to the one that is trained: its `task` and `model`, and what else is to be different."""


class TaskRecipe:
    """A recipe for a task, called as its function is.

    Args:
        task: what it trains; the task says which columns the data needs.
        recipe_fn: see `RecipeFn`.
    """

    def __init__(self, task: type[Task], recipe_fn: RecipeFn) -> None:
        functools.update_wrapper(self, recipe_fn)
        self.task, self.recipe_fn = task, recipe_fn

    def __call__(self, config: Any, num_examples: int) -> Any:
        """The recipe; see `RecipeFn`."""
        return self.recipe_fn(config, num_examples)


def task_recipe(task: type[Task]) -> Callable[[RecipeFn], TaskRecipe]:
    """A decorator that registers a recipe for `task`; `--task` is the function's name."""

    return lambda function: TASK_RECIPES.add(function.__name__, TaskRecipe(task, function))


def small_encoder(**changes: Any) -> TransformerEncoderConfig:
    """A Transformer encoder that trains in minutes on two cores."""
    sizes = {"num_layers": 2, "hidden_dim": 128, "num_heads": 4, "max_length": 128, "dropout": 0.2}
    return TransformerEncoderConfig(**{**sizes, **changes})


def num_steps(num_examples: int, epochs: int, least: int, most: int) -> int:
    """As many steps of `BATCH_SIZE` rows as `epochs` take, in whole hundreds, within limits."""
    return min(most, max(least, -(-num_examples * epochs // (BATCH_SIZE * 100)) * 100))
