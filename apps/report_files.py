"""What `apps.evaluate` prints of a report, and the files that it leaves."""

import json
import os
from typing import Any

from tflm.errors import UserError

Report = dict[str, Any]


def print_report(kind: str, report: Report) -> None:
    """The measures of a report of `tflm.evaluation.REPORTS`, as a table for the eye."""
    count = len(report["texts"])
    {"classification": _print_labels, "tagging": _print_spans}.get(kind, _print_measures)(report, count)


def print_examples(report: Report, keys: tuple[str, ...], number: int) -> None:
    """The first examples, each with its answer where it has one."""
    for text in report["texts"][:number]:
        lines = [f"{key}: {str(text[key])[:300]}" for key in (*keys, "answer") if key in text]
        print("\n" + "\n".join(lines))


def read_report(path: str) -> Report:
    """What `write_report` left.

    Raises:
        UserError: the file cannot be read, or is no report.
    """
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        texts = report.get("texts", []) if isinstance(report, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, dict) for text in texts):
            raise ValueError("an object with a list of texts was expected")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path!r} is no report: {error}. Measure that one again by apps.evaluate."
        ) from error
    return report


def compare_with(report: Report, path: str, ending: str) -> dict[str, Any]:
    """The difference to another report, printed on the way.

    Args:
        path: the folder that report is in, that of a run or an --output; or the report itself.
        ending: of the report's name: "" or "_test".
    Raises:
        UserError: there is none, or `compare_reports` refuses.
    """
    from tflm.evaluation import compare_reports

    file_path = path if path.endswith(".json") else os.path.join(path, f"report{ending}.json")
    if not os.path.exists(file_path):
        raise UserError(
            f"--against={path}: there is no {file_path!r}. Measure that one first, by the same command."
        )
    other = read_report(file_path)
    found = {"run": path, **compare_reports(report, other)}
    low, high = found["difference_interval"]
    print(
        f"\n{found['measure']} {found['this']:.2f}, of {path} {found['other']:.2f}: difference "
        f"{found['difference']:+.2f} [{low:+.2f}, {high:+.2f}], p = {found['p_value']:.4f} that this run is no better"
    )
    return found


def write_report(report: Report, folder: str, ending: str) -> None:
    """report.json, report.md and the plots.

    Raises:
        UserError: they cannot be written there.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        plots = _plots(report, folder, ending)
        path = os.path.join(folder, f"report{ending}")
        _write(path, report, plots)
    except OSError as error:
        raise UserError(f"cannot write the report into {folder!r}: {error.strerror}.") from error
    print(f"report: {path}.json, {path}.md" + "".join(f", {os.path.join(folder, plot)}" for plot in plots))


def _write(path: str, report: Report, plots: list[str]) -> None:
    from tflm.evaluation import report_page

    with open(f"{path}.json", "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2, ensure_ascii=False)
    with open(f"{path}.md", "w", encoding="utf-8") as file:
        file.write(report_page(report, plots))


def _plots(report: Report, folder: str, ending: str) -> list[str]:
    """Of one label an example: which were taken for which, and how far probabilities can be believed."""
    import numpy as np

    from tflm.evaluation.classification_plots import confusion_matrix, plot_confusion, plot_reliability

    texts = report.get("texts", [])
    if not texts or "right" not in texts[0]:
        return []
    names = list(report["this model"]["per_label"])
    labels, answers, scores, right = (
        [text[key] for text in texts] for key in ("label", "answer", "score", "right")
    )
    if not {*labels, *answers} <= {*names}:
        return []
    plots = [f"confusion{ending}.png", f"reliability{ending}.png"]
    plot_confusion(confusion_matrix(labels, answers, names), names, os.path.join(folder, plots[0]))
    plot_reliability(np.array(scores), np.array(right), os.path.join(folder, plots[1]))
    return plots


def _print_measures(report: Report, count: int) -> None:
    """A line for each measure, with its interval and what must be told with it; a baseline beside it."""
    rows = {name: report[name] for name in ("this model", "source's first sentence") if name in report}
    counts = {name: value for name, value in rows["this model"].items() if isinstance(value, int)}
    others = "".join(f", {value:,} {name.removeprefix('num_')}" for name, value in counts.items())
    print(f"\n{count:,} examples{others}; 95% intervals in brackets")
    for row_name, row in rows.items():
        print(row_name)
        for name, value in row.items():
            if isinstance(value, float):
                ends = ", ".join(f"{end:.2f}" for end in row.get(f"{name}_interval", ()))
                print(f"  {name:<12}{value:8.2f}" + (f"  [{ends}]" if ends else ""))
    for name, signature in report.get("signatures", {}).items():
        print(f"{name}: {signature}")


def _print_spans(report: Report, count: int) -> None:
    values = report["this model"]
    print(f"\n{count:<22,}precision   recall       F1   [95% interval]   spans")
    kinds = ("precision", "recall", "f1")
    total = sum(row["support"] for row in values["per_label"].values())
    micro = {
        name.removeprefix("micro_"): value for name, value in values.items() if name.startswith("micro_")
    }
    for name, row in {"all spans": {**micro, "support": total}, **values["per_label"]}.items():
        low, high = (100 * end for end in row["f1_interval"])
        shares = "".join(f"{100 * row[kind]:9.2f}" for kind in kinds)
        print(f"{name:<22}{shares}  [{low:6.2f}, {high:6.2f}]{row['support']:8,}")


def _print_labels(report: Report, count: int) -> None:
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
