"""Word swap, deletion and synonyms: by hand, by seed, in English and Chinese."""

import dataclasses
from collections import Counter

import pytest

from tflm.data.augmentation import AugmentationConfig, AugmentedExamples, Synonyms, augmented
from tflm.errors import UserError

NONE = Synonyms([])
TEXTS = [
    "A very good film, by all means!",
    "这部电影非常好看，下次还会来。",
    "我用 iPhone 拍的 film",
    "",
    "one",
    "……",
]


def test_every_word_is_swapped_in_pairs():
    config = AugmentationConfig(word_swap=1.0)
    assert augmented("a b, c d e!", config, NONE, 1) == "b a, d c e!"
    assert augmented("很好，再来", config, NONE, 1) == "好很，来再"


@pytest.mark.parametrize("text", TEXTS)
def test_a_swap_keeps_all_words(text):
    for copy in range(1, 6):
        found = augmented(text, AugmentationConfig(word_swap=0.4), NONE, copy)
        assert Counter(found) == Counter(text)


def test_deletion_leaves_one_word_and_no_double_spaces():
    config = AugmentationConfig(word_deletion=1.0)
    for copy in range(1, 9):
        assert augmented("one two, three", config, NONE, copy) in ("one,", "two,", ", three")
        assert len(augmented("春眠不觉晓", config, NONE, copy)) == 1
    some = AugmentationConfig(word_deletion=0.4)
    found = {augmented("one two, three four", some, NONE, copy) for copy in range(1, 60)}
    assert not any("  " in text or text != text.strip() for text in found)
    assert {"two, three four", "one, three four", "one two, four"} <= found


def test_synonyms_are_of_several_words_and_characters():
    synonyms = Synonyms([["good", "fine", "not bad"], ["非常", "十分", "很"], ["a lot", "much"]])
    config = AugmentationConfig(synonyms="file", synonym_rate=1.0)
    found = {augmented("Good film", config, synonyms, copy) for copy in range(1, 20)}
    assert found == {"Fine film", "Not bad film"}
    found = {augmented("电影非常好看", config, synonyms, copy) for copy in range(1, 20)}
    assert found == {"电影十分好看", "电影很好看"}
    assert augmented("thanks a lot!", config, synonyms, 1) == "thanks much!"
    assert augmented("not a word", config, synonyms, 1) == "not a word"


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_seed_text_and_copy_give_the_same(text):
    config = AugmentationConfig(word_swap=0.3, word_deletion=0.3)
    copies = [augmented(text, config, NONE, copy) for copy in range(6)]
    assert copies == [augmented(text, config, NONE, copy) for copy in range(6)] and copies[0] == text
    others = [augmented(text, dataclasses.replace(config, seed=1), NONE, copy) for copy in range(6)]
    if len(text) > 5:
        assert len(set(copies)) > 3 and others != copies


def test_copies_of_examples_keep_their_labels(tmp_path):
    path = tmp_path / "synonyms.tsv"
    path.write_text("好看\t精彩\ngood\tfine\n\n", encoding="utf-8")
    config = AugmentationConfig(copies=3, synonyms=str(path), synonym_rate=1.0)
    examples = [{"text": "很好看", "label": "好看"}, {"text": "a good one", "label": "good"}]
    assert list(AugmentedExamples(examples, config, ("text",))) == [
        {"text": "很好看", "label": "好看"},
        *[{"text": "很精彩", "label": "好看"}] * 2,
        {"text": "a good one", "label": "good"},
        *[{"text": "a fine one", "label": "good"}] * 2,
    ]


def test_refusals(tmp_path):
    with pytest.raises(UserError, match=r"augment.copies is 1; it must be at least 2, of which the first"):
        AugmentationConfig(copies=1)
    with pytest.raises(UserError, match=r"augment.word_swap is 1.5; it must be from 0 to 1"):
        AugmentationConfig(word_swap=1.5)
    with pytest.raises(
        UserError, match=r"cannot read augment.synonyms '.*nowhere': No such file.* with tabs"
    ):
        Synonyms.read(str(tmp_path / "nowhere"))
    (tmp_path / "a").write_text("a\tb\nc d\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a:2: expected two words or more with tabs between, found 'c d'"):
        Synonyms.read(str(tmp_path / "a"))
    (tmp_path / "b").write_bytes("好\t很".encode("gb18030"))
    with pytest.raises(UserError, match=r"b is not UTF-8: .* at byte 0; save it as UTF-8"):
        Synonyms.read(str(tmp_path / "b"))
