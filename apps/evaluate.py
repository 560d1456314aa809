"""Measures a run, or an export, on its held-out side, on its test side, or on a file.

  python -m apps.evaluate --workdir=runs/tiny
  python -m apps.evaluate --workdir=runs/summarizer --limit=200 --examples=5
  python -m apps.evaluate --workdir=runs/en_de --output=reports/beams --beam_size=4
  python -m apps.evaluate --workdir=runs/sst2 --split=test --against=runs/sst2_lstm
  python -m apps.evaluate --model=saved_models/sst2 --output=reports/sst2
  python -m apps.evaluate --model=saved_models/sst2 --data=reviews.tsv --output=reports/reviews --against=runs/sst2

Prints what the task is measured by, each with its 95% interval and beside a baseline: of a run the loss, and perplexity
beside a Kneser-Ney n-gram model; for a language model the perplexity of each text by itself; for a task of pairs ROUGE
of what the model writes beside the first sentence of the source, or BLEU and chrF; for labels accuracy and F1 beside a
logistic regression; for spans their F1; for similarity how sources find their targets. All of it goes into report.json
in --output, with every text, and into report.md to read: slices by length and by label, the best and the worst
examples, speed and size; for labels also confusion.png and reliability.png. Of the test side the names are
report_test.json and so on.

An export answers through its signatures alone, by the data that its own config names; a run and its export get the
same figures. What a model writes is by its own settings; with --beam_size by beam search.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from apps.command_line import describe, load_tensorflow, run_app
from apps.measured import Measured, find_data, open_export, open_run
from apps.report_files import compare_with, print_examples, print_report, write_report
from tflm.errors import UsageError, UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", None, "The run's folder, from apps.train.", flag_values=FLAGS)
flags.DEFINE_integer("step", None, "Which checkpoint; the newest by default.", flag_values=FLAGS)
flags.DEFINE_string("model", None, "In place of --workdir: saved_models/NAME[/VERSION].", flag_values=FLAGS)
flags.DEFINE_string(
    "output", None, "Folder of the report; by default --workdir. An export needs one.", flag_values=FLAGS
)
flags.DEFINE_enum("split", "eval", ["eval", "test"], "Which side.", flag_values=FLAGS)
flags.DEFINE_string(
    "data",
    None,
    "A file to measure on, all of it, in place of --split: .tsv, .csv, .jsonl, ...",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set", [], "How the data is read, such as data.text_column=body; may be repeated.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "limit", 0, "Examples to answer; 0 for all. A run's loss is over all.", lower_bound=0, flag_values=FLAGS
)
flags.DEFINE_integer("examples", 3, "Answers to print.", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 64, "Texts in one batch.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string(
    "against",
    None,
    "A run or an --output that was measured on the same examples: adds the difference, with its interval and a paired "
    "test.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "beam_size",
    0,
    "Of a task of pairs: what the model writes is by beam search, with so many beams. 0 is by its own settings.",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_boolean("baseline", True, "Train and measure the baseline too.", flag_values=FLAGS)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    _check_flags(flag_values)
    load_tensorflow()
    from tflm.evaluation import REPORTS

    is_run = bool(flag_values.workdir)
    measured = open_run(flag_values.workdir, flag_values.step) if is_run else open_export(flag_values.model)
    config = measured.config
    data, split = find_data(config, flag_values.data, flag_values.split, flag_values.set)
    side = "data" if flag_values.data else split
    report: dict[str, Any] = {"name": config.name, "step": measured.step, "split": side, **measured.facts}
    if flag_values.beam_size:
        report["beam_size"] = flag_values.beam_size
        measured = dataclasses.replace(measured, find_fn=by_beams(measured, flag_values.beam_size))
    if is_run and not flag_values.data:
        report.update(_held_out(flag_values, measured))
    else:
        print(f"{config.name}, step {measured.step:,}, on {flag_values.data or f'its {side} side'}")
    if config.task.kind in REPORTS:
        report.update(_report(flag_values, measured, data, split))
    elif "held_out" not in report:
        raise UserError(
            f"exports, and files by --data, are measured for the tasks {', '.join(sorted(REPORTS))}; this model's is "
            f"{config.task.kind}. Measure its run by --workdir."
        )
    ending = "_test" if side == "test" else ""
    if flag_values.against:
        report["against"] = compare_with(report, flag_values.against, ending)
    write_report(report, flag_values.output or flag_values.workdir, ending)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _check_flags(flag_values: flags.FlagValues) -> None:
    if bool(flag_values.workdir) == bool(flag_values.model):
        raise UsageError("--workdir is needed: the folder of a run; or --model, an export. Give one of them.")
    if flag_values.model and not flag_values.output:
        raise UsageError("--output is needed beside --model: the folder for the report.")
    if flag_values.model and flag_values.step is not None:
        raise UsageError(
            "--step is for --workdir; a version of an export is --model=saved_models/NAME/VERSION."
        )
    for name in ("data", "beam_size"):
        if flag_values[name].value and flag_values.workdir and not flag_values.output:
            raise UsageError(
                f"--output is needed beside --{name}, so that the run's own report stays as it is."
            )


def _held_out(flag_values: flags.FlagValues, measured: Measured) -> dict[str, Any]:
    """The measures of training over the whole side, and the n-gram model beside them; printed on the way."""
    from tflm.evaluation import evaluate

    experiment, split = measured.experiment, flag_values.split
    measures = evaluate(experiment.task, measured.model, experiment.batches(split, training=False))
    count = measures.get("num_tokens", measures.get("num_examples", 0))
    noun = "tokens" if "num_tokens" in measures else "examples"
    print(f"step {measured.step:,}, {count:,.0f} {'held-out' if split == 'eval' else 'test'} {noun}")
    print(describe("", measures).strip())
    ngram = experiment.config.task.kind == "language_modeling" and flag_values.baseline
    return {"held_out": measures, **(_ngram(experiment, split) if ngram else {})}


def _report(flag_values: flags.FlagValues, measured: Measured, data: Any, split: str) -> dict[str, Any]:
    """What the model answers, measured; printed on the way."""
    from tflm.data import read_examples
    from tflm.decoding import settings_lists
    from tflm.evaluation import REPORTS, Signatures, regression_beside

    task = measured.config.task
    signature, keys, report_fn = REPORTS[task.kind]
    examples = list(itertools.islice(_readable(data, split, measured), flag_values.limit or None))
    settings = {name: value[0] for name, value in settings_lists(measured.config.decoding, 1).items()}
    signatures = Signatures(measured.find_fn, flag_values.batch_size, settings)
    report = report_fn(signatures, examples, task)
    # Conversations go through another signature than single questions.
    asked = signatures(signature if signatures(signature).num_rows else "chat")
    report["texts_per_second"] = asked.rows_per_second
    has_regression = task.kind == "classification" and not task.label_separator
    if flag_values.baseline and has_regression and not flag_values.data:
        report |= regression_beside(report, list(read_examples(data, "train")))
    print_report(task.kind, report)
    print_examples(report, keys, flag_values.examples)
    return report


def by_beams(measured: Measured, beam_size: int) -> Callable[[str], Any]:
    """The name of a signature to its `AnswerFn`, but texts are those of beam search, of the model's own settings.

    Raises:
        UsageError: the model does not write one text for one, or there may not be so many beams.
    """
    from tflm.decoding import settings_lists
    from tflm.decoding.beam_config import BeamConfig, beam_settings_lists

    config = measured.config
    if config.task.kind not in ("pairs", "chat"):
        raise UsageError(
            f"--beam_size is for tasks of pairs; this model's is {config.task.kind}: leave it out."
        )
    try:
        beams = BeamConfig(beam_size)
    except UserError as error:
        raise UsageError(str(error)) from error

    def find(name: str) -> Any:
        if name == "chat":
            raise UsageError("--beam_size is for single questions; these are conversations: leave it out.")
        if name != "serving_default":
            return measured.find_fn(name)
        search = measured.find_fn("beam")

        def answer(columns: dict[str, Any]) -> dict[str, Any]:
            num_rows = len(columns["text"])
            texts = settings_lists(config.decoding, num_rows)
            settings = beam_settings_lists(beams, config.decoding, num_rows)
            request = {**columns, **settings, "stop": texts["stop"], "choices": texts["choices"]}
            return {"text": search(request)["text"][:, 0]}

        return answer

    return find


def _readable(data: Any, split: str, measured: Measured) -> Any:
    """The examples; of an export it is said what to do where its data is not on this machine."""
    from tflm.data import read_examples

    try:
        yield from read_examples(data, split)
    except UserError as error:
        if measured.experiment is None:
            raise UserError(
                f"{error}\nThat is the data that the export was trained on, or was given: name another by --data=FILE."
            ) from error
        raise


def _ngram(experiment: Any, split: str) -> dict[str, Any]:
    """Perplexity of a Kneser-Ney model over the same tokens."""
    import math

    from tflm.evaluation import NgramModel

    stores = [experiment.store(split) for split in ("train", split)]
    train_ids, held_out_ids = (store.values("token_ids") for store in stores)
    baseline = NgramModel.train(train_ids, experiment.tokenizer.vocab_size)
    loss = -float(baseline.log_probabilities(held_out_ids)[1:].mean())  # the first token is given
    measures = {"loss": loss, "perplexity": math.exp(loss)}
    print(f"{baseline.order}-gram, Kneser-Ney: {describe('', measures).strip()}")
    return {"ngram": {**measures, "order": baseline.order, "num_parameters": baseline.num_parameters}}


if __name__ == "__main__":
    sys.exit(run())
