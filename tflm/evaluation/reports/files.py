"""The files of a report: report.json, the page report.md, and the plots of a classifier."""

import json
import os
from typing import Any, NamedTuple

import numpy as np

from tflm.errors import UserError
from tflm.evaluation.reports.plots import confusion_matrix, plot_confusion, plot_reliability
from tflm.evaluation.reports.report_page import report_page
from tflm.files.writing import whole_file

Report = dict[str, Any]


class ReportFiles(NamedTuple):
    """What was written."""

    paths: list[str]
    notices: list[str]
    """What is to be said of the plots, such as labels that no font has."""


def write_report(report: Report, folder: str, ending: str = "") -> ReportFiles:
    """report.json, report.md and the plots.

    Args:
        report: `Experiment.evaluate` gives one.
        folder: made if need be.
        ending: of the names: "_test" for report_test.json.
    Raises:
        UserError: they cannot be written there.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        legends, notices = _plots(report, folder, ending)
        path = os.path.join(folder, f"report{ending}")
        page = report_page(report, list(legends), legends)
        with whole_file(f"{path}.json") as aside, open(aside, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2, ensure_ascii=False)
        with whole_file(f"{path}.md") as aside, open(aside, "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise UserError(f"cannot write the report into {folder!r}: {error.strerror}.") from error
    plots = [os.path.join(folder, plot) for plot in legends]
    return ReportFiles([f"{path}.json", f"{path}.md", *plots], notices)


def read_report(path: str) -> Report:
    """What `write_report` wrote.

    Raises:
        UserError: the file cannot be read, or is no report.
    """
    try:
        with open(path, "rb") as file:
            report = json.loads(file.read())  # UTF-8, UTF-16 or UTF-32
        texts = report.get("texts", []) if isinstance(report, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, dict) for text in texts):
            raise ValueError("an object with a list of texts was expected")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path!r} is no report: {error}. Measure that one again by tflm evaluate."
        ) from error
    return report


def _plots(report: Report, folder: str, ending: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """With one label an example: the confusion matrix and the calibration. File names, each with what the numbers in
    the picture mean; and notices."""
    texts = report.get("texts", [])
    if not texts or "right" not in texts[0]:
        return {}, []
    names = list(report["this model"]["per_label"])
    labels, answers, scores, right = (
        [text[key] for text in texts] for key in ("label", "answer", "score", "right")
    )
    if not {*labels, *answers} <= {*names}:
        return {}, []
    plots = [f"confusion{ending}.png", f"reliability{ending}.png"]
    drawn = plot_confusion(confusion_matrix(labels, answers, names), names, os.path.join(folder, plots[0]))
    notice = drawn.notice(os.path.join(folder, plots[0]))
    plot_reliability(np.array(scores), np.array(right), os.path.join(folder, plots[1]))
    return {plots[0]: drawn.legend, plots[1]: {}}, [notice] if notice else []
