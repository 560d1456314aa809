"""Experiments: a config as a run that trains, is evaluated and exported; recipes; warm starts; a recipe for a user's
own file. Names are imported when they are used.

    from tflm.experiments import Experiment

    run = Experiment.create("tiny_chat", "runs/mine", settings=["training.num_steps=50"])
    run.train()
    print(run.evaluate()["this model"])
    run.export("saved_models/mine")
"""

from typing import TYPE_CHECKING

from tflm.lazy import lazy_exports

if TYPE_CHECKING:
    from tflm.experiments.auto_recipe import automatic
    from tflm.experiments.config import ExperimentConfig
    from tflm.experiments.evaluate_run import EvaluationOptions
    from tflm.experiments.experiment import Experiment
    from tflm.experiments.recipe_registry import RECIPES, RecipeSummary, list_recipes, load_preset, recipe
    from tflm.experiments.study import Study

__getattr__, __all__ = lazy_exports(__name__, __file__)
