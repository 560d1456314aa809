"""Searches the hyperparameters of a recipe; each trial is a run.

  tflm tune --preset=tiny_gpt --workdir=studies/gpt
  tflm tune --preset=tiny_gpt --workdir=studies/gpt --num_trials=20
  tflm tune --preset=tiny_lstm --workdir=studies/lstm --search 'training.peak_learning_rate=1e-3..1e-1:log' \\
      --search 'model.hidden_dim=64..192:step=32' --search training.optimizer=adamw,muon

  tflm tune --task=classification --data=train.tsv --workdir=studies/mine --measure=accuracy --minutes=30

--search names a field of the config and its values: LOW..HIGH, with :log for a logarithmic scale and :step=STEP for
steps, or a list. Without --search, the peak learning rate, the warm-up, weight decay and dropout are searched. The
first trial has the recipe's own values, so that the best one is never worse.

A trial whose held-out measure falls behind is ended early (--pruner); one that fails, such as by a loss that is not
finite, is recorded, and the search goes on. SIGTERM and Ctrl-C save a checkpoint of the running trial and exit with
code 75: the same command continues, also after kill -9. A larger --num_trials adds trials.

Prints a table with the best trial first, and the commands to use it. --workdir also gets trials.csv, study.json and
parallel_coordinates.png. Trial 7 is the run WORKDIR/trials/0007. Needs: pip install "tflm[tune]"
"""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.errors import UsageError

from .common.command_line import load_tensorflow, note, run_app
from .common.plugins import define_plugins, use_plugins
from .common.recipe_flags import RECIPE_FLAGS, check_recipe, define_recipe_flags, recipe_config
from .common.tables import show_table

if TYPE_CHECKING:
    from tflm.experiments.study import Study
    from tflm.experiments.trials import Trial

FLAGS = flags.FlagValues()
define_recipe_flags(FLAGS)
flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the study; created if it does not exist. Example: studies/first.",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "search",
    [],
    "A field of the config and its values: FIELD=LOW..HIGH, FIELD=LOW..HIGH:log, FIELD=LOW..HIGH:step=STEP or "
    "FIELD=A,B,C. Example: training.peak_learning_rate=1e-4..1e-2:log.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_trials",
    10,
    "Trials of the study, those of earlier calls included.",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "minutes",
    0.0,
    "After this time no further trial begins; the running one is finished. 0 is no limit.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "measure",
    None,
    "The held-out measure to improve, such as loss or accuracy. Default: training.keep_best of the recipe, else loss.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "sampler",
    None,
    ["tpe", "random"],
    "How values are chosen: tpe (Bergstra et al., 2011), the default, which learns from earlier trials; or random.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "pruner",
    None,
    ["median", "hyperband", "none"],
    "Which trials end early: median, those worse than the median of the completed ones at the same step, which is the "
    "default; hyperband (Li et al., 2018), for searches of 50 trials or more; or none.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", None, "Seed of the sampler; 0 if not given.", lower_bound=0, flag_values=FLAGS)
define_plugins(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    use_plugins(flag_values)
    if not flag_values.workdir:
        raise UsageError("--workdir is needed: the folder of the study, such as --workdir=studies/first.")
    check_recipe(flag_values)
    if os.environ.get("TF_CONFIG"):
        raise UsageError("tflm tune trains in one process: unset TF_CONFIG.")
    load_tensorflow()
    from tflm.experiments import Study

    options: dict[str, Any] = {
        name: flag_values[name].value for name in ("measure", "sampler", "pruner", "seed")
    }
    study = Study.create(
        recipe_config(flag_values, lambda: _opened_config(flag_values.workdir)),
        flag_values.workdir,
        search=flag_values.search,
        flags=_recipe_flags(flag_values),
        **options,
    )
    for each in study.ranges:
        note(f"search {each}")
    best = study.run(flag_values.num_trials, flag_values.minutes, note_fn=note)
    show_table(*study.table())
    print(f"\n{_comparison(study, best)}\nparallel coordinates: {study.picture}\n")
    print("\n".join(_next_commands(study, best)))


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _opened_config(workdir: str) -> Any:
    """That of the study that is there."""
    from tflm.experiments import Study
    from tflm.experiments.study import STUDY_FILE

    if not os.path.exists(os.path.join(workdir, STUDY_FILE)):
        raise UsageError(
            f"--preset or --task is needed to begin a study in {workdir!r}; tflm train --list_presets shows the "
            "recipes."
        )
    return Study.open(workdir).config.config


def _recipe_flags(flag_values: flags.FlagValues) -> list[str]:
    """The flags that choose the recipe, as they were given."""
    found = []
    for name in (*RECIPE_FLAGS, "plugins"):
        value = flag_values[name].value
        if name == "plugins":
            value = ",".join(flag_values.plugins)
        found += [f"--{name}={each}" for each in (value if isinstance(value, list) else [value]) if each]
    return found


def _comparison(study: "Study", best: "Trial") -> str:
    """A line that compares the best trial with the recipe's."""
    recipe, measure = study.trials[0], study.config.measure.replace("_", " ")
    if recipe.value is None:
        return (
            f"best: trial {best.number}, held-out {measure} {best.value:.4f}; the recipe's own values failed"
        )
    if best is recipe:
        return f"best: the recipe's own values, held-out {measure} {best.value:.4f}"
    return (
        f"best: trial {best.number}, held-out {measure} {best.value:.4f}; with the recipe's own values "
        f"{recipe.value:.4f}"
    )


def _next_commands(study: "Study", best: "Trial") -> list[str]:
    """What to do with the best trial."""
    name = os.path.basename(os.path.normpath(study.workdir))
    commands = [["export", f"--workdir={study.folder(best)}", f"--output=saved_models/{name}"]]
    if study.config.flags and best is not study.trials[0]:
        settings = [f"--set={text}" for text in study.settings(best)]
        commands.append(["train", *study.config.flags, f"--workdir=runs/{name}", *settings])
    return [f"tflm {shlex.join(command)}" for command in commands]


if __name__ == "__main__":
    sys.exit(run())
