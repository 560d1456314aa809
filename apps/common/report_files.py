"""What `tflm evaluate` prints of a report, and the files that it leaves."""

import os
import tempfile
from typing import Any

from tflm.errors import UserError

from .command_line import note
from .tables import show_table

Report = dict[str, Any]


def print_report(report: Report) -> None:
    """The measures of a report, as a table for the eye."""
    measures, count = report["this model"], len(report["texts"])
    if "per_label" not in measures:
        _print_measures(report, count)
    elif "accuracy" in measures:
        _print_labels(report, count)
    else:
        _print_spans(report, count)


def print_examples(report: Report, keys: tuple[str, ...], number: int) -> None:
    """The first examples, each with its answer where it has one."""
    for text in report["texts"][:number]:
        lines = [f"{key}: {str(text[key])[:300]}" for key in (*keys, "answer") if key in text]
        print("\n" + "\n".join(lines))


def check_folder(folder: str, message: str = "cannot write the report into {folder!r}: {reason}.") -> None:
    """Makes the folder of the report if need be, before the work begins.

    Raises:
        UserError: files cannot be written there; with the message.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(message.format(folder=folder, reason=error.strerror)) from error


def find_report(path: str, ending: str) -> Report:
    """The report to compare with.

    Args:
        path: the folder that report is in, that of a run or an --output; or the report itself.
        ending: of the report's name: "" or "_test".
    Raises:
        UserError: there is no report.
    """
    file_path = path if path.endswith(".json") else os.path.join(path, f"report{ending}.json")
    if not os.path.exists(file_path):
        raise UserError(
            f"--against={path}: there is no {file_path!r}. Measure that one first, by the same command."
        )
    from tflm.evaluation import read_report

    return read_report(file_path)


def compare_with(report: Report, path: str, other: Report) -> dict[str, Any]:
    """The difference to another report, printed on the way.

    Args:
        path: where the other report is, for the eye.
    Raises:
        UserError: `compare_reports` refuses.
    """
    from tflm.evaluation import compare_reports

    found = {"run": path, **compare_reports(report, other)}
    low, high = found["difference_interval"]
    print(
        f"\n{found['measure']} {found['this']:.2f}, of {path} {found['other']:.2f}: difference "
        f"{found['difference']:+.2f} [{low:+.2f}, {high:+.2f}], p = {found['p_value']:.4f} that this run is no better"
    )
    return found


def write_report(report: Report, folder: str, ending: str) -> None:
    """report.json, report.md and the plots; printed on the way.

    Raises:
        UserError: they cannot be written there.
    """
    from tflm.evaluation import write_report

    written = write_report(report, folder, ending)
    for notice in written.notices:
        note(notice)
    print(f"report: {', '.join(written.paths)}")


def _print_measures(report: Report, count: int) -> None:
    """A row for each measure, a column for the model and one for a baseline."""
    columns = {name: report[name] for name in ("this model", "source's first sentence") if name in report}
    values = columns["this model"]
    counts = {name: value for name, value in values.items() if isinstance(value, int)}
    others = "".join(f", {value:,} {name.removeprefix('num_')}" for name, value in counts.items())
    print(f"\n{count:,} examples{others}; 95% intervals in brackets")
    names = [name for name, value in values.items() if isinstance(value, float)]
    show_table(
        ["", *columns], [[name, *(_measure(each, name) for each in columns.values())] for name in names]
    )
    for name, signature in report.get("signatures", {}).items():
        print(f"{name}: {signature}")


def _measure(values: dict[str, Any], name: str, scale: float = 1.0) -> str:
    """A measure with its interval, where there is one; "–" where it was not measured."""
    if name not in values:
        return "–"
    ends = ", ".join(f"{scale * end:.2f}" for end in values.get(f"{name}_interval", ()))
    return f"{scale * values[name]:.2f}" + (f" [{ends}]" if ends else "")


def _print_spans(report: Report, count: int) -> None:
    values = report["this model"]
    total = sum(row["support"] for row in values["per_label"].values())
    micro = {
        name.removeprefix("micro_"): value for name, value in values.items() if name.startswith("micro_")
    }
    rows = {"all spans": {**micro, "support": total}, **values["per_label"]}
    kinds = ("precision", "recall", "f1")
    print(f"\n{count:,} examples; 95% intervals in brackets")
    show_table(
        ["", "precision", "recall", "F1", "spans"],
        [
            [name, *(_measure(row, kind, 100) for kind in kinds), f"{row['support']:,}"]
            for name, row in rows.items()
        ],
    )


def _print_labels(report: Report, count: int) -> None:
    rows = {name: report[name] for name in ("this model", "logistic regression") if name in report}
    kinds = ("accuracy", "macro_f1", "expected_calibration_error")
    print(f"\n{count:,} examples; 95% intervals in brackets")
    show_table(
        ["", "accuracy", "macro F1", "calibration error"],
        [[name, *(_measure(row, kind, 100) for kind in kinds)] for name, row in rows.items()],
    )
    if "p_value" in report:
        print(f"p = {report['p_value']:.4f} that the regression is no worse (paired bootstrap)")
