"""Trains a model from a recipe, or continues a run.

  tflm train --preset=tiny_decoder --workdir=runs/tiny
  tflm train --preset=shakespeare_char --workdir=runs/shakespeare --set data.path=input.txt
  tflm train --preset=docstring_summarizer --workdir=runs/summarizer --set training.num_steps=500 \\
      --set model.num_layers=2

  tflm train --task=classification --data=train.tsv --eval_data=dev.tsv --workdir=runs/mine

  tflm train --preset=tiny_chat --workdir=runs/chat --init_from=saved_models/tiny \\
      --set fine_tuning.lora_rank=8

--task and --data choose a recipe for a file: columns by their names, vocabulary size and number of steps by the
amount of data. With --minutes=5 there are at most as many steps as fit into that time. --set changes any field,
--print_config shows them all. Several --data=FILE@WEIGHT are a mixture.

--init_from starts the body of the model from the weights of another run or export, with its vocabulary; the section
fine_tuning of the config says which parts are trained. --word_vectors starts the embedding from vectors in a file.

--tracker, --profile and --energy look at a training and change nothing of it; `tflm report` writes a page about it.

The run's folder holds the resolved config, the vocabulary, the tokenized data, checkpoints, a log (log.jsonl, and
TensorBoard's) and the loss curve (loss.png). The same command continues an interrupted run. SIGTERM and the first
Ctrl-C write a checkpoint after the running steps and exit with code 75, which means: run the same command again. A
second Ctrl-C leaves at once. Then:

  tflm evaluate --workdir=runs/tiny
  tflm export --workdir=runs/tiny --output=saved_models/tiny
"""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags

from tflm.errors import UsageError, UserError

from .common.command_line import describe, load_tensorflow, note, run_app
from .common.plugins import define_plugins, use_plugins
from .common.recipe_flags import check_recipe, define_recipe_flags, recipe_config
from .common.tables import bold, fill, text_width

if TYPE_CHECKING:
    from tflm.experiments.recipe_registry import RecipeSummary

FLAGS = flags.FlagValues()
define_recipe_flags(FLAGS)
flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run; created if it does not exist. Example: runs/first.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "store_cache",
    None,
    "Folder of tokenised data that runs share; empty for none. As TFLM_CACHE; by default ~/.cache/tflm/stores. It may "
    "be deleted at any time.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "data_workers",
    None,
    "Number of processes that tokenise; the data is the same with any number. As TFLM_DATA_WORKERS; by default one, "
    "and after half a minute one for each CPU, 8 at most.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "minutes",
    None,
    "Time that the training may take: the number of steps is lowered to what fits, by a measured step time.",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_boolean("overwrite", False, "Removes the run in --workdir and starts again.", flag_values=FLAGS)
flags.DEFINE_string(
    "strategy",
    "auto",
    "Devices: one_device, mirrored (all GPUs of this machine), multi_worker (see --workers), tpu, or auto: "
    "multi_worker where TF_CONFIG or --workers names several workers, else mirrored with several GPUs.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "workers",
    [],
    "The processes that train one model together, HOST:PORT each; instead of TF_CONFIG. All have the same flags but "
    "for --worker_index, and one --workdir on a file system that they share.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "worker_index",
    None,
    "With --workers: the place of this process among them, from 0 on.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "tpu",
    "",
    "Name or address of a TPU, or local. Written to TensorFlow's API and not tried.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "dry_run",
    False,
    "Tries everything in a temporary folder: builds the model, trains one step, exports, verifies, cleans up.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "overfit_batch",
    False,
    "Instead of training, checks whether a new model can learn the first batch by heart, without dropout: 200 steps. "
    "Exit code 1 if its loss does not fall to a tenth.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "deterministic",
    False,
    "Uses TensorFlow's deterministic operations alone. Training on a CPU is so anyway; a GPU is slower then.",
    flag_values=FLAGS,
)
flags.DEFINE_multi_enum(
    "tracker",
    [],
    ["mlflow", "swanlab", "wandb"],
    "Sends the log to a tracker, too: to files in --workdir, unless the tracker's own environment variables name a "
    "server.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "profile",
    None,
    "Profiles these steps with TensorFlow's profiler, for TensorBoard: FIRST:LAST. Example: 100:110, the steps 101 to "
    "110.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "energy",
    None,
    "Estimates energy and CO2 by CodeCarbon, for tflm report: the country of the machine, as an ISO 3166 code. "
    "Example: DEU.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("list_presets", False, "Prints the recipes and stops.", flag_values=FLAGS)
flags.DEFINE_boolean(
    "print_config", False, "Prints the resolved config as JSON and stops.", flag_values=FLAGS
)
define_plugins(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    use_plugins(flag_values)
    if flag_values.list_presets:
        _list_presets()
        return
    if not flag_values.preset and not flag_values.task and not flag_values.workdir:
        raise UsageError("--preset or --task is needed; --list_presets shows the recipes.")
    check_recipe(flag_values)
    if flag_values.store_cache is not None:
        os.environ["TFLM_CACHE"] = flag_values.store_cache
    if flag_values.data_workers is not None:
        os.environ["TFLM_DATA_WORKERS"] = str(flag_values.data_workers)
    where = Devices(flag_values.strategy, flag_values.workers, flag_values.worker_index, flag_values.tpu)
    load_tensorflow()
    config = recipe_config(flag_values, lambda: _opened_config(flag_values.workdir))
    if flag_values.minutes:
        training = dataclasses.replace(config.training, minutes=flag_values.minutes)
        config = dataclasses.replace(config, training=training)
    if flag_values.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    if flag_values.print_config:
        from tflm.config import to_dict

        print(json.dumps(to_dict(config), indent=2, ensure_ascii=False))
    elif flag_values.dry_run:
        _dry_run(config, where)
    elif flag_values.overfit_batch:
        _overfit_batch(config, flag_values.workdir)
    elif not flag_values.workdir:
        raise UsageError("--workdir is needed: the folder of the run, such as --workdir=runs/first.")
    else:
        seen_by = SeenBy(flag_values.tracker, flag_values.profile or "", flag_values.energy or "")
        train(config, flag_values.workdir, flag_values.overwrite, where, seen_by, flag_values.set)


class Devices(NamedTuple):
    """The flags that say where to train."""

    strategy: str = "auto"
    workers: Sequence[str] = ()
    worker_index: int | None = None
    tpu: str = ""

    def make_strategy(self):
        """See `tflm.training.make_strategy`. With several workers, before TensorFlow's first operation."""
        from tflm.training.strategies import cluster_of, make_strategy

        cluster = cluster_of(self.workers, self.worker_index)
        if cluster is not None and len(cluster.workers) > 1:
            note(f"worker {cluster.index} of {len(cluster.workers)} waits for the others.")
        return make_strategy(self.strategy, cluster, self.tpu)


class SeenBy(NamedTuple):
    """The flags that say what looks at a training."""

    trackers: Sequence[str] = ()
    profile: str = ""
    energy: str = ""

    def observers(self, config, workdir: str):  # type: ignore[no-untyped-def]
        """See `tflm.training.observers`; a library that is missing is found before a folder is made."""
        from tflm.config import to_dict
        from tflm.experiments.energy import Energy
        from tflm.training import Profile, make_tracker

        made = [
            make_tracker(name, workdir, config.name, to_dict(config)) for name in dict.fromkeys(self.trackers)
        ]
        profiles = [Profile(self.profile, workdir, config.training.num_steps)] if self.profile else []
        return [*made, *profiles, *([Energy(self.energy, workdir)] if self.energy else [])]


def train(  # type: ignore[no-untyped-def]
    config,
    workdir: str,
    overwrite: bool = False,
    where: Devices | None = None,
    seen_by: SeenBy | None = None,
    settings: Sequence[str] = (),
) -> None:
    """Trains, then prints the measures of both sides and where the loss curve is."""
    from tflm.experiments import Experiment
    from tflm.training import training_lock
    from tflm.training.workers import is_chief, lost_workers_noticed

    observers = (seen_by or SeenBy()).observers(config, workdir)
    strategy = (where or Devices()).make_strategy()  # a wrong one leaves no folder
    lock = training_lock(workdir) if is_chief(strategy) else contextlib.nullcontext()
    with lost_workers_noticed(strategy), lock:
        run = Experiment.create(config, workdir, settings, overwrite, strategy)
        summary = run.train(strategy, note, observers=observers)
    if not is_chief(strategy):
        return
    print(describe("training", summary.training))
    if summary.held_out:
        print(describe("held-out", summary.held_out))
    print(f"loss curve: {summary.plot}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _opened_config(workdir: str) -> Any:
    """That of the run that is there."""
    from tflm.experiments import Experiment

    if not os.path.exists(os.path.join(workdir, "config.json")):
        raise UsageError(f"--preset is needed to begin a run in {workdir!r}; see --list_presets.")
    return Experiment.open(workdir).config


def _dry_run(config, where: Devices) -> None:  # type: ignore[no-untyped-def]
    from tflm.experiments import Experiment
    from tflm.training.strategies import read_cluster

    if where.workers or read_cluster(os.environ):
        raise UsageError("--dry_run trains in one process: give no --workers, and unset TF_CONFIG.")

    with _without_cache(), tempfile.TemporaryDirectory(prefix="tflm-dry-run-") as folder:
        training = dataclasses.replace(config.training, num_steps=1, max_eval_batches=1)
        workdir = os.path.join(folder, "run")
        train(dataclasses.replace(config, training=training), workdir, where=where)
        path = Experiment.open(workdir).export(os.path.join(folder, "export"))
        size = sum(
            os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(path) for name in names
        )
        print(f"dry run: trained one step, exported {size / 1e6:.1f} MB, verified; nothing is left behind.")


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Tokenised data of a dry run is not kept."""
    before = os.environ.get("TFLM_CACHE")
    os.environ["TFLM_CACHE"] = ""
    try:
        yield
    finally:
        os.environ.pop("TFLM_CACHE")
        if before is not None:
            os.environ["TFLM_CACHE"] = before


def _overfit_batch(config, workdir: str | None) -> None:  # type: ignore[no-untyped-def]
    """In the run's folder for its data, or in a temporary one."""
    from tflm.experiments import Experiment

    with tempfile.TemporaryDirectory(prefix="tflm-overfit-batch-") as folder:
        found = Experiment.create(config, workdir or os.path.join(folder, "run")).overfit_batch(note_fn=note)
    print(f"one batch, {found.num_steps} steps: the loss went from {found.first:.4g} to {found.last:.4g}")
    if not found.is_learnt:
        raise UserError(
            "the model does not learn one batch by heart. Check that targets can be told from inputs, try another "
            "training.peak_learning_rate, and look for masks or frozen layers that hide what is to be learnt."
        )


def _list_presets() -> None:
    from tflm.recipes import list_recipes

    for recipe in list_recipes():
        if sys.stdout.isatty():
            _show_recipe(recipe)
        else:
            print(f"{recipe.name}: {recipe.doc}\n")


def _show_recipe(recipe: "RecipeSummary") -> None:
    """On a terminal: the name, and below it the docstring in the terminal's width."""
    parts = {"": recipe.summary, "Cost: ": recipe.cost, "Result: ": recipe.result}
    filled = [fill(f"{label}{text}", text_width(100) - 2, "  ") for label, text in parts.items() if text]
    commands = [f"Command: {recipe.command}"] if recipe.command else []  # on one line, to be copied
    print(bold(recipe.name))
    print(textwrap.indent("\n".join([*filled, *commands]), "  ") + "\n")


if __name__ == "__main__":
    sys.exit(run())
