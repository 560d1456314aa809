import pytest
import tensorflow as tf

from tflm.decoding import DecodingConfig, settings_specs, settings_tensors
from tflm.decoding.settings import check_settings
from tflm.errors import UserError


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
