"""Configs of runs that are smaller than the run they come from: a student of it, or what pruning leaves.

config = distilled(Run.open("runs/big"), settings=["model.num_layers=2"])
Experiment.create(config, "runs/small").train()

config = pruned(Run.open("runs/big"), share=0.5, structure=("heads",))
"""

import dataclasses
import os
from collections.abc import Sequence

from tflm.compression import DistillationConfig, PruningConfig
from tflm.compression.structure import smaller_config
from tflm.config import from_dict, override, to_dict
from tflm.errors import UserError
from tflm.experiments.config import ExperimentConfig
from tflm.experiments.run import Run
from tflm.experiments.run_folder import is_run, share_parts
from tflm.training import Checkpoints, FineTuningConfig
from tflm.training.stored_model import CheckpointChoice, check_choice

_SHARED = ("labels.json", "data")
_STEPS, _RATE = 0.5, 0.3
"""Of the source's training, for the training after pruning."""


def distilled(
    run: Run,
    *,
    teacher: str = "",
    checkpoint: CheckpointChoice = None,
    settings: Sequence[str] = (),
    config: ExperimentConfig | None = None,
) -> ExperimentConfig:
    """The config of a student: that of `run`, with half of its layers where `settings` do not say what is smaller.

    Args:
        run: whose data, task and sizes the student has.
        teacher: a run, an export or the URL of a served model; `run` itself if "".
        checkpoint: which checkpoint of the teacher; the newest when None.
        settings: `section.field=value` each.
        config: in place of the run's, such as one of `pruned`, whose sizes stay.
    Raises:
        UserError: the teacher has no checkpoint; or nothing is smaller.
    """
    path = teacher or run.workdir
    if "://" not in path and not os.path.isdir(path):
        raise UserError(
            f"there is no teacher in {path!r}. Give the folder of a run or of an export, or the URL of a served model."
        )
    if is_run(path) or not teacher:
        distillation = DistillationConfig(path, _step_of(path, checkpoint))
    else:  # an export or a server gives its outputs alone
        distillation = DistillationConfig(path, alpha=0.0, outputs=True)
    base = config or _fresh(run.config, "distilled")
    if config is not None:
        settings = [each for each in settings if each.strip().startswith("distillation.")]
    made = override(dataclasses.replace(base, distillation=distillation), settings)
    names_sizes = any(setting.strip().startswith("model.") for setting in settings)
    if config is None and not names_sizes and made.model == run.config.model:
        num_layers = getattr(made.model, "num_layers", 1)
        if num_layers < 2:
            raise UserError(
                f"the model has {num_layers} layer, which cannot be halved: say what the student has less of, such as "
                "--set model.hidden_dim=64."
            )
        made = override(made, [f"model.num_layers={num_layers // 2}"])
    return made


def pruned(
    run: Run,
    *,
    share: float = 0.5,
    structure: Sequence[str] = ("weights",),
    checkpoint: CheckpointChoice = None,
    settings: Sequence[str] = (),
) -> ExperimentConfig:
    """The config of a run that begins with the weights of `run` and prunes them, with half of its steps and a third of
    its peak learning rate unless `settings` say otherwise.

    Args:
        run: with a checkpoint.
        share: float, how much is removed.
        structure: see `PruningConfig`.
        checkpoint: which checkpoint of the run; the newest when None.
        settings: `section.field=value` each.
    Raises:
        UserError: there is no checkpoint; the structure does not fit the model; or another setting does not.
    """
    step = _step_of(run.workdir, checkpoint)
    values = {"source": run.workdir, "checkpoint": step, "share": share, "structure": tuple(structure)}
    pruning = from_dict(PruningConfig, values, "pruning.")
    base = _fresh(run.config, "pruned")
    training = base.training
    num_steps = max(1, round(_STEPS * training.num_steps))
    training = dataclasses.replace(
        training,
        num_steps=num_steps,
        warmup_steps=min(training.warmup_steps, num_steps // 10),
        peak_learning_rate=_RATE * training.peak_learning_rate,
        ema_decay=0.0,
    )
    made = override(dataclasses.replace(base, training=training, pruning=pruning), settings)
    if made.pruning.removes:
        made = dataclasses.replace(made, model=smaller_config(made.model, made.pruning))
    elif made.training.ema_decay:
        raise UserError(
            "training.ema_decay averages weights from before they are pruned: leave it 0 with the structures weights "
            "and N:M."
        )
    if made.fine_tuning.lora_rank:
        raise UserError(
            "fine_tuning.lora_rank trains adapters next to the weights; pruning changes the weights."
        )
    return made


def share_data(run: Run, source: Run) -> None:
    """Makes the tokenised data and the labels of `source` those of a new run, where it reads the same data."""
    same = [to_dict(each.config)[name] for each in (run, source) for name in ("data", "tokenizer", "task")]
    if same[:3] == same[3:]:
        share_parts(source.workdir, run.workdir, _SHARED)


def _fresh(config: ExperimentConfig, suffix: str) -> ExperimentConfig:
    """A config without what was for the training of the large model alone."""
    return dataclasses.replace(
        config,
        name=config.name if config.name.endswith(f"_{suffix}") else f"{config.name}_{suffix}",
        training=dataclasses.replace(config.training, minutes=0.0),
        fine_tuning=FineTuningConfig(),
        init_from="",
        word_vectors="",
        distillation=DistillationConfig(),
        pruning=PruningConfig(),
    )


def _step_of(path: str, checkpoint: CheckpointChoice) -> str:
    """The choice as it is written into a config: a step in place of the newest, so that it stays the same one."""
    choice = check_choice(checkpoint)
    if choice != "newest":
        return str(choice)
    steps = Checkpoints(f"{path}/checkpoints", {}).steps()
    return str(steps[-1]) if steps else "newest"
