"""Texts cut at sentences, whatever counts their tokens."""

import pytest

from tflm.text.parts import cut_into_parts


def bytes_of(texts):
    return [len(text.encode()) for text in texts]


def words_of(texts):
    return [len(text.split()) for text in texts]


def test_as_many_sentences_as_a_part_holds():
    text = "One two. Three. Four five six. Seven."
    assert cut_into_parts(text, words_of, 4) == ["One two. Three. ", "Four five six. Seven."]
    assert cut_into_parts(text, words_of, 7) == [text]
    assert cut_into_parts("今天好。明天好。后天好。", bytes_of, 24) == ["今天好。明天好。", "后天好。"]


@pytest.mark.parametrize("limit", [1, 3, 5, 8, 21, 1000])
def test_every_part_fits_and_nothing_is_lost(limit):
    text = "A sentence without any end that is long " * 5 + "and one。第二句话很长很长很长，没有空格！End. 😀"
    parts = cut_into_parts(text, bytes_of, limit)
    assert "".join(parts) == text
    assert all(count <= limit or len(part) == 1 for part, count in zip(parts, bytes_of(parts), strict=True))


def test_tokens_that_do_not_add_up():
    """Together two sentences may be more tokens than one by one, as with a price for each text's length squared."""

    def squares(texts):
        return [len(text) ** 2 for text in texts]

    text = "Aa. Bb. Cc. Dd. "
    parts = cut_into_parts(text, squares, 60)
    assert "".join(parts) == text and parts == ["Aa. ", "Bb. ", "Cc. ", "Dd. "]
