"""Defaults, ranges and their messages; the inputs of a request."""

import pytest

from tflm.errors import UserError
from tflm.generation import DecodingConfig, settings_lists
from tflm.generation.config import BeamConfig, beam_settings_lists


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("seed", 2**63, "seed is 9223372036854775808, expected a whole number of 64 bits"),
        ("temperature", -1.0, r"temperature is -1.0, expected 0 \(greedy\) or a positive number"),
        ("temperature", float("nan"), "temperature is nan"),
        ("top_k", -1, r"top_k is -1, expected 0 \(off\) or a positive whole number. Set another top_k"),
        ("top_k", 2.5, r"top_k is 2.5, expected 0 \(off\) or a positive whole number. Set another top_k."),
        ("top_p", 1.5, r"top_p is 1.5, expected a number from 0 to 1 \(off\)"),
        ("min_p", 2.0, r"min_p is 2.0, expected a number from 0 \(off\) to 1"),
        ("repetition_penalty", 0.0, "repetition_penalty is 0.0, expected a positive number, 1 is off"),
        ("typical_p", -0.5, r"typical_p is -0.5, expected a number from 0 to 1 \(off\)"),
        ("frequency_penalty", float("inf"), "frequency_penalty is inf, expected a number, 0 is off"),
        (
            "no_repeat_ngram_size",
            -1,
            "no_repeat_ngram_size is -1, expected 0 \\(off\\) or a positive whole number",
        ),
        ("banned_ids", (3, -1), r"banned_ids is \(3, -1\), expected token ids, 0 and up"),
        ("stop", ("a", ""), r"stop is \('a', ''\), expected texts that are not empty"),
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


def test_lists_of_a_request_are_never_empty():
    lists = settings_lists(DecodingConfig(top_k=40, stop=("\n", "。")), 2)
    assert lists["top_k"] == [40, 40] and lists["stop"] == [["\n", "。"]] * 2
    assert lists["banned_ids"] == [[-1]] * 2 and lists["choices"] == [[""]] * 2


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
