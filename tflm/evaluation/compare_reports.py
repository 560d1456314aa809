"""Two reports over the same examples: is one run better than the other?"""

from typing import Any

from tflm.errors import UserError
from tflm.evaluation.intervals import bootstrap, paired_bootstrap
from tflm.evaluation.report_page import example_scores

_KEYS = ("source", "target", "text", "text_pair", "label", "spans")


def compare_reports(report: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The mean difference of single examples' scores, with its 95% interval, and a paired bootstrap test.

    Args:
        report, other: as `apps.evaluate` writes them, with `texts`.
    Returns:
        `measure` of single examples, as `example_scores` names it, its mean for `this` and the `other`, their
        `difference` and `difference_interval`, and `p_value`: how probable it is that this one is no
        better on other such examples (Koehn, 2004, section 4).
    Raises:
        UserError: a report has no texts, or they are over different examples, by different measures, or of language
            models that cut the texts into different tokens.
    """
    texts, others = (each.get("texts", []) for each in (report, other))
    if not texts or not others:
        raise UserError(
            "runs are compared by the texts of their reports, and one has none: this kind of task, or an older "
            "apps.evaluate. Language models are compared by apps.compare, too."
        )
    ours, theirs = ([{key: text.get(key) for key in _KEYS} for text in side] for side in (texts, others))
    if ours != theirs:
        raise UserError(
            f"the two reports are over different examples ({len(texts):,} and {len(others):,}): measure both runs on "
            "the same data, with the same --split and --limit."
        )
    (measure, scores), (other_measure, other_scores) = example_scores(texts), example_scores(others)
    if measure != other_measure:
        raise UserError(f"one report is measured by {measure}, the other by {other_measure}.")
    if any(a.get("num_tokens") != b.get("num_tokens") for a, b in zip(texts, others, strict=True)):
        raise UserError(
            "the two models cut the texts into different tokens, so a token of one is not one of the other: compare "
            "them by apps.compare, which counts bytes."
        )
    difference = bootstrap(scores - other_scores)
    return {
        "measure": measure,
        "this": float(scores.mean()),
        "other": float(other_scores.mean()),
        "difference": difference.mean,
        "difference_interval": [difference.low, difference.high],
        "p_value": paired_bootstrap(scores, other_scores),
    }
