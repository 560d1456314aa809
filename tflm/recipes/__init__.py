"""Named recipes. Each is a function that registers itself by `@recipe`, with its cost, its result and its command in
the docstring. Listing them takes no TensorFlow."""

from tflm.experiments.recipe_registry import RECIPES, RecipeSummary, list_recipes, load_preset, recipe

__all__ = ["RECIPES", "RecipeSummary", "list_recipes", "load_preset", "recipe"]
