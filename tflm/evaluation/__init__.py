"""How good a model is: its task's measures, baselines to stand beside it, intervals, comparisons and plots."""

from tflm.evaluation.baseline import first_sentence
from tflm.evaluation.bleu import CorpusScore, bleu
from tflm.evaluation.classification import classification, expected_calibration_error
from tflm.evaluation.compare_reports import compare_reports
from tflm.evaluation.comparison import (
    ComparedRun,
    comparison_notes,
    comparison_record,
    comparison_table,
    language_measures,
    logged_measures,
    loss_difference,
    reported_measures,
    training_cost,
)
from tflm.evaluation.evaluate import evaluate
from tflm.evaluation.held_out_text import HeldOutText, held_out_text
from tflm.evaluation.intervals import Interval, bootstrap, paired_bootstrap, seeds_interval
from tflm.evaluation.ngram import NgramModel
from tflm.evaluation.plots import plot_comparison, plot_losses
from tflm.evaluation.report import report_labels, report_texts
from tflm.evaluation.report_page import report_page
from tflm.evaluation.rouge import rouge
from tflm.evaluation.spans import report_spans, span_scores
from tflm.evaluation.text_regression import text_regression
from tflm.evaluation.token_losses import token_losses

__all__ = [
    "ComparedRun",
    "CorpusScore",
    "HeldOutText",
    "Interval",
    "NgramModel",
    "bleu",
    "bootstrap",
    "classification",
    "compare_reports",
    "comparison_notes",
    "comparison_record",
    "comparison_table",
    "evaluate",
    "expected_calibration_error",
    "first_sentence",
    "held_out_text",
    "language_measures",
    "logged_measures",
    "loss_difference",
    "paired_bootstrap",
    "plot_comparison",
    "plot_losses",
    "report_labels",
    "report_page",
    "report_spans",
    "report_texts",
    "reported_measures",
    "rouge",
    "seeds_interval",
    "span_scores",
    "text_regression",
    "token_losses",
    "training_cost",
]
