"""Settings as tensors, and what is refused; values out of range are in test_beam.py."""

import pytest
import tensorflow as tf

from tflm.decoding import DecodingConfig
from tflm.decoding.beam_config import BeamConfig, beam_settings_lists
from tflm.decoding.beam_settings import beam_settings_specs, beam_settings_tensors, check_beam_settings
from tflm.errors import UserError


def test_tensors_lists_and_specs_agree():
    configs = BeamConfig(beam_size=3, length_penalty=0.6), DecodingConfig(forced_ids=(7, 8))
    tensors, lists = beam_settings_tensors(*configs, 2), beam_settings_lists(*configs, 2)
    specs = beam_settings_specs()
    assert list(tensors) == list(lists) == list(specs)
    for name, spec in specs.items():
        assert spec.name == name and spec.is_compatible_with(tensors[name])
        assert tf.reduce_all(tensors[name] == tf.constant(lists[name], spec.dtype))
    check_beam_settings(tensors)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seed": tf.constant([1])}, r"lack \[\] and have unknown \['seed'\]. Give exactly \['beam_size', "),
        (
            {"beam_size": tf.constant([1.0])},
            r"setting beam_size is float32 of shape \(1,\), expected int32 \[B\]. Cast or reshape it.",
        ),
        ({"banned_ids": tf.constant([1])}, r"banned_ids is int32 of shape \(1,\), expected int32 \[B, N\]"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        check_beam_settings({**beam_settings_tensors(BeamConfig(), DecodingConfig(), 1), **changes})
