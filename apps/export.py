"""Exports a run as a SavedModel that takes strings and returns strings, and verifies it.

  tflm export --workdir=runs/tiny --output=saved_models/tiny
  tflm export --workdir=runs/tiny --output=saved_models/tiny/7
  tflm export --workdir=runs/tiny --output=saved_models/tiny --step=250
  tflm export --workdir=runs/tiny --output=saved_models/tiny --checkpoint=best
  tflm export --workdir=runs/tiny --output=saved_models/tiny --draft=runs/tinier --contrastive
  tflm export --workdir=runs/tiny --output=saved_models/tiny --xla --signatures=serving_default,generate
  tflm export --workdir=runs/reviews --output=saved_models/reviews --explain
  tflm export --workdir=runs/qwen --output=saved_models/qwen --weights=bfloat16
  tflm export --workdir=runs/qwen --output=saved_models/qwen --weights=int8
  tflm export --workdir=runs/qwen --output=exports/qwen --format=huggingface
  tflm export --workdir=runs/mine --output=exports/mine --format=peft
  tflm export --workdir=runs/vectors --output=saved_models/vectors --word_vectors=vectors.txt

The folder gets the next free version number, or the one asked for. It appears under its number only after its
operations were checked against those that TensorFlow Serving links, and after a process without tflm and Keras
has loaded it and answered as the model does. Beside it, saved_models/NAME/deploy/ gets what TensorFlow Serving needs
to run it: see its README.md. Files there that you have changed are kept. Then:

  tflm generate --model=saved_models/tiny --text="def "
"""

import sys
from collections.abc import Sequence

from absl import flags

from tflm.errors import UsageError

from .common.checkpoint_flag import chosen_checkpoint, define_checkpoint
from .common.command_line import load_tensorflow, note, run_app
from .common.plugins import define_plugins, use_plugins

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "workdir", None, "Folder of the run, from tflm train. Example: runs/tiny.", flag_values=FLAGS
)
flags.DEFINE_string(
    "output",
    None,
    "The export: saved_models/NAME for the next free version, or saved_models/NAME/VERSION.",
    flag_values=FLAGS,
)
define_checkpoint(FLAGS)
flags.DEFINE_string(
    "word_vectors",
    None,
    "For the task word_vectors: also writes the vectors to this file, in word2vec's text format, or in its binary "
    "format if the name ends in .bin.",
    flag_values=FLAGS,
)

flags.DEFINE_string(
    "draft",
    None,
    "Run of a smaller model with the same task and tokenizer: adds the signature speculative, which generates as "
    "generate does, with drafts of this model.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "signatures",
    [],
    "The signatures to export; all if not given. A smaller graph is exported and loaded faster. Example: "
    "serving_default,generate.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "deploy",
    True,
    "Also writes saved_models/NAME/deploy/: config files for TensorFlow Serving, Docker Compose and Kubernetes.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "contrastive", False, "Adds the signature contrastive: contrastive search.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "xla",
    False,
    "Adds the signature generate_xla: generate, compiled by XLA. For tflm serve, and for TensorFlow Serving with "
    "--xla_cpu_compilation_enabled.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "explain",
    False,
    "Adds the signature attribute, and of a Transformer attention: for tflm explain.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "weights",
    "float32",
    ["float32", "bfloat16", "int8", "int4"],
    "How weights are stored: bfloat16 halves the size of the export and the memory of its weights; int8 stores "
    "matrices in a quarter of the bytes; int4 in a seventh, but for embedding and output layer, which are int8.",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "quantize_embedding",
    True,
    "With --weights=int8 and int4: the embedding and the output layer are stored in int8; else in float32.",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "format",
    "saved_model",
    ["saved_model", "huggingface", "peft"],
    "What is written: saved_model, for tflm and TensorFlow Serving; huggingface, a folder that transformers loads, "
    "with adapters merged, and sentence-transformers where the task is similarity; or peft, the low-rank adapters "
    "alone, as PEFT loads them. The last two are for runs of imported checkpoints and those that began with one.",
    flag_values=FLAGS,
)
define_plugins(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    for name in ("workdir", "output"):
        if not flag_values[name].value:
            raise UsageError(f"--{name} is needed.")
    chosen_checkpoint(flag_values)
    use_plugins(flag_values)
    load_tensorflow()
    if flag_values.format != "saved_model":
        if flag_values.weights in ("int8", "int4"):
            raise UsageError(
                f"--format={flag_values.format} has weights in float32 or bfloat16; got "
                f"--weights={flag_values.weights}."
            )
        _write_public(flag_values)
        return
    export(
        flag_values.workdir,
        flag_values.output,
        chosen_checkpoint(flag_values),
        flag_values.word_vectors,
        flag_values.draft,
        flag_values.contrastive,
        flag_values.xla,
        flag_values.signatures,
        flag_values.deploy,
        flag_values.weights,
        flag_values.explain,
        flag_values.quantize_embedding,
    )


def export(
    workdir: str,
    output: str,
    step: int | str | None = None,
    word_vectors: str | None = None,
    draft: str | None = None,
    contrastive: bool = False,
    xla: bool = False,
    only: Sequence[str] = (),
    deploy: bool = True,
    weights: str = "float32",
    explain: bool = False,
    quantize_embedding: bool = True,
) -> None:
    """Exports, verifies and says where."""
    from tflm.experiments import Experiment

    experiment = Experiment.open(workdir)
    if word_vectors:
        print(f"{experiment.save_word_vectors(word_vectors, step):,} word vectors: {word_vectors}")
    note(f"exporting {workdir}; verifying in a process of its own takes some seconds.")
    small = Experiment.open(draft) if draft else None
    path = experiment.export(
        output,
        step,
        draft=small,
        contrastive=contrastive,
        xla=xla,
        only=only,
        weights=weights,
        explain=explain,
        quantize_embedding=quantize_embedding,
    )
    print(f"exported and verified: {path}")
    if deploy:
        _write_deployment(path)


def _write_public(flag_values: flags.FlagValues) -> None:
    from tflm.experiments import Experiment
    from tflm.experiments.public_export import write_adapter, write_public

    experiment = Experiment.open(flag_values.workdir)
    write = write_adapter if flag_values.format == "peft" else write_public
    path = write(experiment, flag_values.output, chosen_checkpoint(flag_values), flag_values.weights)
    print(f"written: {path}")


def _write_deployment(path: str) -> None:
    from tflm.export.deploy import write_deployment

    deployment = write_deployment(path)
    kept = f"; kept as you changed them: {', '.join(deployment.kept)}" if deployment.kept else ""
    note(f"to serve it with TensorFlow Serving: {deployment.folder}/README.md{kept}.")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
