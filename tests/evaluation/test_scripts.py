"""Words or characters."""

import pytest

from tflm.evaluation.scripts import written_in_characters


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["质量很好，下次还会买"], True),
        (["手机 iPhone 很好用", "good"], True),
        (["ひらがなとカタカナ"], True),
        (["한국어 리뷰"], True),
        (["A fine film.", "très bien", "Отличный фильм"], False),
        (["The word 好 means good"], False),
        (["12345 !!", ""], False),
        ([], False),
    ],
)
def test_written_in_characters(texts, expected):
    assert written_in_characters(texts) is expected
