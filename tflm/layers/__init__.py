"""Keras layers that the models are wired from. Only `keras` and `keras.ops`: they run on every Keras backend."""

from tflm.layers.attention import Attention
from tflm.layers.feed_forward import FeedForward
from tflm.layers.lstm import LSTM
from tflm.layers.masks import cache_mask, causal_mask
from tflm.layers.norms import make_norm
from tflm.layers.positions import rotate, sinusoidal_positions
from tflm.layers.transformer_block import TransformerBlock

__all__ = [
    "LSTM",
    "Attention",
    "FeedForward",
    "TransformerBlock",
    "cache_mask",
    "causal_mask",
    "make_norm",
    "rotate",
    "sinusoidal_positions",
]
