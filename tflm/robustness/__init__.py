"""Robustness of a model's predictions: perturbations, templates, and how often a prediction is not as expected."""

from typing import TYPE_CHECKING

from tflm.lazy import lazy_exports

if TYPE_CHECKING:
    from tflm.robustness.checking import CheckOptions, CheckReport, Failure, Outcome, check
    from tflm.robustness.perturbation import Perturbation, PerturbationOptions, perturbation
    from tflm.robustness.templates import TemplateTest, read_templates

__getattr__, __all__ = lazy_exports(__name__, __file__)
