"""Makes a smaller model of a trained one by distillation or pruning, and compares them.

  tflm compress --workdir=runs/big --output_workdir=runs/small --distill --set model.num_layers=2
  tflm compress --workdir=runs/big --output_workdir=runs/lstm --distill --set model.kind=lstm_encoder \\
      --set distillation.temperature=4 --set distillation.alpha=0.9
  tflm compress --workdir=runs/big --output_workdir=runs/sparse --prune=0.5
  tflm compress --workdir=runs/big --output_workdir=runs/narrow --prune=0.5 --structure=heads,units --distill

  tflm compress --report --models=runs/big,runs/small,saved_models/small --output=reports/small

--distill trains a student on the predictions of the run in --workdir, or of --teacher, and on the labels. Without a
--set of its model, it has half of the layers. --prune removes a share: of single weights, while the model is trained
on; with --structure=2:4 in a pattern; with --structure=heads, units or layers as a whole, so that matrices are smaller,
before it is trained on. With --distill, too, the pruned model has the large one as its teacher.

The result is a run like any other: the same command or tflm train --workdir=runs/small continues it, then

  tflm evaluate --workdir=runs/small
  tflm export --workdir=runs/small --output=saved_models/small

--report measures runs and exports of one task on the same data: size, memory, speed (taking turns), quality with 95%
intervals; and draws quality over size.
"""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from tflm.errors import UsageError, UserError

from .common.checkpoint_flag import chosen_checkpoint, define_checkpoint
from .common.command_line import describe, load_tensorflow, note, quiet_libraries, run_app
from .common.plugins import define_plugins, use_plugins
from .common.report_files import check_folder
from .common.tables import show_table

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "workdir", None, "Folder of the trained run, from tflm train. Example: runs/big.", flag_values=FLAGS
)
define_checkpoint(FLAGS)
flags.DEFINE_string(
    "output_workdir",
    None,
    "Folder of the new run; created if it does not exist. Example: runs/small.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "distill", False, "Trains a student on the predictions of a teacher and on the labels.", flag_values=FLAGS
)
flags.DEFINE_string(
    "teacher",
    None,
    "With --distill: another teacher than the run in --workdir: a run of the same task and vocabulary; or an export or "
    "the URL of a served model, whose outputs (labels or texts) become the training targets.",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "prune",
    None,
    "The share to remove, above 0 and below 1. Example: 0.5.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "structure",
    None,
    "With --prune: weights (the default), N:M such as 2:4, or some of heads, units and layers.",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set",
    [],
    "Changes a field of the new run's config: section.field=value. Example: distillation.temperature=4.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "overwrite", False, "Removes the run in --output_workdir and starts again.", flag_values=FLAGS
)
flags.DEFINE_string("strategy", "auto", "Devices, as of tflm train.", flag_values=FLAGS)
flags.DEFINE_boolean(
    "report", False, "Instead of training, compares the runs and exports in --models.", flag_values=FLAGS
)
flags.DEFINE_list(
    "models", [], "With --report: folders of runs and exports, with commas between.", flag_values=FLAGS
)
flags.DEFINE_string(
    "data",
    None,
    "With --report: a file to measure on, all of it; the held-out side of the first run's data if not given.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "limit",
    0,
    "With --report: maximum number of examples; 0 for all.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "memory",
    True,
    "With --report: measures memory, in a process of its own for each model, some seconds each.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output",
    None,
    "With --report: folder for compression.html and compression.json; not written if not given.",
    flag_values=FLAGS,
)
define_plugins(FLAGS)

_OF_REPORT = ("models", "data", "limit", "output")
_OF_TRAINING = (
    "workdir", "output_workdir", "distill", "teacher", "prune", "structure", "set", "overwrite", "step", "checkpoint",
)  # fmt: skip


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    _check_flags(flag_values)
    use_plugins(flag_values)
    load_tensorflow()
    if flag_values.report:
        _report(flag_values)
    else:
        _compress(flag_values)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _check_flags(flag_values: flags.FlagValues) -> None:
    others = _OF_TRAINING if flag_values.report else _OF_REPORT
    if given := [name for name in others if flag_values[name].present and flag_values[name].value]:
        without = "is for training: leave it out with --report" if flag_values.report else "needs --report"
        raise UsageError(f"--{given[0]} {without}.")
    if flag_values.report:
        if len(flag_values.models) < 2:
            raise UsageError(
                "--models is needed: two runs or exports at least, such as --models=runs/big,runs/small."
            )
        return
    if not flag_values.workdir or not flag_values.output_workdir:
        name = "output_workdir" if flag_values.workdir else "workdir"
        about = (
            "the new run, such as runs/small" if flag_values.workdir else "the trained run, such as runs/big"
        )
        raise UsageError(f"--{name} is needed: the folder of {about}.")
    if not flag_values.distill and flag_values.prune is None:
        raise UsageError("--distill or --prune=SHARE is needed: what is done; or --report.")
    if flag_values.teacher and not flag_values.distill:
        raise UsageError("--teacher needs --distill.")
    if flag_values.structure and flag_values.prune is None:
        raise UsageError("--structure needs --prune=SHARE.")
    for name in flag_values.structure or []:
        if not re.fullmatch(r"weights|heads|units|layers|\d+:\d+", name):
            raise UsageError(
                f"--structure is weights, N:M such as 2:4, or some of heads, units and layers; got {name!r}."
            )
    if flag_values.prune is not None and not 0.0 < flag_values.prune < 1.0:
        raise UsageError(f"--prune is above 0 and below 1, such as 0.5; got {flag_values.prune:g}.")
    if os.path.realpath(flag_values.workdir) == os.path.realpath(flag_values.output_workdir):
        raise UsageError("--output_workdir is the folder of the trained run itself: give another one.")
    chosen_checkpoint(flag_values)


def _compress(flag_values: flags.FlagValues) -> None:
    from tflm.experiments import Experiment
    from tflm.experiments.compress_run import share_data
    from tflm.training import make_strategy
    from tflm.training.workers import is_chief

    source = Experiment.open(flag_values.workdir)
    config = _config(flag_values, source)
    strategy = make_strategy(flag_values.strategy)
    made = Experiment.create(config, flag_values.output_workdir, (), flag_values.overwrite, strategy)
    if is_chief(strategy):
        share_data(made, source)
        _ask_teacher(made)
    summary = made.train(strategy, note)
    if is_chief(strategy):
        print(describe("training", summary.training))
        if summary.held_out:
            print(describe("held-out", summary.held_out))
        print(f"loss curve: {summary.plot}")


def _config(flag_values: flags.FlagValues, source: Any) -> Any:
    """That of the new run."""
    from tflm.experiments.compress_run import distilled, pruned

    checkpoint, settings, config = chosen_checkpoint(flag_values), flag_values.set, None
    if flag_values.prune is not None:
        structure = flag_values.structure or ["weights"]
        config = pruned(
            source, share=flag_values.prune, structure=structure, checkpoint=checkpoint, settings=settings
        )
    if not flag_values.distill:
        return config
    teacher = flag_values.teacher or ""
    return distilled(source, teacher=teacher, checkpoint=checkpoint, settings=settings, config=config)


def _ask_teacher(made: Any) -> None:
    """The outputs of a teacher that is no run."""
    from tflm.experiments.measured import answering
    from tflm.experiments.run_folder import is_run
    from tflm.experiments.teacher_outputs import measured_fn, write_outputs
    from tflm.serving import connect

    settings = made.config.distillation

    def output_fn() -> Any:
        model = connect(settings.teacher)
        if "data" not in model.config:
            raise UserError(
                f"--teacher={settings.teacher} has no config of tflm: it was not made by tflm export."
            )
        return measured_fn(answering(model, {}), settings.beam_size)

    if settings.outputs and not is_run(settings.teacher):
        write_outputs(made, note, output_fn)


def _report(flag_values: flags.FlagValues) -> None:
    from tflm.experiments import EvaluationOptions, Experiment
    from tflm.experiments.compression_report import ComparedModel, compare, table, write_compression_report
    from tflm.experiments.measured import measured_export, measured_run
    from tflm.experiments.run_folder import is_run
    from tflm.resident_memory import memory_of
    from tflm.serving import connect

    entries, options = (
        [],
        EvaluationOptions(data=flag_values.data or "", limit=flag_values.limit, baseline=False),
    )
    if flag_values.output:
        check_folder(flag_values.output, "cannot write into --output={folder}: {reason}.")
    for path in flag_values.models:
        if is_run(path):
            measured = measured_run(Experiment.open(path), None)
        else:
            with quiet_libraries():
                model = connect(path)
            measured = measured_export(model, path)
        entries.append(ComparedModel(path, measured))
    rows = compare(entries, options, memory_of if flag_values.memory else None, note)
    show_table(*table(rows))
    print("* no other model is smaller and at least as good. 95% intervals in brackets.")
    if flag_values.output:
        data = options.data or f"the held-out side of {flag_values.models[0]}"
        print(f"report: {', '.join(write_compression_report(rows, flag_values.output, data))}")


if __name__ == "__main__":
    sys.exit(run())
