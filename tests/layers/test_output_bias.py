"""The bias of the tokens."""

import numpy as np

from tflm.layers.output_bias import OutputBias


def test_it_is_added_and_begins_at_zero(rng, check_layer):
    logits = rng.normal(size=(2, 3, 6)).astype(np.float32)
    layer = OutputBias()
    np.testing.assert_array_equal(layer(logits), logits)
    layer.bias.assign(np.arange(6.0))
    np.testing.assert_allclose(layer(logits), logits + np.arange(6.0), rtol=1e-6)
    check_layer(OutputBias, [logits])
