"""The whole road in some ten minutes: dialogues, vocabulary, training, SavedModel, conversation.

  make demo
  python -m apps.demo
  python -m apps.demo --overwrite
  python -m apps.demo --preset=tiny_chat --workdir=runs/tiny_chat --output=saved_models/tiny_chat/1

A second run finds what is done; --overwrite begins again. Interrupted anywhere, the next run goes on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from absl import flags

from apps.command_line import load_tensorflow, note, run_app
from tflm.errors import UsageError, UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("preset", "chat_demo", "The recipe.", flag_values=FLAGS)
flags.DEFINE_string("workdir", "runs/chat_demo", "The run's folder.", flag_values=FLAGS)
flags.DEFINE_string(
    "output", "saved_models/chat_demo/1", "The SavedModel, with its version.", flag_values=FLAGS
)
flags.DEFINE_boolean(
    "overwrite", False, "Remove the run and the SavedModel and begin again.", flag_values=FLAGS
)

QUESTIONS = ("What is AI?", "Are you a robot?", "Tell me a joke", "什么是ai", "你是谁?")


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    load_tensorflow()
    from apps.export import export
    from apps.train import train
    from tflm.export.versions import split_output
    from tflm.presets import Experiment, load_preset
    from tflm.presets.publish import is_published

    workdir, output = flag_values.workdir, flag_values.output
    if split_output(output)[1] is None:
        raise UsageError(f"--output={output}: give a version too, such as {os.path.join(output, '1')}.")
    config = load_preset(flag_values.preset)
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
    print(f"\nGo on talking to it:  {_python()} -m apps.chat --model={os.path.dirname(output)}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _converse(model: str) -> None:
    """Asks the SavedModel, in a process of its own that sees nothing of this one."""
    command = [sys.executable, "-m", "apps.chat", f"--model={model}", "--format=json"]
    questions = "\n".join(QUESTIONS)
    done = subprocess.run(command, input=questions, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise UserError(f"apps.chat failed: {done.stderr.strip()[-500:]}")
    for line in done.stdout.splitlines():
        record = json.loads(line)
        print(f"> {record['question']}\n  {record['answer']}")


def _python() -> str:
    """How the user calls this interpreter."""
    short = os.path.relpath(sys.executable)
    return sys.executable if short.startswith("..") else short


if __name__ == "__main__":
    sys.exit(run())
