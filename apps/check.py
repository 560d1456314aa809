"""Checks how robust a model is: typing noise, other spellings, negation, your own tests.

  tflm check --model=saved_models/reviews --data=test.tsv
  tflm check --model=saved_models/reviews --data=test.tsv --tests=typos,negation --limit=500 --examples=5
  tflm check --model=saved_models/reviews --data=评论.csv --text_column=评论 --label_column=标签 --output=check.html
  tflm check --model=saved_models/reviews --templates=reviews.yaml
  tflm check --model=http://127.0.0.1:8501/v1/models/reviews --data=test.tsv --fail_above=0.1 --output=check.json
  tflm check --list

Prints a row for each test: how many texts it changes, for how many of them the prediction is not as expected, that
share with a 95% interval, and, where the data has labels, the accuracy before and after the change. Then examples of
failures, the greatest change of probability first. What is drawn depends on --seed and the text alone.

  invariance     the prediction stays: typing noise, homophones, case, width, punctuation, synonyms, names, additions
  direction      after a negation the probability of the predicted label does not rise by more than
                 --direction_tolerance
  input          an empty text and the like have a valid prediction
  functionality  of --templates: each filling has the expected label; docs/robustness.md has the format

Models that classify, tag, compare or answer questions, and generative models (greedily). Of tags the labels are
compared, of answers and generated texts the text.
"""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.errors import UsageError, UserError
from tflm.files.formats import source_of
from tflm.progress import ProgressBar

from .common.command_line import note, run_app
from .common.input_rows import FILES, FORMATS, bad_lines, read_file
from .common.model_flag import connect_model, define_model
from .common.tables import bold, show_table

if TYPE_CHECKING:
    from tflm.robustness import CheckReport

FLAGS = flags.FlagValues()
define_model(FLAGS)
flags.DEFINE_string("data", None, f"A file of texts: one text per line; {FILES}", flag_values=FLAGS)
flags.DEFINE_enum(
    "input_format",
    "auto",
    ["auto", *FORMATS],
    "The format of --data. auto goes by the ending of the file.",
    flag_values=FLAGS,
)
for _name in ("text", "text_pair", "question", "context"):
    flags.DEFINE_string(
        f"{_name}_column",
        _name,
        f"The column of --data that holds {_name!r}: its name; without a header its number, from 0.",
        flag_values=FLAGS,
    )
flags.DEFINE_string(
    "label_column",
    None,
    "The column of --data that holds the labels. If not given: label, where there is such a column.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("limit", 0, "Texts to read; 0 reads all.", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_list(
    "tests", [], "The tests to run, as --list names them. If not given: all that apply.", flag_values=FLAGS
)
flags.DEFINE_bool("list", False, "Lists the tests and ends.", flag_values=FLAGS)
flags.DEFINE_string(
    "templates",
    None,
    "A file of tests with slots, YAML or JSON (.json). Example: reviews.yaml.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "synonyms",
    None,
    "For the test synonyms: a file with words that may stand for each other on a line, with tabs between.",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "rate",
    0.1,
    "Share of the words of a text that typos, homophones and synonyms change; one at least.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "tolerance",
    0.0,
    "Invariance: another label counts only where the probability of the first label fell by more than this.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "direction_tolerance",
    0.1,
    "Direction: by how much the probability may rise.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)
flags.DEFINE_integer("seed", 0, "Seed of all that is drawn.", flag_values=FLAGS)
flags.DEFINE_integer(
    "max_new_tokens",
    32,
    "Of a generative model: the most tokens of an answer.",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer("batch_size", 32, "Texts per request to the model.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("examples", 2, "Failures of each test to print.", lower_bound=0, flag_values=FLAGS)
flags.DEFINE_string(
    "output",
    None,
    "Writes the report with all failures to this file, .json or .html. Example: check.html.",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "fail_above",
    None,
    "The exit code is 1 if a test fails more often than this. Example: 0.1.",
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if flag_values.list:
        _list()
        return
    _check_flags(flag_values)
    from tflm.data.augmentation import Synonyms
    from tflm.robustness import CheckOptions, PerturbationOptions, check, read_templates
    from tflm.robustness.perturbation import find_perturbation
    from tflm.robustness.predictors import predictor_of

    for name in flag_values.tests:
        find_perturbation(name)
    synonyms = Synonyms.read(flag_values.synonyms, "--synonyms") if flag_values.synonyms else None
    options = CheckOptions(
        PerturbationOptions(flag_values.rate, synonyms),
        tolerance=flag_values.tolerance,
        direction_tolerance=flag_values.direction_tolerance,
        seed=flag_values.seed,
        max_new_tokens=flag_values.max_new_tokens,
        batch_size=flag_values.batch_size,
    )
    model = connect_model(flag_values)
    names = predictor_of(model).names
    templates = (
        read_templates(flag_values.templates, names, flag_values.seed) if flag_values.templates else []
    )
    texts, labels = _texts(flag_values, names) if flag_values.data else ([], None)
    with ProgressBar("checking", "tests") as bar:
        report = check(
            model,
            texts,
            labels,
            tests=flag_values.tests,
            templates=templates,
            options=options,
            progress_fn=bar.update,
        )
    _show(report, flag_values.examples)
    if flag_values.output:
        _write(report, flag_values.output)
    _judge(report, flag_values.fail_above)


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _check_flags(flag_values: flags.FlagValues) -> None:
    if not flag_values.data and not flag_values.templates:
        raise UsageError("--data is needed: a file of texts, or --templates, a file of tests.")
    if flag_values.tests and not flag_values.data:
        raise UsageError("--tests change the texts of --data: give it.")
    if flag_values.output and not flag_values.output.endswith((".json", ".html")):
        raise UsageError(f"--output={flag_values.output} must end in .json or .html.")
    if flag_values.rate == 0.0:
        raise UsageError("--rate is above 0: a share of the words of a text.")


def _list() -> None:
    from tflm.robustness.perturbation import all_perturbations

    width = max(len(each.name) for each in all_perturbations())
    for each in all_perturbations():
        needs = f" Needs {each.needs}." if each.needs else ""
        print(f"{each.name:{width}}  {each.kind:10}  {each.summary}{needs}")


def _texts(
    flag_values: flags.FlagValues, names: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[str] | None]:
    """The rows of --data, and their labels where there are such; rows that cannot be read are reported and left out."""
    columns = {name: str(flag_values[f"{name}_column"].value) for name in names}
    path, format_name = flag_values.data, flag_values.input_format

    def read(columns: dict[str, str]) -> list[Any]:
        items = []
        for item in read_file(path, format_name, columns, "--data"):
            items.append(item)
            if len(items) == flag_values.limit:
                break
        return items

    if flag_values.label_column is not None:
        items = read({**columns, "label": flag_values.label_column})
    elif (source_of(path) if format_name == "auto" else format_name) == "text":
        items = read(columns)
    else:
        try:
            items = read({**columns, "label": "label"})
        except UserError:  # no such column; another error is raised again
            items = []
        if all(item.problem for item in items):  # JSON without labels
            items = read(columns)
    lost, first = bad_lines(items)
    if lost:
        note(f"{lost} of {len(items)} lines could not be read and are left out; the first is {first}")
    good = [item.fields for item in items if not item.problem]
    if not good:
        raise UserError(f"--data={path} has no texts.")
    labels = [fields["label"] for fields in good] if "label" in good[0] else None
    return [tuple(fields[name] for name in names) for fields in good], labels


def _show(report: "CheckReport", num_examples: int) -> None:
    from tflm.robustness.report import prediction_change, report_table, without_cases

    header, rows = report_table(report)
    show_table(header, rows)
    for each in report.tests:
        for failure in each.failures[:num_examples]:
            print(f"\n{bold(each.name)}: {prediction_change(failure)}")
            for text in failure.texts:
                print(f"  {_line(text)}")
            for text, before in zip(failure.changed, failure.texts):
                if text != before:
                    print(f"  {_line(text)}")
    if report.num_texts:
        accuracy = "" if report.accuracy is None else f"; accuracy {100 * report.accuracy:.1f}%"
        note(f"{report.num_texts:,} texts{accuracy}.")
    if unused := without_cases(report):
        note(f"nothing to change for {', '.join(unused)}.")
    for reason in report.left_out:
        note(f"left out: {reason}")


def _line(text: str) -> str:
    """A text on a line of at most 200 characters, its end too, where additions are."""
    shown = " ".join(text.split()) if text.strip() else repr(text)
    return shown if len(shown) <= 200 else f"{shown[:120]} ... {shown[-75:]}"


def _write(report: "CheckReport", path: str) -> None:
    from tflm.files.writing import whole_file, writing
    from tflm.robustness.report import report_page, report_record

    if path.endswith(".html"):
        content = report_page(report)
    else:
        content = json.dumps(report_record(report), ensure_ascii=False, indent=1) + "\n"
    with writing(f"--output={path}"), whole_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
        file.write(content)
    print(f"\nwritten: {path}")


def _judge(report: "CheckReport", limit: float | None) -> None:
    """Raises UserError if a test fails more often than the limit."""
    if limit is None:
        return
    above = [each for each in report.tests if each.num_cases and each.rate > limit]
    if above:
        names = ", ".join(f"{each.name} {100 * each.rate:.1f}%" for each in above)
        raise UserError(
            f"{len(above)} of {len(report.tests)} tests fail more often than {limit:.1%}: {names}."
        )


if __name__ == "__main__":
    sys.exit(run())
