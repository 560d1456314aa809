"""The automatic recipe where a training begins from weights that are there: the model is theirs, and learns slowly."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tflm.config import from_dict
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.warm_start import Source, open_source
from tflm.tasks import ChatConfig, ClassificationConfig, SimilarityConfig

_BATCH_SIZE = 16
_EPOCHS = 3
_LARGE = (
    100e6  # parameters from which rows go through the model one after the other, and blocks are recomputed
)


def fine_tuned(
    config: ExperimentConfig, init_from: str, num_examples: int, settings: Sequence[str] = ()
) -> ExperimentConfig:
    """`config` with the model and the vocabulary of a run or an export.

    From a published checkpoint it trains as such models are tuned: 3 epochs of AdamW at 5e-5, of low-rank adapters at
    2e-4, with a linear warm-up and decay (Devlin et al., 2019, appendix A.3; Hu et al., 2021, appendix D). A classifier
    pools as the checkpoint does, else by the mean, with a dropout of 0.1.

    Args:
        config: of the task's recipe.
        init_from: the run's folder, or the export.
        num_examples: of the training data, with those held out.
        settings: `section.field=value` of the user.
    Raises:
        UserError: there is no such run or export.
    """
    source = open_source(init_from)
    theirs = _config_of(source)
    task = config.task
    if isinstance(task, ChatConfig) and isinstance(theirs.task, ChatConfig) and theirs.task.template:
        task = dataclasses.replace(
            task, template=theirs.task.template, system=theirs.task.system, max_history=0
        )
    if isinstance(task, ClassificationConfig):
        task = dataclasses.replace(task, ngrams="")
    config = dataclasses.replace(
        config, init_from=init_from, model=theirs.model, tokenizer=theirs.tokenizer, task=task
    )
    if not _is_published(theirs):
        return config
    if isinstance(task, ClassificationConfig):
        pooling = theirs.task.pooling if isinstance(theirs.task, SimilarityConfig) else "mean"
        task = dataclasses.replace(task, pooling=pooling, dropout=0.1)
        config = dataclasses.replace(config, task=task)
    has_adapters = any(
        setting.replace(" ", "").startswith("fine_tuning.lora_rank=") and not setting.endswith("=0")
        for setting in settings
    )
    steps_per_epoch = max(1, num_examples // _BATCH_SIZE)
    num_steps = max(20, _EPOCHS * steps_per_epoch)
    model: Any = theirs.model
    is_large = _num_parameters(model) > _LARGE
    if is_large and hasattr(model, "recompute") and not (model.dropout or model.attention_dropout):
        config = dataclasses.replace(config, model=dataclasses.replace(model, recompute=True))
    training = dataclasses.replace(
        config.training,
        num_steps=num_steps,
        global_batch_size=_BATCH_SIZE,
        num_micro_batches=_BATCH_SIZE if is_large else 1,
        optimizer="adamw",
        peak_learning_rate=2e-4 if has_adapters else 5e-5,
        warmup_steps=max(2, num_steps // 16),
        schedule="linear",
        final_learning_rate=0.0,
        weight_decay=0.01,
        beta_2=0.999,
        log_every=min(config.training.log_every, max(1, num_steps // 20)),
        eval_every=steps_per_epoch,
        checkpoint_every=steps_per_epoch,
    )
    return dataclasses.replace(config, training=training)


def _config_of(source: Source) -> ExperimentConfig:
    written = {name: value for name, value in source.config.items() if name != "source"}
    return from_dict(ExperimentConfig, written)


def _is_published(config: ExperimentConfig) -> bool:
    """Whether the weights are those of an imported checkpoint, or began with such."""
    if config.data.source == "none":
        return True
    try:
        return bool(config.init_from) and _is_published(_config_of(open_source(config.init_from)))
    except ValueError:  # what it began with is no longer there
        return False


def _num_parameters(model: Any) -> float:
    """About how many, from the sizes."""
    width = model.hidden_dim
    return model.vocab_size * width + 12 * getattr(model, "num_layers", 1) * width**2
