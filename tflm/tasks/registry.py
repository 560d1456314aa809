"""The registered tasks and recipes for them. Their names can be listed without TensorFlow:

>>> TASK_RECIPES.declarations()["translation"].summary
'A text in another language.'
"""

from typing import Any

from tflm.config import KindRegistry
from tflm.registry import Registry

TASKS: KindRegistry[Any] = KindRegistry("task", "register_task", "tflm.tasks")
"""The `kind` of a config to the class, a `Task`."""
register_task = TASKS.register

METRICS: Registry[Any] = Registry("metric", "register_metric", "tflm.evaluation")
"""What the field `measure` of a task's config names to a metric of generated texts; see `tflm.evaluation.registry`."""

TASK_RECIPES: Registry[Any] = Registry("task", "task_recipe", "tflm.tasks")
"""What `--task` takes to a `TaskRecipe`."""


def check_measure(name: str) -> None:
    """
    Raises:
        ValueError: no metric has this name.
    """
    if name not in METRICS:
        raise ValueError(f"measure is one of {', '.join(METRICS.names())}; got {name!r}.")
