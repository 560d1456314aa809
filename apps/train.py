"""Trains a model from a recipe, or goes on where a run stopped.

  python -m apps.train --preset=tiny_decoder --workdir=runs/tiny
  python -m apps.train --preset=shakespeare_char --workdir=runs/shakespeare --set data.path=input.txt
  python -m apps.train --preset=docstring_summarizer --workdir=runs/summarizer --set training.num_steps=500 \\
      --set model.num_layers=2

  python -m apps.train --task=classification --data=train.tsv --eval_data=dev.tsv --workdir=runs/mine

  python -m apps.train --preset=tiny_chat --workdir=runs/chat --init_from=saved_models/tiny \\
      --set fine_tuning.lora_rank=8

With --task and --data in place of a recipe, one is chosen: the columns by their names (a name that says nothing is
asked for), the vocabulary and the steps by the amount; --set changes any of it.

With --init_from the body of the model begins with the weights of another run, or of an export, and takes its
vocabulary; the section fine_tuning says what of it trains. With --word_vectors the embedding begins with vectors from
a file.

The run's folder holds the resolved config, the vocabulary, the tokenised data, checkpoints, a log
(log.jsonl, and TensorBoard's), and the loss curve (loss.png). Interrupted, the same command goes on. Then:

  python -m apps.evaluate --workdir=runs/tiny
  python -m apps.export --workdir=runs/tiny --output=saved_models/tiny
"""

import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Sequence

from absl import flags

from apps.command_line import describe, load_tensorflow, note, run_app
from tflm.errors import UsageError

FLAGS = flags.FlagValues()
flags.DEFINE_string("preset", None, "The recipe; --list_presets shows them.", flag_values=FLAGS)
flags.DEFINE_string("workdir", None, "The run's folder, made if need be.", flag_values=FLAGS)
flags.DEFINE_enum(
    "task",
    None,
    [
        "classification",
        "translation",
        "summarization",
        "pairs",
        "similarity",
        "chat",
        "question_answering",
        "tagging",
        "language_modeling",
    ],
    "In place of a recipe: choose one for this task on the file in --data.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "data",
    None,
    "With --task: a .tsv, .csv or .jsonl file with named columns; .txt for language_modeling; .conll, .jsonl with "
    "spans, or .txt with words between spaces, for tagging; .json as SQuAD's for question_answering; .jsonl with "
    "messages, or a table of questions and answers, for chat.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "eval_data", None, "With --task: examples to evaluate with; a tenth of --data without.", flag_values=FLAGS
)
flags.DEFINE_multi_string(
    "set", [], "Change a field: section.field=value. May be given many times.", flag_values=FLAGS
)
flags.DEFINE_string(
    "init_from",
    None,
    "Begin with the body of this run or export (runs/NAME, saved_models/NAME or saved_models/NAME/VERSION), and with "
    "its vocabulary.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "word_vectors",
    None,
    "Begin the embedding with the vectors of this file, in word2vec's text or binary format or in GloVe's.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("overwrite", False, "Remove the run in --workdir and begin again.", flag_values=FLAGS)
flags.DEFINE_string("strategy", "auto", "auto, one_device or mirrored.", flag_values=FLAGS)
flags.DEFINE_boolean(
    "dry_run",
    False,
    "Try the whole way in a temporary folder: build, take one step, export, verify, clean up.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("list_presets", False, "Print the recipes and stop.", flag_values=FLAGS)
flags.DEFINE_boolean("print_config", False, "Print the resolved config and stop.", flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if flag_values.list_presets:
        _list_presets()
        return
    if not flag_values.preset and not flag_values.task and not flag_values.workdir:
        raise UsageError("--preset or --task is needed; --list_presets shows the recipes.")
    if flag_values.preset and flag_values.task:
        raise UsageError("--preset and --task both choose the recipe: give one of them.")
    if bool(flag_values.task) != bool(flag_values.data):
        raise UsageError("--task and --data belong together: what to learn, and from which file.")
    config = _config(flag_values)
    if flag_values.print_config:
        from tflm.config import to_dict

        print(json.dumps(to_dict(config), indent=2, ensure_ascii=False))
    elif flag_values.dry_run:
        _dry_run(config, flag_values.strategy)
    elif not flag_values.workdir:
        raise UsageError("--workdir is needed: the folder of the run, such as --workdir=runs/first.")
    else:
        train(config, flag_values.workdir, flag_values.overwrite, flag_values.strategy)


def train(config, workdir: str, overwrite: bool = False, strategy: str = "auto") -> None:  # type: ignore[no-untyped-def]
    """Trains, then prints the measures of both sides and draws the loss curve."""
    from tflm.evaluation import evaluate, plot_losses
    from tflm.presets import Experiment
    from tflm.training import make_strategy, read_log

    where = make_strategy(strategy)
    experiment = Experiment.create(config, workdir, overwrite)
    trainer = experiment.trainer(where, note_fn=note)
    total, learning, frozen = config.training.num_steps, trainer.model.num_parameters(), trainer.num_frozen
    batches = experiment.batches("train", training=True)
    held_out = experiment.batches("eval", training=False) if config.data.has_eval else None
    note(
        f"{config.name}: {learning + frozen:,} parameters{f' ({frozen:,} frozen)' if frozen else ''}, vocabulary of "
        f"{experiment.tokenizer.vocab_size:,}, {total:,} steps of {config.training.global_batch_size} rows "
        f"({total / batches.batches_per_epoch:.1f} epochs), in {workdir}"
    )
    done = trainer.checkpoints.steps()
    if done and done[-1] >= total:
        note(f"all {total:,} steps are done; --overwrite begins again.")
    elif done:
        note(f"going on from step {done[-1]:,}.")
    metrics = trainer.train(batches, held_out)
    if held_out and not metrics:
        metrics = trainer.evaluate(held_out)
    plot = os.path.join(workdir, "loss.png")
    plot_losses(read_log(workdir), plot, config.name)
    seen = experiment.batches("train", training=False)
    print(describe("training", evaluate(experiment.task, trainer.model, seen, max_batches=50)))
    if metrics:
        print(describe("held-out", metrics))
    print(f"loss curve: {plot}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _config(flag_values: flags.FlagValues):  # type: ignore[no-untyped-def]
    load_tensorflow()
    from tflm.config import override
    from tflm.presets import Experiment, automatic, load_preset

    if flag_values.preset:
        config = load_preset(flag_values.preset)
    elif flag_values.task:
        config = automatic(flag_values.task, flag_values.data, flag_values.eval_data or "", flag_values.set)
    elif os.path.exists(os.path.join(flag_values.workdir, "config.json")):
        config = Experiment.open(flag_values.workdir).config
    else:
        raise UsageError(f"--preset is needed to begin a run in {flag_values.workdir!r}; see --list_presets.")
    if flag_values.init_from:
        config = dataclasses.replace(config, init_from=flag_values.init_from)
    if flag_values.word_vectors:
        config = dataclasses.replace(config, word_vectors=flag_values.word_vectors)
    return override(config, flag_values.set)


def _dry_run(config, strategy: str) -> None:  # type: ignore[no-untyped-def]
    from tflm.presets import Experiment
    from tflm.presets.publish import publish

    with tempfile.TemporaryDirectory(prefix="tflm-dry-run-") as folder:
        training = dataclasses.replace(config.training, num_steps=1, max_eval_batches=1)
        workdir = os.path.join(folder, "run")
        train(dataclasses.replace(config, training=training), workdir, strategy=strategy)
        path = publish(Experiment.open(workdir), os.path.join(folder, "export"))
        size = sum(
            os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(path) for name in names
        )
        print(f"dry run: trained one step, exported {size / 1e6:.1f} MB, verified; nothing is left behind.")


def _list_presets() -> None:
    load_tensorflow()
    from tflm.presets import PRESETS

    for name, preset in sorted(PRESETS.items()):
        print(f"{name}: {(preset.__doc__ or '').strip()}\n")


if __name__ == "__main__":
    sys.exit(run())
