"""The learned vocabulary: order, size, no useless suffixes."""

import pytest

from tflm.errors import UserError
from tflm.text.learn_wordpieces import learn_wordpieces

COUNTS = {"playing": 50, "played": 40, "play": 60, "cards": 20, "中": 30, "文": 10, "，": 9}
LONE = {"中", "文", "，"}


def test_order_and_contents():
    pieces = learn_wordpieces(COUNTS, LONE, ["[PAD]", "[UNK]"], 40)
    letters = set("".join(COUNTS)) - LONE
    assert pieces[:2] == ["[PAD]", "[UNK]"]
    assert set(pieces[2 : 2 + len(letters) + 3]) == letters | LONE
    assert {"##" + letter for letter in letters} <= set(pieces) and "##中" not in pieces
    assert pieces[-4:] == ["play", "playing", "played", "cards"]
    assert len(pieces) == len(set(pieces)) <= 40


def test_size_is_a_limit_and_repeats_itself():
    least = 2 + 3 + 2 * len(set("playingedcars"))
    for size in range(least, least + 5):
        pieces = learn_wordpieces(COUNTS, LONE, ["[PAD]", "[UNK]"], size)
        assert len(pieces) <= size
        assert pieces == learn_wordpieces(dict(reversed(COUNTS.items())), LONE, ["[PAD]", "[UNK]"], size)
    with pytest.raises(UserError, match=rf"vocab_size={least - 1} is too small .* to {least} or more"):
        learn_wordpieces(COUNTS, LONE, ["[PAD]", "[UNK]"], least - 1)


def test_more_than_a_thousand_han_characters():
    han = {chr(0x4E00 + index): 5 for index in range(3000)}
    assert len(learn_wordpieces(han, set(han), ["[UNK]"], 4000)) >= 2998


def test_room_is_used_when_the_text_has_pieces_for_it():
    words = {
        a + b + c: 1 + len(a + b + c)
        for a in ("walk", "talk", "sing")
        for b in ("", "s", "ing")
        for c in ("", "er")
    }
    everything = learn_wordpieces(words, set(), ["[UNK]"], 1000)
    assert set(words) <= set(everything)
    for size in range(30, len(everything)):
        assert size - 2 <= len(learn_wordpieces(words, set(), ["[UNK]"], size)) <= size
