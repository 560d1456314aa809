"""Settings as tensors, and what is refused; clipping of beam settings is in test_beam_step.py."""

import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.generation import DecodingConfig, settings_specs, settings_tensors
from tflm.generation.config import BeamConfig, beam_settings_lists
from tflm.generation.settings import (
    beam_settings_specs,
    beam_settings_tensors,
    check_beam_settings,
    check_settings,
    repeat_rows,
)


def test_tensors_repeat_the_config_and_fit_the_specs():
    settings = settings_tensors(DecodingConfig(seed=-(2**40), top_k=40, top_p=0.5), batch_size=3)
    specs = settings_specs()
    assert list(settings) == list(specs)
    for name, spec in specs.items():
        assert spec.is_compatible_with(settings[name]) and spec.name == name
    assert settings["seed"].numpy().tolist() == [-(2**40)] * 3
    assert settings["top_k"].numpy().tolist() == [40] * 3
    assert settings["top_p"].numpy().tolist() == [0.5] * 3
    assert settings_tensors(DecodingConfig(), tf.constant(2))["max_new_tokens"].numpy().tolist() == [64, 64]


def test_wrong_settings_are_refused():
    settings = settings_tensors(DecodingConfig(), 1)
    with pytest.raises(UserError, match=r"lack \['top_k'\] and have unknown \['topk'\]. Give exactly"):
        check_settings({("topk" if name == "top_k" else name): value for name, value in settings.items()})
    with pytest.raises(
        UserError, match=r"top_p is int32 of shape \(1,\), expected float32 \[B\]. Cast or reshape it"
    ):
        check_settings({**settings, "top_p": tf.constant([1])})
    with pytest.raises(UserError, match=r"stop is string of shape \(1,\), expected string \[B, N\]"):
        check_settings({**settings, "stop": tf.constant(["a"])})


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
        ({"seed": [1]}, r"lack \[\] and have unknown \['seed'\]. Give exactly \['beam_size', "),
        (
            {"beam_size": [1.0]},
            r"setting beam_size is float32 of shape \(1,\), expected int32 \[B\]. Cast or reshape it.",
        ),
        ({"banned_ids": [1]}, r"banned_ids is int32 of shape \(1,\), expected int32 \[B, N\]"),
    ],
)
def test_wrong_settings_are_refused_beams(changes, message):
    changes = {name: tf.constant(values) for name, values in changes.items()}
    with pytest.raises(UserError, match=message):
        check_beam_settings({**beam_settings_tensors(BeamConfig(), DecodingConfig(), 1), **changes})


def test_rows_are_repeated_in_order_and_scalars_stay():
    values = {"text": tf.constant(["a", "你"]), "ids": tf.constant([[1, 2], [3, 4]]), "index": tf.constant(7)}
    graph = tf.function(repeat_rows)
    found = graph(values, tf.constant(2))
    assert [text.decode() for text in found["text"].numpy()] == ["a", "a", "你", "你"]
    assert found["ids"].numpy().tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    assert found["index"].numpy() == 7
    assert graph({**values, "text": tf.constant([], tf.string), "ids": tf.zeros([0, 2], tf.int32)}, 2)[
        "ids"
    ].shape == [0, 2]
