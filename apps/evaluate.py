"""Evaluates a run or an export on held-out data, on test data or on a file.

  tflm evaluate --workdir=runs/tiny
  tflm evaluate --workdir=runs/summarizer --limit=200 --examples=5
  tflm evaluate --workdir=runs/en_de --output=reports/beams --beam_size=4
  tflm evaluate --workdir=runs/en_de --output=reports/average --checkpoint=average
  tflm evaluate --workdir=runs/sst2 --split=test --against=runs/sst2_lstm
  tflm evaluate --model=saved_models/sst2 --output=reports/sst2
  tflm evaluate --model=saved_models/sst2 --data=reviews.tsv --output=reports/reviews --against=runs/sst2

Prints what the task is measured by, each with its 95% interval and next to a baseline: for a run the loss, and
perplexity compared with a Kneser-Ney n-gram model; for a language model the perplexity of each text by itself; for a
task of pairs ROUGE of the generated text compared with the first sentence of the source, or BLEU and chrF; for labels
accuracy and F1 compared with a logistic regression; for spans their F1; for similarity how sources find their targets.
All of it goes into report.json in --output, with every text, and into report.md to read: slices by length and by label,
the best and the worst examples, speed and size; for labels also confusion.png and reliability.png. Of the test side the
names are report_test.json and so on.

An export answers through its signatures alone, by the data that its own config names; a run and its export get the
same figures. What a model writes is by its own settings; with --beam_size by beam search. BLEU cuts
words by the script of the targets, or by --bleu_tokenizer; its signature names the way.
"""

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from tflm.errors import UsageError

from .common.checkpoint_flag import chosen_checkpoint, define_checkpoint
from .common.command_line import describe, load_tensorflow, note, quiet_libraries, run_app
from .common.plugins import define_plugins, use_plugins
from .common.report_files import (
    check_folder,
    compare_with,
    find_report,
    print_examples,
    print_report,
    write_report,
)

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "workdir", None, "Folder of the run, from tflm train. Example: runs/tiny.", flag_values=FLAGS
)
define_checkpoint(FLAGS)
flags.DEFINE_string(
    "model",
    None,
    "In place of --workdir: an export, saved_models/NAME or saved_models/NAME/VERSION.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "Folder of the report; --workdir if not given. Needed with --model.", flag_values=FLAGS
)
flags.DEFINE_enum(
    "split", "eval", ["eval", "test"], "The held-out data or the test data of the run.", flag_values=FLAGS
)
flags.DEFINE_string(
    "data",
    None,
    "In place of --split: a file to evaluate on (.tsv, .csv, .jsonl, ...), all of it.",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set", [], "Changes a field of the data section. Example: data.text_column=body.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "limit",
    0,
    "Maximum number of examples to answer; 0 answers all. The loss of a run is over all.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "examples", 3, "Number of examples to print with their answers.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_integer("batch_size", 64, "Texts per batch.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string(
    "against",
    None,
    "A run or an --output that was evaluated on the same examples: adds the difference with its confidence interval "
    "and a paired bootstrap test.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "beam_size",
    0,
    "For generative tasks: beam search with this many beams. 0 uses the decoding settings of the config.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "bleu_tokenizer",
    None,
    ["13a", "char", "intl", "ja-mecab", "ko-mecab", "none", "zh"],
    "Tokenizer of BLEU, as sacreBLEU names it. If not given: zh for Chinese; char for Japanese, Thai, Lao, Khmer and "
    "Burmese; 13a otherwise.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "baseline",
    True,
    "Also trains and evaluates a baseline: n-grams, first sentences or logistic regression, by task.",
    flag_values=FLAGS,
)
define_plugins(FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    _check_flags(flag_values)
    use_plugins(flag_values)
    load_tensorflow()
    from tflm.experiments.evaluate_run import Evaluation, EvaluationOptions

    options = EvaluationOptions(
        split=flag_values.split,
        data=flag_values.data or "",
        settings=tuple(flag_values.set),
        limit=flag_values.limit,
        batch_size=flag_values.batch_size,
        beam_size=flag_values.beam_size,
        bleu_tokenizer=flag_values.bleu_tokenizer or "",
        baseline=flag_values.baseline,
    )
    evaluation = Evaluation(_measured(flag_values), options)
    ending = "_test" if evaluation.side == "test" else ""
    folder = flag_values.output or flag_values.workdir
    # What may be missing is looked for before the work begins, and before anything is printed.
    check_folder(folder)
    other = find_report(flag_values.against, ending) if flag_values.against else None
    report = dict(evaluation.facts)
    if not evaluation.has_held_out:
        where = options.data or f"its {evaluation.side} side"
        print(f"{report['name']}, step {report['step']:,}, on {where}")
    for section in evaluation.sections():
        report |= section
        _print_section(section, report, evaluation, flag_values.examples)
    if other is not None:
        report["against"] = compare_with(report, flag_values.against, other)
    write_report(report, folder, ending)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _measured(flag_values: flags.FlagValues) -> Any:
    """The run, or the export."""
    from tflm.experiments import Experiment
    from tflm.experiments.measured import measured_export, measured_run
    from tflm.serving import connect

    if flag_values.workdir:
        return measured_run(Experiment.open(flag_values.workdir), chosen_checkpoint(flag_values))
    with quiet_libraries():
        model = connect(flag_values.model)
    return measured_export(model, flag_values.model)


def _check_flags(flag_values: flags.FlagValues) -> None:
    if bool(flag_values.workdir) == bool(flag_values.model):
        raise UsageError("--workdir is needed: the folder of a run; or --model, an export. Give one of them.")
    if flag_values.model and not flag_values.output:
        raise UsageError("--output is required with --model: the folder for the report.")
    for name in ("step", "checkpoint"):
        if flag_values.model and flag_values[name].value is not None:
            raise UsageError(
                f"--{name} is for --workdir; a version of an export is --model=saved_models/NAME/VERSION."
            )
    chosen_checkpoint(flag_values)
    for name in ("data", "beam_size"):
        if flag_values[name].value and flag_values.workdir and not flag_values.output:
            raise UsageError(
                f"--output is required with --{name}, so that the run's own report stays as it is."
            )


def _print_section(
    section: dict[str, Any], report: dict[str, Any], evaluation: Any, num_examples: int
) -> None:
    """A part of the report as soon as it is there."""
    if "held_out" in section:
        measures = section["held_out"]
        count = measures.get("num_tokens", measures.get("num_examples", 0))
        noun = "tokens" if "num_tokens" in measures else "examples"
        side = "held-out" if report["split"] == "eval" else "test"
        about = f" ({report['checkpoint']})" if "checkpoint" in report else ""
        print(f"step {report['step']:,}{about}, {count:,.0f} {side} {noun}")
        print(describe("", measures).strip())
        for name, own in measures.get("sources", {}).items():
            print(f"  {name}: {describe('', own).strip()}")
    if "ngram" in section:
        measures = section["ngram"]
        print(f"{measures['order']}-gram, Kneser-Ney: {describe('', measures).strip()}")
    if "this model" in section:
        if section["num_truncated"]:
            note(
                f"{section['num_truncated']:,} of {len(evaluation.examples):,} examples are longer than the model "
                "reads: the measures are of the part that it read."
            )
        print_report(section)
        print_examples(section, evaluation.task_report.keys, num_examples)


if __name__ == "__main__":
    sys.exit(run())
