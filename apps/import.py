"""Imports a public checkpoint: makes a run of it, to chat with, to fine-tune and to export.

  tflm import --checkpoint=Qwen2.5-0.5B-Instruct --workdir=runs/qwen
  tflm import --checkpoint=qwen2.5-0.5b-instruct-q8_0.gguf --workdir=runs/qwen
  tflm import --checkpoint=hf://Qwen/Qwen2.5-0.5B-Instruct --workdir=runs/qwen
  tflm import --checkpoint=bert-base-chinese --workdir=runs/bert --set model.max_length=256

--checkpoint is a folder as transformers writes it (config.json, model.safetensors, tokenizer.json), a folder of
sentence-transformers, Google's bert_model.ckpt, or a GGUF file, which needs: pip install "tflm[gguf]"; or
hf://OWNER/NAME or modelscope://OWNER/NAME, both with /FILE.gguf behind it for a GGUF file, and with @REVISION, which
need: pip install "tflm[hub]" or "tflm[modelscope]". The model has the same logits, the tokenizer the same ids, and the
chat template is part of the run. docs/checkpoints.md lists the families. Then:

  tflm chat --workdir=runs/qwen --text="你好"
  tflm train --task=chat --data=mine.jsonl --init_from=runs/qwen --workdir=runs/mine --set fine_tuning.lora_rank=8
  tflm export --workdir=runs/qwen --output=saved_models/qwen
"""

import sys
from collections.abc import Sequence

from absl import flags

from tflm.errors import UsageError

from .common.command_line import load_tensorflow, note, quiet_libraries, run_app
from .common.plugins import define_plugins, use_plugins

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "checkpoint",
    None,
    "The checkpoint: a folder, a .gguf file, hf://OWNER/NAME[@REVISION] or modelscope://OWNER/NAME[@REVISION].",
    flag_values=FLAGS,
)
flags.DEFINE_string("workdir", None, "The folder of the run to make. Example: runs/qwen.", flag_values=FLAGS)
flags.DEFINE_multi_string(
    "set",
    [],
    "Changes a field of the config: section.field=value. Example: model.max_length=1024.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "thinking",
    None,
    "For models that can think before they answer: whether they do. As the model's template has it if not given.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("overwrite", False, "Replaces what is in --workdir.", flag_values=FLAGS)
define_plugins(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    for name in ("checkpoint", "workdir"):
        if not flag_values[name].value:
            raise UsageError(f"--{name} is needed.")
    use_plugins(flag_values)
    load_tensorflow()
    with quiet_libraries():
        from tflm.experiments.import_run import import_checkpoint
    run = import_checkpoint(
        flag_values.checkpoint,
        flag_values.workdir,
        flag_values.set,
        thinking=flag_values.thinking,
        overwrite=flag_values.overwrite,
        note_fn=note,
    )
    model, tokenizer = run.config.model, run.tokenizer
    print(
        f"imported: {run.workdir}, {model.kind}, {tokenizer.vocab_size:,} tokens, task {run.config.task.kind}, "
        f"context {model.max_length:,}"
    )
    note(f"to use it: tflm {_APPS.get(run.config.task.kind, 'generate')} --workdir={run.workdir}")


_APPS = {"chat": "chat", "similarity": "embed", "masked_language_modeling": "embed", "pairs": "generate"}


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


if __name__ == "__main__":
    sys.exit(run())
