"""Evaluation: metrics, baselines, confidence intervals, run comparison, reports and plots."""

from tflm.evaluation.baselines.logistic_regression import text_regression
from tflm.evaluation.baselines.ngram import NgramModel
from tflm.evaluation.evaluate import evaluate
from tflm.evaluation.metrics.bleu import CorpusScore, bleu
from tflm.evaluation.metrics.classification import classification, expected_calibration_error
from tflm.evaluation.metrics.intervals import Interval, bootstrap, paired_bootstrap, seeds_interval
from tflm.evaluation.metrics.rouge import rouge
from tflm.evaluation.metrics.spans import report_spans, span_scores
from tflm.evaluation.metrics.text_losses import document_losses, report_losses, token_losses
from tflm.evaluation.registry import (
    METRICS,
    REPORT_FNS,
    TextScores,
    averaged,
    register_metric,
    register_report,
)
from tflm.evaluation.reports.answers import AnswerFn, BatchedAnswers, Signatures, signature_fn
from tflm.evaluation.reports.comparison import (
    ComparedRun,
    compare_reports,
    comparison_cells,
    comparison_notes,
    comparison_record,
    comparison_table,
    interval_note,
    language_measures,
    logged_measures,
    loss_difference,
    reported_measures,
    training_cost,
)
from tflm.evaluation.reports.curves import COLOURS, Curve, Panel, curves_svg
from tflm.evaluation.reports.files import ReportFiles, read_report, write_report
from tflm.evaluation.reports.held_out_text import HeldOutText, held_out_text
from tflm.evaluation.reports.label_report import regression_baseline, report_labels
from tflm.evaluation.reports.pareto import Point, pareto_front, pareto_svg
from tflm.evaluation.reports.plots import (
    Coordinate,
    check_axis,
    plot_comparison,
    plot_coordinates,
    plot_losses,
)
from tflm.evaluation.reports.report_page import report_page
from tflm.evaluation.reports.retrieval_report import report_retrieval
from tflm.evaluation.reports.text_report import report_texts
from tflm.text.sentences import first_sentence

__all__ = [
    "COLOURS",
    "METRICS",
    "REPORT_FNS",
    "AnswerFn",
    "BatchedAnswers",
    "ComparedRun",
    "Coordinate",
    "CorpusScore",
    "Curve",
    "HeldOutText",
    "Interval",
    "NgramModel",
    "Panel",
    "Point",
    "ReportFiles",
    "Signatures",
    "TextScores",
    "averaged",
    "bleu",
    "bootstrap",
    "check_axis",
    "classification",
    "compare_reports",
    "comparison_cells",
    "comparison_notes",
    "comparison_record",
    "comparison_table",
    "curves_svg",
    "document_losses",
    "evaluate",
    "expected_calibration_error",
    "first_sentence",
    "held_out_text",
    "interval_note",
    "language_measures",
    "logged_measures",
    "loss_difference",
    "paired_bootstrap",
    "pareto_front",
    "pareto_svg",
    "plot_comparison",
    "plot_coordinates",
    "plot_losses",
    "read_report",
    "register_metric",
    "register_report",
    "regression_baseline",
    "report_labels",
    "report_losses",
    "report_page",
    "report_retrieval",
    "report_spans",
    "report_texts",
    "reported_measures",
    "rouge",
    "seeds_interval",
    "signature_fn",
    "span_scores",
    "text_regression",
    "token_losses",
    "training_cost",
    "write_report",
]
