"""Accuracy by the number of labelled examples: from nothing, after pretraining, and of a logistic regression.

    python benchmarks/learning_curve.py --output=runs/curve --set data.path=online_shopping \\
        --line=shopping_sentiment_transformer --line=shopping_sentiment_transformer@runs/shopping_pretraining \\
        --fractions=0.02,1 --steps=200,3000

A line is a recipe, or a recipe and after `@` the run or the export whose body it begins with. Every line is trained
on each fraction of the training side, for a number of steps, with each seed, and measured on the test side
(--split=eval: on the held-out side): the lines differ in their first weights alone. Runs that are done are not done
again, so an interrupted curve goes on.

Prints a Markdown table, and writes it with curve.json and curve.png into --output. An interval is of Student's t over
the seeds, of the difference too, seed by seed; that of the regression, which has no seed, is over examples.
"""

import dataclasses
import json
import os
import subprocess
import sys

from absl import app, flags

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

flags.DEFINE_multi_string("line", None, "RECIPE or RECIPE@RUN_OR_EXPORT; as often as wanted.", required=True)
flags.DEFINE_multi_string("set", [], "section.field=value for every run.")
flags.DEFINE_list("fractions", ["0.1", "1"], "Of the training side.")
flags.DEFINE_list("steps", ["200", "1000"], "For each fraction.")
flags.DEFINE_integer("seeds", 3, "Runs of each line at each fraction.", lower_bound=2)
flags.DEFINE_enum("split", "test", ["eval", "test"], "What is measured.")
flags.DEFINE_string("output", None, "Folder of the runs and the results.", required=True)


@dataclasses.dataclass(frozen=True)
class Line:
    """A recipe with what it begins with."""

    preset: str
    init_from: str

    @classmethod
    def parse(cls, text: str) -> "Line":
        """`RECIPE` or `RECIPE@RUN`."""
        preset, _, init_from = text.partition("@")
        return cls(preset, init_from)

    @property
    def name(self) -> str:
        """For tables and folders."""
        return f"{self.preset} after {os.path.basename(self.init_from)}" if self.init_from else self.preset


def measured_run(line: Line, fraction: str, steps: str, seed: int) -> float:
    """Trains and measures one run; its accuracy in percent."""
    values = flags.FLAGS
    workdir = os.path.join(values.output, line.name.replace(" ", "_"), f"{fraction}_{seed}")
    report = os.path.join(workdir, "report.json" if values.split == "eval" else "report_test.json")
    if not os.path.exists(report):
        settings = [
            f"data.train_fraction={fraction}",
            f"training.num_steps={steps}",
            f"training.eval_every={steps}",
            f"training.checkpoint_every={steps}",
            f"training.seed={seed}",
            *values.set,
        ]
        changes = [part for setting in settings for part in ("--set", setting)]
        start = [f"--init_from={line.init_from}"] if line.init_from else []
        run_app(["apps.train", f"--preset={line.preset}", f"--workdir={workdir}", *changes, *start])
        run_app(["apps.evaluate", f"--workdir={workdir}", f"--split={values.split}", "--nobaseline"])
    with open(report, encoding="utf-8") as file:
        return 100 * json.load(file)["this model"]["accuracy"]


def run_app(command: list[str]) -> None:
    """In a process of its own, without its progress bars."""
    environment = {**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, encoding="utf-8", env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def regression(fraction: str) -> tuple[int, tuple[float, float, float]]:
    """How many labelled examples a fraction has, and the regression's accuracy in percent with its interval."""
    import numpy as np

    from tflm.config import override
    from tflm.data import read_examples
    from tflm.evaluation import bootstrap
    from tflm.evaluation.baselines.logistic_regression import text_regression
    from tflm.recipes import load_preset

    values = flags.FLAGS
    config = override(load_preset(Line.parse(values.line[0]).preset), values.set)
    train = list(read_examples(dataclasses.replace(config.data, train_fraction=float(fraction)), "train"))
    examples = list(read_examples(config.data, values.split))
    texts, labels = ([example[key] for example in train] for key in ("text", "label"))
    found, _, _ = text_regression(texts, labels, [example["text"] for example in examples])
    right = [example["label"] == label for example, label in zip(examples, found, strict=True)]
    mean, low, high = bootstrap(100 * np.array(right, np.float64))
    return len(train), (mean, low, high)


def row(fraction: str, steps: str, lines: list[Line]) -> dict[str, object]:
    """All that is measured at one fraction."""
    from tflm.evaluation import seeds_interval

    values = flags.FLAGS
    accuracies = {}
    for line in lines:
        accuracies[line] = [measured_run(line, fraction, steps, seed) for seed in range(values.seeds)]
        print(f"{fraction} {line.name}: {accuracies[line]}", file=sys.stderr, flush=True)
    num_labelled, baseline = regression(fraction)
    gains = {}
    for line in lines:
        start = Line(line.preset, "")
        if line.init_from and start in accuracies:
            pairs = zip(accuracies[line], accuracies[start], strict=True)
            gains[line.name] = seeds_interval([after - before for after, before in pairs])
    return {
        "num_labelled": num_labelled,
        "steps": int(steps),
        "accuracies": {line.name: accuracies[line] for line in lines},
        "lines": {line.name: seeds_interval(accuracies[line]) for line in lines},
        "gains": gains,
        "logistic regression": baseline,
    }


def table(rows: list[dict[str, object]]) -> str:
    """Markdown."""
    names = [*rows[0]["lines"], *(f"gain: {name}" for name in rows[0]["gains"])]
    head = ["labelled examples", "steps", *names, "logistic regression"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for each in rows:
        cells = [*each["lines"].values(), *each["gains"].values(), each["logistic regression"]]
        shown = [f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in cells]
        lines.append(f"| {each['num_labelled']:,} | {each['steps']:,} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def plot(rows: list[dict[str, object]], path: str) -> None:
    """Accuracy over the number of labelled examples."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    counts = [each["num_labelled"] for each in rows]
    curves = {name: [each["lines"][name] for each in rows] for name in rows[0]["lines"]}
    curves["logistic regression"] = [each["logistic regression"] for each in rows]
    for name, points in curves.items():
        means = [mean for mean, _, _ in points]
        reach = [
            [mean - low for mean, low, _ in points],
            [high - mean for mean, _, high in points],
        ]
        axes.errorbar(counts, means, yerr=reach, marker="o", capsize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("labelled examples")
    axes.set_ylabel("accuracy, %")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main(argv: list[str]) -> None:
    """Trains what is missing, then prints and writes the results."""
    del argv
    values = flags.FLAGS
    if len(values.fractions) != len(values.steps):
        raise SystemExit(
            f"{len(values.fractions)} fractions and {len(values.steps)} steps: give one for each."
        )
    lines = [Line.parse(text) for text in values.line]
    rows = [row(fraction, steps, lines) for fraction, steps in zip(values.fractions, values.steps)]
    shown = table(rows)
    print(shown)
    with open(os.path.join(values.output, "curve.md"), "w", encoding="utf-8") as file:
        file.write(shown + "\n")
    with open(os.path.join(values.output, "curve.json"), "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=2)
    plot(rows, os.path.join(values.output, "curve.png"))


if __name__ == "__main__":
    sys.path.insert(0, ROOT)
    app.run(main)
