"""How good a model is: its task's measures, baselines to stand beside it, intervals, comparisons and plots."""

from tflm.evaluation.answers import AnswerFn, BatchedAnswers, signature_fn
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
from tflm.evaluation.document_losses import document_losses, report_losses
from tflm.evaluation.evaluate import evaluate
from tflm.evaluation.held_out_text import HeldOutText, held_out_text
from tflm.evaluation.intervals import Interval, bootstrap, paired_bootstrap, seeds_interval
from tflm.evaluation.label_report import regression_beside, report_labels
from tflm.evaluation.ngram import NgramModel
from tflm.evaluation.plots import plot_comparison, plot_losses
from tflm.evaluation.report import REPORTS, Signatures, TaskReport
from tflm.evaluation.report_page import report_page
from tflm.evaluation.retrieval_report import report_retrieval
from tflm.evaluation.rouge import rouge
from tflm.evaluation.spans import report_spans, span_scores
from tflm.evaluation.text_regression import text_regression
from tflm.evaluation.text_report import report_texts
from tflm.evaluation.token_losses import token_losses

__all__ = [
    "REPORTS",
    "AnswerFn",
    "BatchedAnswers",
    "ComparedRun",
    "CorpusScore",
    "HeldOutText",
    "Interval",
    "NgramModel",
    "Signatures",
    "TaskReport",
    "bleu",
    "bootstrap",
    "classification",
    "compare_reports",
    "comparison_notes",
    "comparison_record",
    "comparison_table",
    "document_losses",
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
    "regression_beside",
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
]
