"""Measures a run on its held-out side.

  python -m apps.evaluate --workdir=runs/tiny
  python -m apps.evaluate --workdir=runs/summarizer --limit=200 --examples=5
  python -m apps.evaluate --workdir=runs/summarizer --step=1000

Prints loss and perplexity; for a task of pairs also ROUGE-1, -2 and -L of what the model writes, beside the
first sentence of the source. Everything also goes into report.json in the run's folder, with every text that
was written.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from apps.command_line import load_tensorflow, run_app
from tflm.errors import UsageError, UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "The run's folder, from apps.train.", flag_values=FLAGS)
flags.DEFINE_integer("step", None, "Which checkpoint; the newest by default.", flag_values=FLAGS)
flags.DEFINE_integer(
    "limit", 0, "Held-out pairs to write answers for; 0 for all.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_integer("examples", 3, "Written answers to print.", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 64, "Texts in one batch.", lower_bound=1, flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if not flag_values.workdir:
        raise UsageError("--workdir is needed: the folder of a run.")
    load_tensorflow()
    from tflm.evaluation import perplexity
    from tflm.presets import Experiment

    experiment = Experiment.open(flag_values.workdir)
    if not experiment.has_eval():
        raise UserError(f"{flag_values.workdir!r} has no held-out side: data.eval_fraction is 0.")
    model, step = experiment.trained_model(flag_values.step)
    report: dict[str, Any] = {"name": experiment.config.name, "step": step}
    report["held_out"] = perplexity(experiment.task, model, experiment.batches("eval", training=False))
    print(f"step {step:,}, {report['held_out']['num_tokens']:,.0f} held-out tokens")
    print(f"loss {report['held_out']['loss']:.4f}  perplexity {report['held_out']['perplexity']:.2f}")
    if experiment.config.task.kind == "pairs":
        _rouge(flag_values, experiment, model, report)
    path = os.path.join(flag_values.workdir, "report.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2, ensure_ascii=False)
    print(f"report: {path}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _rouge(flag_values: flags.FlagValues, experiment: Any, model: Any, report: dict[str, Any]) -> None:
    from tflm.data import read_examples
    from tflm.evaluation import first_sentence, rouge

    examples = list(read_examples(experiment.config.data, "eval"))[: flag_values.limit or None]
    sources, targets = zip(*((example["source"], example["target"]) for example in examples), strict=True)
    answers = _answers(experiment.task, model, sources, flag_values.batch_size)
    scores = rouge(targets, answers)
    baseline = rouge(targets, [first_sentence(source) for source in sources])
    print(f"\n{len(examples):,} held-out pairs        ROUGE-1  ROUGE-2  ROUGE-L")
    for name, values in (("this model", scores), ("source's first sentence", baseline)):
        means = {kind: 100 * float(value.mean()) for kind, value in values.items()}
        report[name] = means
        print(f"{name:<28}" + "".join(f"{mean:8.2f} " for mean in means.values()))
    report["texts"] = [
        {"source": source, "target": target, "answer": answer, "rougeL": round(float(score), 4)}
        for source, target, answer, score in zip(sources, targets, answers, scores["rougeL"], strict=True)
    ]
    for text in report["texts"][: flag_values.examples]:
        print(f"\nsource: {text['source'][:300]}\ntarget: {text['target']}\nanswer: {text['answer']}")


def _answers(task: Any, model: Any, sources: Sequence[str], batch_size: int) -> list[str]:
    """What `serving_default` gives, in the order of the sources; like lengths are worked on together."""
    import tensorflow as tf
    from tqdm import tqdm

    answer = task.signatures(model)["serving_default"]
    order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
    answers = [""] * len(sources)
    with tqdm(total=len(sources), unit="text", desc="answering", delay=2) as bar:
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            texts = answer(tf.constant([sources[row] for row in rows]))["text"].numpy()
            for row, text in zip(rows, texts, strict=True):
                answers[row] = text.decode("utf-8")
            bar.update(len(rows))
    return answers


if __name__ == "__main__":
    sys.exit(run())
