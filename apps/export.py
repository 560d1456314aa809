"""Exports a trained run as a SavedModel that takes strings and returns strings, and verifies it.

  python -m apps.export --workdir=runs/tiny --output=saved_models/tiny
  python -m apps.export --workdir=runs/tiny --output=saved_models/tiny/7
  python -m apps.export --workdir=runs/tiny --output=saved_models/tiny --step=250
  python -m apps.export --workdir=runs/tiny --output=saved_models/tiny --draft=runs/tinier --contrastive
  python -m apps.export --workdir=runs/tiny --output=saved_models/tiny --xla --signatures=serving_default,generate
  python -m apps.export --workdir=runs/vectors --output=saved_models/vectors --word_vectors=vectors.txt

The folder gets the next free version number, or the one asked for. It appears under its number only after its
operations were checked against those that TensorFlow Serving links, and after a process without tflm and Keras
has loaded it and answered as the model does. Beside it, saved_models/NAME/deploy/ gets what TensorFlow Serving needs
to run it: see its README.md. Files there that you have changed are kept. Then:

  python -m apps.generate --model=saved_models/tiny --text="def "
"""

import sys
from collections.abc import Sequence

from absl import flags

from apps.command_line import load_tensorflow, note, run_app
from tflm.errors import UsageError, UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "The run's folder, from apps.train.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "saved_models/NAME, or saved_models/NAME/VERSION.", flag_values=FLAGS)
flags.DEFINE_integer("step", None, "Which checkpoint; the newest by default.", flag_values=FLAGS)
flags.DEFINE_string(
    "word_vectors",
    None,
    "For word vectors: write them into this file, too, in word2vec's text format; in its binary format where the name "
    "ends in .bin.",
    flag_values=FLAGS,
)

flags.DEFINE_string(
    "draft",
    None,
    "A run of a smaller model of the same task with the same tokenizer: adds the signature speculative, which writes "
    "as generate does, with drafts of this model.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "signatures",
    [],
    "Leave out all others, as --signatures=serving_default,generate: a smaller graph is exported and loaded sooner.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "deploy",
    True,
    "Writes saved_models/NAME/deploy/ too: config files of the server, for compose and Kubernetes, a README.md.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "contrastive", False, "Adds the signature contrastive, contrastive search.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "xla",
    False,
    "Adds the signature generate_xla: generate with its steps compiled by XLA. For apps.serve, and for servers that "
    "are started with --xla_cpu_compilation_enabled.",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    for name in ("workdir", "output"):
        if not flag_values[name].value:
            raise UsageError(f"--{name} is needed.")
    load_tensorflow()
    export(
        flag_values.workdir,
        flag_values.output,
        flag_values.step,
        flag_values.word_vectors,
        flag_values.draft,
        flag_values.contrastive,
        flag_values.xla,
        flag_values.signatures,
        flag_values.deploy,
    )


def export(
    workdir: str,
    output: str,
    step: int | None = None,
    word_vectors: str | None = None,
    draft: str | None = None,
    contrastive: bool = False,
    xla: bool = False,
    only: Sequence[str] = (),
    deploy: bool = True,
) -> None:
    """Exports, verifies and says where."""
    from tflm.presets import Experiment
    from tflm.presets.publish import publish

    experiment = Experiment.open(workdir)
    if word_vectors:
        _write_vectors(experiment, step, word_vectors)
    note(f"exporting {workdir}; verifying in a process of its own takes some seconds.")
    small = Experiment.open(draft) if draft else None
    path = publish(experiment, output, step, small, contrastive, xla, only)
    print(f"exported and verified: {path}")
    if deploy:
        _write_deployment(path)


def _write_deployment(path: str) -> None:
    from tflm.export.deployment import write_deployment

    deployment = write_deployment(path)
    kept = f"; kept as you changed them: {', '.join(deployment.kept)}" if deployment.kept else ""
    note(f"to serve it with TensorFlow Serving: {deployment.folder}/README.md{kept}.")


def _write_vectors(experiment, step: int | None, path: str) -> None:  # type: ignore[no-untyped-def]
    kind = experiment.config.task.kind
    if kind != "word_vectors":
        raise UserError(f"--word_vectors is for the task word_vectors; that of this run is {kind!r}.")
    experiment.task.save_vectors(experiment.trained_model(step)[0], path, binary=path.endswith(".bin"))
    print(f"{len(experiment.task.words):,} word vectors: {path}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
