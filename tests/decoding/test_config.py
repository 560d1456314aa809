import pytest
import tensorflow as tf

from tflm.decoding import DecodingConfig, settings_specs, settings_tensors
from tflm.decoding.config import check_settings
from tflm.errors import UserError


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("seed", 2**63, "seed is 9223372036854775808, expected a whole number of 64 bits"),
        ("temperature", -1.0, r"temperature is -1.0, expected 0 \(greedy\) or a positive number"),
        ("temperature", float("nan"), "temperature is nan"),
        ("top_k", -1, r"top_k is -1, expected 0 \(off\) or a positive whole number. Set another top_k"),
        ("top_k", 2.5, "top_k is 2.5, expected a whole number"),
        ("top_p", 1.5, r"top_p is 1.5, expected a number from 0 to 1 \(off\)"),
        ("min_p", 2.0, r"min_p is 2.0, expected a number from 0 \(off\) to 1"),
        ("repetition_penalty", 0.0, "repetition_penalty is 0.0, expected a positive number, 1 is off"),
        ("max_new_tokens", -1, "max_new_tokens is -1, expected 0 or a positive whole number"),
        (
            "min_new_tokens",
            65,
            "min_new_tokens is 65, expected a whole number from 0 to max_new_tokens, which is 64",
        ),
    ],
)
def test_a_value_out_of_range_is_refused(field, value, message):
    with pytest.raises(UserError, match=message):
        DecodingConfig(**{field: value})


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
    with pytest.raises(UserError, match=r"top_p is int32, expected float32 \[B\]. Cast it"):
        check_settings({**settings, "top_p": tf.constant([1])})
