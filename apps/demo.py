"""Trains a small chat model, exports it and asks it five questions.

  make demo
  tflm demo
  tflm demo --budget=long
  tflm demo --overwrite
  tflm demo --preset=tiny_chat

--budget=short trains for two to six minutes on two cores, depending on the processor; --budget=long trains a larger
model for seven to twenty. A second call finds what is done; --overwrite starts again. An interrupted call is continued
by the next.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from absl import flags

from tflm.errors import UsageError, UserError

from .common.command_line import load_tensorflow, note, run_app

BUDGETS = {"short": "chat_demo", "long": "chat_demo_long"}
FLAGS = flags.FlagValues()
flags.DEFINE_enum(
    "budget",
    "short",
    list(BUDGETS),
    "Training budget: the recipe chat_demo (15 TFLOP) or chat_demo_long (85 TFLOP).",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "preset",
    None,
    "Instead of --budget: name of a recipe, as tflm train --list_presets prints them.",
    flag_values=FLAGS,
)
flags.DEFINE_string("workdir", None, "Folder of the run; runs/RECIPE if not given.", flag_values=FLAGS)
flags.DEFINE_string(
    "output",
    None,
    "The export with its version: saved_models/NAME/VERSION; saved_models/RECIPE/1 if not given.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "overwrite", False, "Removes the run and the export and starts again.", flag_values=FLAGS
)

QUESTIONS = ("What is AI?", "Are you a robot?", "Tell me a joke", "什么是ai", "你是谁?")


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    load_tensorflow()
    from tflm.experiments import Experiment
    from tflm.experiments.export_run import is_published
    from tflm.export.versions import split_output
    from tflm.recipes import load_preset

    from .export import export
    from .train import train

    name = flag_values.preset or BUDGETS[flag_values.budget]
    workdir = flag_values.workdir or f"runs/{name}"
    output = flag_values.output or f"saved_models/{name}/1"
    if split_output(output)[1] is None:
        raise UsageError(f"--output={output}: give a version too, such as {os.path.join(output, '1')}.")
    config = load_preset(name)
    if flag_values.overwrite and os.path.exists(os.path.join(output, "saved_model.pb")):
        shutil.rmtree(output)
    note("== 1 to 4: dialogues, vocabulary, training, perplexity")
    train(config, workdir, flag_values.overwrite)
    note("\n== 5: a SavedModel that takes strings and returns strings")
    if is_published(Experiment.open(workdir), output):
        print(f"already exported: {output}")
    else:
        export(workdir, output)
    note("\n== a conversation with it")
    _converse(output)
    print(f"\nContinue the conversation:  {_python()} -m tflm chat --model={os.path.dirname(output)}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _converse(model: str) -> None:
    """Asks the SavedModel, in a process of its own that sees nothing of this one."""
    command = [sys.executable, "-m", "tflm", "chat", f"--model={model}", "--format=json"]
    questions = "\n".join(QUESTIONS)
    done = subprocess.run(command, input=questions, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise UserError(f"tflm chat failed: {done.stderr.strip()[-500:]}")
    for line in done.stdout.splitlines():
        record = json.loads(line)
        print(f"> {record['question']}\n  {record['answer']}")


def _python() -> str:
    """How the user calls this interpreter."""
    short = os.path.relpath(sys.executable)
    return sys.executable if short.startswith("..") else short


if __name__ == "__main__":
    sys.exit(run())
