"""The registered recipes, listed from their sources without TensorFlow.

@recipe
def poems_small():
    \"\"\"A small decoder on a book of poems.

    Cost: 300 steps, 20 seconds on two cores; 0.1M parameters.
    Result: held-out perplexity 41.
    Command: tflm train --preset=poems_small --workdir=runs/poems
    \"\"\"
    return ExperimentConfig("poems_small", data=DataConfig(source="text", path="poems.txt"))
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tflm.errors import UsageError
from tflm.registry import Declaration, Registry, UnknownNameError

RecipeFn = Callable[[], Any]
"""Returns an `ExperimentConfig` whose `name` is the function's."""

RECIPES: Registry[RecipeFn] = Registry("preset", "recipe", "tflm.recipes")


class RecipeSummary(NamedTuple):
    """What the docstring of a recipe says."""

    name: str
    summary: str
    """What is trained on what."""
    cost: str
    """Steps, time and parameters."""
    result: str
    """What it reaches."""
    command: str
    """That trains it."""
    doc: str
    """All of the docstring."""


def recipe(function: RecipeFn) -> RecipeFn:
    """A decorator that registers a recipe under its own name; its docstring has Cost, Result and Command."""
    return RECIPES.add(function.__name__, function)


def list_recipes() -> list[RecipeSummary]:
    """All recipes, by name; those of plugins, too. Nothing is imported: this takes some milliseconds."""
    return [_summary(each) for _, each in sorted(RECIPES.declarations().items())]


def load_preset(name: str) -> Any:
    """The `ExperimentConfig` of a recipe.

    Raises:
        UsageError: there is no recipe of this name.
    """
    try:
        function = RECIPES.get(name)
    except UnknownNameError as error:
        raise UsageError(str(error)) from error
    return function()


def _summary(declared: Declaration) -> RecipeSummary:
    cost, result, command = (_section(declared.doc, name) for name in ("Cost", "Result", "Command"))
    return RecipeSummary(declared.name, declared.summary, cost, result, command, declared.doc)


def _section(doc: str, name: str) -> str:
    """What follows `name:` up to the next section, in one line.

    >>> _section("Poems.\\n\\nCost: 300 steps,\\n    20 seconds.\\nResult: good.", "Cost")
    '300 steps, 20 seconds.'
    """
    found = re.search(rf"^{name}:(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""
