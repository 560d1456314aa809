"""How good a model is: perplexity, ROUGE, a baseline to stand beside it, and a plot of its training."""

from tflm.evaluation.baseline import first_sentence
from tflm.evaluation.perplexity import perplexity
from tflm.evaluation.plots import plot_losses
from tflm.evaluation.rouge import rouge

__all__ = ["first_sentence", "perplexity", "plot_losses", "rouge"]
