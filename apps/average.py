"""Averages the weights of several checkpoints of a run.

  tflm average --workdir=runs/tiny --last=3
  tflm average --workdir=runs/tiny --last=5
  tflm average --workdir=runs/tiny --steps=100,200,300

The mean is written to runs/tiny/checkpoints/average/, in place of an earlier one; the checkpoints stay. Averages of
the last checkpoints often score better than the last one. A run keeps two checkpoints, more
with --set training.keep_checkpoints=5. Then:

  tflm evaluate --workdir=runs/tiny --checkpoint=average --output=reports/average
  tflm export --workdir=runs/tiny --checkpoint=average --output=saved_models/tiny
"""

import sys
from collections.abc import Sequence

from absl import flags

from tflm.errors import UsageError

from .common.command_line import load_tensorflow, run_app

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "workdir", None, "Folder of the run, from tflm train. Example: runs/tiny.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "last",
    None,
    "Number of newest checkpoints to average; 3 if neither this nor --steps is given.",
    lower_bound=2,
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "steps", [], "In place of --last: the steps of the checkpoints. Example: 100,200,300.", flag_values=FLAGS
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if not flag_values.workdir:
        raise UsageError("--workdir is needed.")
    if flag_values.steps and flag_values.last is not None:
        raise UsageError("--last and --steps both choose the checkpoints: give one of them.")
    if wrong := [step for step in flag_values.steps if not step.strip().isdecimal()]:
        raise UsageError(f"--steps is a list of numbers, such as 100,200,300; got {wrong[0]!r}.")
    if len(set(flag_values.steps)) == 1:
        raise UsageError(f"--steps={flag_values.steps[0]} is one checkpoint; an average is of at least 2.")
    load_tensorflow()
    from tflm.experiments import Experiment

    run = Experiment.open(flag_values.workdir)
    average = run.average([int(step) for step in flag_values.steps], flag_values.last or 3)
    print(f"averaged {', '.join(f'{step:,}' for step in average.steps)}: {average.path}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
