"""What every model over text shares."""

import dataclasses

import numpy as np
import pytest
from keras import ops

from tflm.models import (
    LSTMEncoderConfig,
    TransformerEncoderConfig,
    TransformerEncoderDecoderConfig,
    build_model,
)

IDS = np.arange(1, 29, dtype=np.int32).reshape(2, 14)
BODIES = [
    TransformerEncoderConfig(vocab_size=29, num_layers=1, hidden_dim=8, num_heads=2, max_length=16),
    TransformerEncoderDecoderConfig(vocab_size=29, num_layers=1, hidden_dim=8, num_heads=2, max_length=16),
    LSTMEncoderConfig(vocab_size=29, num_layers=1, hidden_dim=8, max_length=16),
]


@pytest.mark.parametrize("config", BODIES, ids=lambda config: config.kind)
def test_token_dropout_hides_whole_tokens_in_training_alone(config):
    model = build_model(dataclasses.replace(config, token_dropout=0.25))
    plain = ops.convert_to_numpy(model.embed(IDS))
    assert (np.abs(plain).sum(axis=-1) > 0).all()
    dropped = np.stack([ops.convert_to_numpy(model.embed(IDS, training=True)) for _ in range(40)])
    hidden = np.abs(dropped).sum(axis=-1) == 0
    # 1,120 draws: five standard deviations from a quarter.
    assert abs(hidden.mean() - 0.25) < 5 * (0.25 * 0.75 / hidden.size) ** 0.5
    expected = np.where(hidden[..., None], 0.0, plain[None] / 0.75)
    np.testing.assert_allclose(dropped, expected, rtol=1e-5)


def test_without_token_dropout_training_embeds_as_always():
    model = build_model(BODIES[0])
    np.testing.assert_array_equal(model.embed(IDS, training=True), model.embed(IDS))
    names = {
        variable.path for variable in build_model(dataclasses.replace(BODIES[0], token_dropout=0.5)).variables
    }
    assert {variable.path for variable in model.variables} < names
    assert {variable.path for variable in model.trainable_variables} == {
        variable.path
        for variable in build_model(dataclasses.replace(BODIES[0], token_dropout=0.5)).trainable_variables
    }
