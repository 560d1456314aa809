"""The classes of characters are those of `tokenizers`."""

import pytest

from tests.text.make_unicode_classes import lines, ranges
from tflm.text.unicode_classes import _tables, class_body, class_names

# Letters of all living scripts, punctuation, emoji, private use; the file was made from all code points.
POINTS = [*range(0x3100), *range(0xA000, 0xB000), *range(0xD700, 0xD800), *range(0xE000, 0x11000)]
POINTS += [*range(0x16000, 0x17000), *range(0x1F000, 0x20010), *range(0xE0000, 0xE0200)]


def test_the_file_says_what_tokenizers_does():
    wanted = set(POINTS)
    made = list(lines(POINTS))
    written = [
        f"{name}: "
        + ranges(sorted(wanted & {point for first, last in spans for point in range(first, last + 1)}))
        for name, spans in _tables().items()
    ]
    assert written == made


def test_class_bodies():
    assert class_body("Lt").startswith(r"\x{1C5}\x{1C8}\x{1CB}\x{1F2}\x{1F88}-\x{1F8F}")
    assert class_body("space").startswith(r"\x{9}-\x{D}\x{20}\x{85}\x{A0}")
    assert r"\x{41}-\x{5A}\x{61}-\x{7A}" in class_body("L")
    assert {"L", "Lu", "N", "P", "S", "space", "bert_han"} <= class_names()
    with pytest.raises(KeyError):
        class_body("Han")
