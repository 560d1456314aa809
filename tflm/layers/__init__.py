"""Keras layers of the models. They use `keras` and `keras.ops` only, so they run on every Keras backend."""

from tflm.layers.attention import Attention, soft_cap
from tflm.layers.bidirectional_lstm import BidirectionalLSTM
from tflm.layers.capturing import Captured, capture, capturing
from tflm.layers.dropout import Dropout, Masks, drawing_masks, drawing_masks_again, drawing_part
from tflm.layers.feed_forward import FeedForward
from tflm.layers.fusion import Fusion, any_shapes, compiled, fused, fusing
from tflm.layers.heads import EmbeddingHead, PooledHead, SpanHead, TokenHead, pool
from tflm.layers.lstm import LSTM, run_layers, zero_state
from tflm.layers.lstm_attention import AttentiveLSTM, BahdanauAttention, LuongAttention, SourceAttention
from tflm.layers.masks import cache_mask, causal_mask, document_mask, padding_mask, window_mask
from tflm.layers.norms import make_norm
from tflm.layers.positions import rotate, sinusoidal_positions
from tflm.layers.probe import Probe, probed, probing
from tflm.layers.relative_positions import RelativePositionBias
from tflm.layers.transformer_block import TransformerBlock

__all__ = [
    "LSTM",
    "Attention",
    "AttentiveLSTM",
    "BahdanauAttention",
    "BidirectionalLSTM",
    "Captured",
    "Dropout",
    "EmbeddingHead",
    "FeedForward",
    "Fusion",
    "LuongAttention",
    "Masks",
    "PooledHead",
    "Probe",
    "RelativePositionBias",
    "SourceAttention",
    "SpanHead",
    "TokenHead",
    "TransformerBlock",
    "any_shapes",
    "cache_mask",
    "capture",
    "capturing",
    "causal_mask",
    "compiled",
    "document_mask",
    "drawing_masks",
    "drawing_masks_again",
    "drawing_part",
    "fused",
    "fusing",
    "make_norm",
    "padding_mask",
    "pool",
    "probed",
    "probing",
    "rotate",
    "run_layers",
    "sinusoidal_positions",
    "soft_cap",
    "window_mask",
    "zero_state",
]
