"""The report of a check, as JSON and as an HTML page."""

import dataclasses
import math
import os
from typing import Any

import jinja2

from tflm.robustness.checking import CheckReport, Failure, Outcome

_MOST_ON_PAGE = 50
"""Failures of a test that the page shows."""


def report_record(report: CheckReport) -> dict[str, Any]:
    """A report as values for JSON; numbers that there are not are None."""
    return {
        "model": report.model,
        "num_texts": report.num_texts,
        "accuracy": report.accuracy,
        "left_out": list(report.left_out),
        "tests": [
            {
                "name": each.name,
                "kind": each.kind,
                "summary": each.summary,
                "num_cases": each.num_cases,
                "num_unchanged": each.num_unchanged,
                "num_failed": each.num_failed,
                "rate": each.rate if each.num_cases else None,
                "interval": list(each.interval),
                "accuracy": None if each.accuracy is None else list(each.accuracy),
                "failures": [_failure(failure) for failure in each.failures],
            }
            for each in report.tests
        ],
    }


def _failure(failure: Failure) -> dict[str, Any]:
    record = dataclasses.asdict(failure)
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in record.items()
    }


def report_table(report: CheckReport) -> tuple[list[str], list[list[str]]]:
    """The header and a row for each test with cases. Failure rates are in percent, with 95% intervals."""
    has_accuracy = any(each.accuracy for each in report.tests)
    header = ["test", "expected", "cases", "failed", "rate", "95% interval"]
    header += ["accuracy", "after"] if has_accuracy else []
    return header, [_line(each, has_accuracy) for each in report.tests if each.num_cases]


def without_cases(report: CheckReport) -> list[str]:
    """The tests that change none of the texts."""
    return [each.name for each in report.tests if not each.num_cases]


def _line(each: Outcome, has_accuracy: bool) -> list[str]:
    low, high = each.interval
    cells = [each.name, each.kind, f"{each.num_cases:,}", f"{each.num_failed:,}"]
    cells += [f"{100 * each.rate:.1f}%", f"{100 * low:.1f} to {100 * high:.1f}%"]
    if has_accuracy:
        cells += [f"{100 * value:.1f}%" for value in each.accuracy] if each.accuracy else ["", ""]
    return cells


def prediction_change(failure: Failure) -> str:
    """What was expected and what was found, for the eye.

    >>> prediction_change(Failure(("a",), ("b",), "good", 0.91, "bad", 0.2))
    'good (p 0.91) -> bad (p of good 0.20)'
    """
    if math.isnan(failure.score) or math.isnan(failure.found_score):
        own = "" if math.isnan(failure.found_score) else f" (p {failure.found_score:.2f})"
        return f"{failure.expected} -> {failure.found}{own}"
    if not failure.expected:  # a similarity
        return f"{failure.score:.2f} -> {failure.found_score:.2f}"
    after = f"p {failure.found_score:.2f}"
    if failure.found != failure.expected:
        after = f"{failure.found} (p of {failure.expected} {failure.found_score:.2f})"
    return f"{failure.expected} (p {failure.score:.2f}) -> {after}"


def report_page(report: CheckReport) -> str:
    """The page, one file that needs nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    header, rows = report_table(report)
    return environment.get_template("report.html").render(
        report=report,
        header=header,
        lines=list(zip([each for each in report.tests if each.num_cases], rows, strict=True)),
        without=without_cases(report),
        most=_MOST_ON_PAGE,
        change=prediction_change,
        parts=changed_parts,
    )


def changed_parts(before: str, after: str) -> list[tuple[str, bool]]:
    """A text in parts, and whether each is other than before.

    >>> changed_parts("a fine film", "a finne film")
    [('a fi', False), ('n', True), ('ne film', False)]
    """
    import difflib

    if len(before) > 2000 or len(after) > 2000:  # quadratic
        size = next(
            (n for n, (a, b) in enumerate(zip(before, after)) if a != b), min(len(before), len(after))
        )
        return [part for part in ((after[:size], False), (after[size:], True)) if part[0]]
    found = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if start < end:
            found.append((after[start:end], kind != "equal"))
    return found
