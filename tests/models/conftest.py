"""Small models of every kind, with weights that hide nothing."""

import dataclasses

import keras
import numpy as np
import pytest

from tflm.export.verify import as_written
from tflm.models import LSTMConfig, TransformerDecoderConfig, build_model
from tflm.tasks.features.ngram_counts import count_ngrams

VOCAB_SIZE = 29

_DECODER = TransformerDecoderConfig(
    vocab_size=VOCAB_SIZE, num_layers=2, hidden_dim=16, num_heads=4, intermediate_dim=24, max_length=16
)
_LSTM = LSTMConfig(vocab_size=VOCAB_SIZE, num_layers=2, hidden_dim=12, max_length=16)
_change = dataclasses.replace

CONFIGS = {
    "rotary": _DECODER,
    "grouped": _change(_DECODER, num_kv_heads=2, qk_norm=True, rotary_base=100.0),
    "one_kv_head": _change(_DECODER, num_kv_heads=1, use_bias=True, tied_output=False),
    "gpt2": _change(_DECODER, norm="layer_norm", positions="learned", activation="gelu", use_bias=True),
    "original": _change(
        _DECODER, norm="layer_norm", norm_position="post", positions="sinusoidal", activation="relu_squared"
    ),
    "post_rms": _change(_DECODER, norm_position="post", positions="learned", tied_output=False),
    "relu_squared": _change(_DECODER, activation="relu_squared", qk_norm=True, num_layers=1),
    "relative": _change(_DECODER, positions="relative", activation="geglu", scale_embedding=True),
    "gemma": _change(
        _DECODER,
        num_layers=3,
        num_kv_heads=2,
        head_width=6,
        norm_position="both",
        qk_norm=True,
        attention_cap=3.0,
        logit_cap=4.0,
        sliding_window=4,
        full_attention_layers=(1,),
        local_rotary_base=50.0,
        rotary_scaling="linear",
        rotary_factor=2.0,
    ),
    "lstm": _LSTM,
    "lstm_untied": _change(_LSTM, num_layers=1, tied_output=False),
    "lstm_deep": _change(_LSTM, num_layers=3),
    "counted": _change(_DECODER, num_layers=1, ngram_contexts=(1, 2, 4), ngram_cells=2**14),
    "lstm_counted": _change(_LSTM, num_layers=1, ngram_contexts=(1, 3), ngram_cells=2**14),
}


def make(config, seed=0, scale=None):
    """A model with its own initial weights, or with normal ones of a standard deviation of `scale`, biases and
    norms too."""
    keras.utils.set_random_seed(seed)
    model = build_model(config)
    if scale is not None:
        rng = np.random.default_rng(seed)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(0.0, scale, variable.shape))
        if getattr(config, "ngram_contexts", ()):
            count_random_text(model.ngram_embedding)
    return model


def count_random_text(layer):
    """Gives a layer the n-grams of a text of which most contexts of up to two tokens are frequent."""
    token_ids = np.random.default_rng(5).integers(0, VOCAB_SIZE, 3000).astype(np.int32)
    offsets = np.array([0, 1000, 3000])
    layer.table.assign(
        count_ngrams(token_ids, offsets, layer.contexts, layer.cells, layer.num_candidates).table
    )


@pytest.fixture(params=list(CONFIGS))
def config(request):
    """Each test that asks for it runs once for every kind of model."""
    return CONFIGS[request.param]


@pytest.fixture(scope="session", params=list(CONFIGS))
def random_model(request):
    """Each test that asks for it runs once for every kind of model, with large random weights; it changes none."""
    return make(CONFIGS[request.param], scale=0.3)


@pytest.fixture(scope="session")
def configs():
    return CONFIGS


@pytest.fixture(scope="session")
def make_model():
    return make


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture(autouse=True, scope="module")
def without_graph_optimizer():
    """These graphs run a few times each: to optimise them takes longer than to run them."""
    with as_written():
        yield
