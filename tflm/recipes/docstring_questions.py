"""Extractive question answering in minutes, on questions that every machine has: about parameters in docstrings."""

import dataclasses

from tflm.data import DataConfig
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.recipe_registry import recipe
from tflm.recipes.small import bert_small
from tflm.tasks import QuestionAnsweringConfig


@recipe
def docstring_questions_small() -> ExperimentConfig:
    """What a parameter is, of which type, and by default: a span of its function's docstring, or none. By the body of
    bert_small; after it with `--init_from=runs/bert_small`.

    Cost: 2,000 steps, 12 minutes on two cores shared with other jobs; 2.5M parameters.
    Result: after bert_small exact match 48.1% [45.0, 51.2] and F1 54.1% on 1,000 questions of the test side.
    Command: tflm train --preset=docstring_questions_small --workdir=runs/questions
    """
    config = bert_small()
    return dataclasses.replace(
        config,
        name="docstring_questions_small",
        data=DataConfig(source="docstring_parameters", eval_fraction=0.02, test_fraction=0.05),
        task=QuestionAnsweringConfig(max_question_length=32, max_answer_length=50, other_windows=0.2),
        training=dataclasses.replace(config.training, num_steps=2000),
    )
