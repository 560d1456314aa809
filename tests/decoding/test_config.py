import pytest

from tflm.decoding import DecodingConfig, settings_lists
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
