"""Measures a run on its held-out side, or on its test side.

  python -m apps.evaluate --workdir=runs/tiny
  python -m apps.evaluate --workdir=runs/summarizer --limit=200 --examples=5
  python -m apps.evaluate --workdir=runs/sst2 --split=test
  python -m apps.evaluate --workdir=runs/sst2 --split=test --against=runs/sst2_lstm

Prints the loss and what the task is measured by, each beside a baseline: perplexity beside a Kneser-Ney n-gram
model; for a task of pairs ROUGE of what the model writes beside the first sentence of the source, or BLEU and
chrF; for labels accuracy and F1 beside a logistic regression; for spans their F1. All of it goes into report.json in
the run's folder, with every text, and into report.md to read: slices by length and by label, the best and the worst
examples; for labels also confusion.png and reliability.png. Of the test side the names are report_test.json and so on.
"""

import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from apps.command_line import describe, load_tensorflow, run_app
from tflm.errors import UsageError, UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "The run's folder, from apps.train.", flag_values=FLAGS)
flags.DEFINE_integer("step", None, "Which checkpoint; the newest by default.", flag_values=FLAGS)
flags.DEFINE_enum("split", "eval", ["eval", "test"], "Which side.", flag_values=FLAGS)
flags.DEFINE_integer(
    "limit", 0, "Examples to answer; 0 for all. The loss is over all.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_integer("examples", 3, "Answers to print.", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 64, "Texts in one batch.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string(
    "against",
    None,
    "Another run that was measured on the same examples: adds the difference, with its interval and a paired test.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("baseline", True, "Train and measure the baseline too.", flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if not flag_values.workdir:
        raise UsageError("--workdir is needed: the folder of a run.")
    load_tensorflow()
    from tflm.evaluation import evaluate
    from tflm.presets import Experiment

    experiment, split = Experiment.open(flag_values.workdir), flag_values.split
    data = experiment.config.data
    if not (data.has_eval if split == "eval" else data.has_test):
        field = "eval_fraction" if split == "eval" else "test_fraction"
        side = "held-out" if split == "eval" else "test"
        raise UserError(f"{flag_values.workdir!r} has no {side} side: data.{field} is 0.")
    model, step = experiment.trained_model(flag_values.step)
    measures = evaluate(experiment.task, model, experiment.batches(split, training=False))
    report: dict[str, Any] = {
        "name": experiment.config.name,
        "step": step,
        "split": split,
        "held_out": measures,
    }
    count = measures.get("num_tokens", measures.get("num_examples", 0))
    noun = "tokens" if "num_tokens" in measures else "examples"
    print(f"step {step:,}, {count:,.0f} {'held-out' if split == 'eval' else 'test'} {noun}")
    print(describe("", measures).strip())
    report["num_parameters"] = model.num_parameters()
    report.update(_report(flag_values, experiment, model))
    if flag_values.against:
        report["against"] = _against(report, flag_values.against, "" if split == "eval" else f"_{split}")
    _write(report, flag_values.workdir, "" if split == "eval" else f"_{split}")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _report(flag_values: flags.FlagValues, experiment: Any, model: Any) -> dict[str, Any]:
    """What the task reports beside its loss, printed on the way."""
    from tflm.data import read_examples
    from tflm.evaluation import report_labels, report_spans, report_texts

    kind, data = experiment.config.task.kind, experiment.config.data
    if kind == "language_modeling":
        return _ngram(flag_values, experiment) if flag_values.baseline else {}
    if kind not in ("pairs", "classification", "tagging"):
        return {}
    held_out = read_examples(data, flag_values.split)
    examples = list(itertools.islice(held_out, flag_values.limit or None))
    if kind == "pairs":
        report = report_texts(experiment.task, model, examples, flag_values.batch_size)
        _print_texts(report, len(examples))
        keys = ("source", "target", "answer")
    elif kind == "tagging":
        report = report_spans(experiment.task, model, examples, flag_values.batch_size)
        _print_spans(report, len(examples))
        keys = ("text", "spans", "answer")
    else:
        train_examples = list(read_examples(data, "train")) if flag_values.baseline else []
        report = report_labels(experiment.task, model, examples, train_examples, flag_values.batch_size)
        _print_labels(report, len(examples))
        keys = ("text", "label", "answer")
    for text in report["texts"][: flag_values.examples]:
        print("\n" + "\n".join(f"{key}: {str(text[key])[:300]}" for key in keys))
    return report


def _against(report: dict[str, Any], folder: str, ending: str) -> dict[str, Any]:
    """The difference to another run's report, printed on the way."""
    from tflm.evaluation import compare_reports

    path = os.path.join(folder, f"report{ending}.json")
    if not os.path.exists(path):
        raise UserError(
            f"--against={folder}: there is no {path!r}. Measure that run first, by the same command."
        )
    with open(path, encoding="utf-8") as file:
        found = {"run": folder, **compare_reports(report, json.load(file))}
    low, high = found["difference_interval"]
    print(
        f"\n{found['measure']} {found['this']:.2f}, of {folder} {found['other']:.2f}: difference "
        f"{found['difference']:+.2f} [{low:+.2f}, {high:+.2f}], p = {found['p_value']:.4f} that this run is no better"
    )
    return found


def _write(report: dict[str, Any], folder: str, ending: str) -> None:
    """report.json, report.md and the plots."""
    import numpy as np

    from tflm.evaluation import report_page
    from tflm.evaluation.classification_plots import confusion_matrix, plot_confusion, plot_reliability

    plots, texts = [], report.get("texts", [])
    if (
        texts
        and "right" in texts[0]
        and all(text["label"] in report["this model"]["per_label"] for text in texts)
    ):
        names = list(report["this model"]["per_label"])
        plots = [f"confusion{ending}.png", f"reliability{ending}.png"]
        labels, answers, scores, right = (
            [text[key] for text in texts] for key in ("label", "answer", "score", "right")
        )
        plot_confusion(confusion_matrix(labels, answers, names), names, os.path.join(folder, plots[0]))
        plot_reliability(np.array(scores), np.array(right), os.path.join(folder, plots[1]))
    path = os.path.join(folder, f"report{ending}")
    with open(f"{path}.json", "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2, ensure_ascii=False)
    with open(f"{path}.md", "w", encoding="utf-8") as file:
        file.write(report_page(report, plots))
    print(f"report: {path}.json, {path}.md" + "".join(f", {os.path.join(folder, plot)}" for plot in plots))


def _ngram(flag_values: flags.FlagValues, experiment: Any) -> dict[str, Any]:
    """Perplexity of a Kneser-Ney model over the same tokens."""
    import math

    from tflm.evaluation import NgramModel

    stores = [experiment.store(split) for split in ("train", flag_values.split)]
    train_ids, held_out_ids = (store.values("token_ids") for store in stores)
    baseline = NgramModel.train(train_ids, experiment.tokenizer.vocab_size)
    loss = -float(baseline.log_probabilities(held_out_ids)[1:].mean())  # the first token is given
    measures = {"loss": loss, "perplexity": math.exp(loss)}
    print(f"{baseline.order}-gram, Kneser-Ney: {describe('', measures).strip()}")
    return {"ngram": {**measures, "order": baseline.order, "num_parameters": baseline.num_parameters}}


def _print_texts(report: dict[str, Any], count: int) -> None:
    if "signatures" in report:
        print(f"\n{count:,} pairs")
        for name, signature in report["signatures"].items():
            low, high = report["this model"][f"{name}_interval"]
            print(f"{name} {report['this model'][name]:.2f}  [{low:.2f}, {high:.2f}]  {signature}")
        return
    print(f"\n{count:,} held-out pairs        ROUGE-1  ROUGE-2  ROUGE-L")
    for name in ("this model", "source's first sentence"):
        values = [report[name][kind] for kind in ("rouge1", "rouge2", "rougeL")]
        print(f"{name:<28}" + "".join(f"{value:8.2f} " for value in values))


def _print_spans(report: dict[str, Any], count: int) -> None:
    values = report["this model"]
    print(f"\n{count:<22,}precision   recall       F1   spans")
    kinds = ("precision", "recall", "f1")
    total = sum(row["support"] for row in values["per_label"].values())
    micro = {**{kind: values[f"micro_{kind}"] for kind in kinds}, "support": total}
    for name, row in {"all spans": micro, **values["per_label"]}.items():
        print(f"{name:<22}" + "".join(f"{100 * row[kind]:9.2f}" for kind in kinds) + f"{row['support']:8,}")


def _print_labels(report: dict[str, Any], count: int) -> None:
    print(f"\n{count:<22,}accuracy  [95% interval]   macro F1  calibration error")
    for name in ("this model", "logistic regression"):
        if name in report:
            values = report[name]
            low, high = (100 * end for end in values["accuracy_interval"])
            print(
                f"{name:<22}{100 * values['accuracy']:8.2f}  [{low:5.2f}, {high:5.2f}]  "
                f"{100 * values['macro_f1']:9.2f}  {100 * values['expected_calibration_error']:17.2f}"
            )
    if "p_value" in report:
        print(f"p = {report['p_value']:.4f} that the regression is no worse (paired bootstrap)")


if __name__ == "__main__":
    sys.exit(run())
