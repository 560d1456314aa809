"""Rounding to 8 and 4 bits, and models with quantized weights against the same models in float32."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.by_heart import overfit
from tflm.export.quantize import (
    assign_rounded,
    describe_weights,
    group_size,
    quantize_int4,
    quantize_int8,
    quantized_weights,
    replace_weights,
)
from tflm.export.stored_matrix import dequantize, pack_codes, unpack_codes
from tflm.layers import PooledHead
from tflm.layers.quantized import QuantizedMatrix
from tflm.models import (
    HeadModel,
    LSTMConfig,
    LSTMEncoderConfig,
    LSTMEncoderDecoderConfig,
    SkipGramConfig,
    TransformerDecoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
    build_model,
)

RNG = np.random.default_rng(5)
MATRICES = {
    "normal": RNG.normal(size=(20, 64)),
    "heavy_tails": RNG.standard_t(2, size=(20, 64)),
    "small": RNG.normal(size=(20, 64)) * 1e-6,
    "far_from_zero": RNG.normal(size=(20, 64)) + 100.0,
    "one_sign": np.abs(RNG.normal(size=(20, 64))),
    "constant": np.full((20, 64), 0.3),
    "zero": np.zeros((20, 64)),
    "one_outlier": np.eye(20, 64) * 1e3,
}


@pytest.mark.parametrize("name", MATRICES)
def test_no_value_moves_by_more_than_half_a_step(name):
    rows = MATRICES[name].astype(np.float32)
    eight, four = quantize_int8(rows), quantize_int4(rows, group_size(64))
    steps = {8: eight.scales[:, None], 4: np.swapaxes(four.scales, 1, 2)[0].astype(np.float32)[:, :, None]}
    for bits, stored in ((8, eight), (4, four)):
        errors = np.abs(dequantize(stored) - rows).reshape(20, -1, 64 if bits == 8 else 32)
        limit = np.broadcast_to(steps[bits].reshape(20, -1, 1), errors.shape) / 2
        # The last digit of float32 values far from 0 comes on top.
        assert np.all(errors <= limit * 1.001 + np.abs(rows).max() * 3e-7)
    if name == "zero":
        assert not dequantize(eight).any() and not dequantize(four).any()


def test_the_bytes_of_a_group():
    rows = RNG.normal(size=(128, 768)).astype(np.float32)
    four = quantize_int4(rows, group_size(768))
    assert sum(array.nbytes for array in four) == 128 * 768 // 2 + 2 * 2 * 128 * 768 // 64
    assert sum(array.nbytes for array in quantize_int8(rows)[:2]) == 128 * 768 + 4 * 128


def test_packing_is_exact():
    codes = np.arange(512, dtype=np.uint8).reshape(16, 32) % 16
    packed = pack_codes(codes)
    assert packed.shape == (16, 16) and packed.dtype == np.uint8
    np.testing.assert_array_equal(unpack_codes(packed), codes)
    assert pack_codes(np.array([[0, 15, 8, 1]], np.uint8)).tolist() == [[0x80, 0x1F]]


@pytest.mark.parametrize(
    "width,expected", [(768, 64), (896, 64), (100, 50), (64, 32), (16, 8), (97, 0), (194, 0), (4, 0)]
)
def test_the_group_of_a_width(width, expected):
    assert group_size(width) == expected


DECODER = TransformerDecoderConfig(
    vocab_size=40, num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32, max_length=16, use_bias=True
)
LSTM = LSTMConfig(vocab_size=40, num_layers=1, hidden_dim=16, max_length=16)
CONFIGS = {
    "decoder": DECODER,
    "untied": dataclasses.replace(DECODER, tied_output=False, positions="learned"),
    "encoder": TransformerEncoderConfig(
        vocab_size=40, num_layers=1, hidden_dim=16, num_heads=2, embedding_dim=8, max_length=16
    ),
    "encoder_decoder": TransformerEncoderDecoderConfig(
        vocab_size=40, num_layers=1, hidden_dim=16, num_heads=2, max_length=16, positions="relative"
    ),
    "lstm": LSTM,
    "lstm_untied": dataclasses.replace(LSTM, embedding_dim=8, tied_output=False),
    "lstm_encoder": LSTMEncoderConfig(vocab_size=40, num_layers=1, hidden_dim=16),
    "luong": LSTMEncoderDecoderConfig(vocab_size=40, num_layers=1, hidden_dim=16),
    "bahdanau": LSTMEncoderDecoderConfig(vocab_size=40, num_layers=1, hidden_dim=16, attention="bahdanau"),
    "skip_gram": SkipGramConfig(vocab_size=40, hidden_dim=16),
}
MATRIX_NAMES = ("kernel", "recurrent_kernel", "context_kernel", "embeddings")
KEPT = ("position_embedding", "segment_embedding", "position_bias", "attention/score")


def outputs(model, name):
    """Logits of three rows; of a model that generates also those of a step after a prompt."""
    token_ids = np.random.default_rng(0).integers(1, 40, size=(3, 5)).astype(np.int32)
    features = {"source_ids": token_ids[:, :4]} if "source_ids" in model.features else {}
    found = [model(token_ids, **features)]
    if hasattr(model, "step"):
        context = model.encode(features["source_ids"]) if model.has_encoder else None
        state = model.initial_state(3, 8, context=context)
        _, state = model.step(token_ids[:, :4], state, last_only=True)
        found.append(model.step(token_ids[:, 4:], state, last_only=True)[0])
    return [np.asarray(x) for x in found]


@pytest.mark.parametrize("scheme", ["int8", "int4"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_quantized_model_is_the_model_with_rounded_weights(name, scheme):
    keras.utils.set_random_seed(3)
    model = build_model(CONFIGS[name])
    for variable in model.trainable_variables:
        variable.assign(RNG.normal(0.0, 0.3, variable.shape))
    before = outputs(model, name)
    matrices = {
        variable.path
        for variable in model.weights
        if len(variable.shape) == 2
        and variable.path.rpartition("/")[2] in MATRIX_NAMES
        and not any(part in variable.path for part in KEPT)
    }
    quantized = quantized_weights(model, scheme)
    assert {weight.path for weight in quantized} == matrices
    assign_rounded(quantized)
    expected = outputs(model, name)
    replace_weights(quantized)
    assert not matrices & {variable.path for variable in model.weights}
    assert {f"{path}/codes" for path in matrices} <= {variable.path for variable in model.weights}
    for one, other, original in zip(outputs(model, name), expected, before, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)
        assert np.abs(other - original).max() > 1e-4, "weights were rounded"


def test_without_the_embedding_and_of_a_classifier():
    body = build_model(dataclasses.replace(DECODER, tied_output=False))
    paths = [weight.path for weight in quantized_weights(body, "int4", embedding=False)]
    assert paths and all("/decoder/block_0/" in path for path in paths)
    model = HeadModel(build_model(CONFIGS["encoder"]), PooledHead(2, name="classifier"))
    paths = [weight.path for weight in quantized_weights(model, "int8")]
    assert "transformer_encoder/token_embedding/embeddings" in paths
    assert not any("classifier" in path or "head" in path for path in paths), "unused, or the task's own"


def test_a_model_of_large_matrices_takes_a_quarter_and_a_seventh():
    config = dataclasses.replace(DECODER, hidden_dim=128, num_heads=2, intermediate_dim=512, num_layers=2)
    model = build_model(config)
    for scheme, least, most in (("int8", 3.8, 4.0), ("int4", 6.5, 8.0)):
        quantized = quantized_weights(model, scheme)
        found = describe_weights(quantized, scheme, model.num_parameters())
        after, before = (
            int(text.replace(",", "").split()[-1]) for text in found["bytes of all weights"].split(";")
        )
        assert before == 4 * model.num_parameters()
        assert least < before / after < most
        assert {weight.stored.centers is None for weight in quantized} == {scheme == "int8", True}
    assert "largest relative error" in found["matrices in 4 bits"]


def test_a_trained_model_keeps_its_predictions():
    """Bytes of English and Chinese, learned by heart."""
    keras.utils.set_random_seed(0)
    config = dataclasses.replace(DECODER, vocab_size=256, hidden_dim=32, intermediate_dim=64, max_length=32)
    model, texts = build_model(config), ("the cat sat on the mat.", "床前明月光，疑是")
    rows = np.zeros((2, 24), np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text.encode())] = list(text.encode())
    optimizer = keras.optimizers.Adam(1e-2)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(rows[:, 1:], model(rows[:, :-1]))
            loss = tf.reduce_sum(losses)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    overfit(step)
    expected = np.argmax(model(rows[:, :-1]), axis=-1)
    np.testing.assert_array_equal(expected[:, 1:], rows[:, 2:])
    eight, four = (quantized_weights(model, scheme) for scheme in ("int8", "int4"))
    assign_rounded(eight)
    np.testing.assert_array_equal(np.argmax(model(rows[:, :-1]), axis=-1), expected)
    replace_weights(four)
    assert isinstance(model.embedding.embeddings, QuantizedMatrix)
    np.testing.assert_array_equal(np.argmax(model(rows[:, :-1]), axis=-1), expected)
