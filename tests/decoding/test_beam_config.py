"""Defaults, checks, and the inputs of a request."""

import pytest

from tflm.decoding import DecodingConfig
from tflm.decoding.beam_config import BeamConfig, beam_settings_lists
from tflm.errors import UserError


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"beam_size": 0}, "beam_size is 0, expected a whole number from 1 to 64. Set another beam_size."),
        ({"beam_size": 65}, "beam_size is 65, expected a whole number from 1 to 64"),
        ({"beam_size": 2.5}, "beam_size is 2.5, expected a whole number from 1 to 64"),
        ({"num_groups": 0}, "num_groups is 0, expected a whole number from 1 to beam_size, which is 4"),
        ({"num_groups": 5}, "num_groups is 5, expected a whole number from 1 to beam_size, which is 4"),
        ({"diversity_penalty": -1}, r"diversity_penalty is -1, expected a number from 0 \(off\) to 1000"),
        (
            {"length_penalty": float("nan")},
            "length_penalty is nan, expected a number from -100 to 100, 0 is off",
        ),
        ({"length_offset": -5}, "length_offset is -5, expected a number from 0 to 1000000"),
    ],
)
def test_values_out_of_range_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        BeamConfig(**wrong)


def test_lists_of_a_request():
    lists = beam_settings_lists(BeamConfig(beam_size=2), DecodingConfig(max_new_tokens=9, banned_ids=(4,)), 2)
    assert lists["beam_size"] == [2, 2] and lists["max_new_tokens"] == [9, 9]
    assert lists["banned_ids"] == [[4], [4]] and lists["forced_ids"] == [[-1], [-1]]
    assert "temperature" not in lists and "stop" not in lists
