"""Each perturbation on English and Chinese: what it changes, what it leaves; draws depend on the text alone."""

import random
import re

import pytest

from tflm.data.augmentation import Synonyms
from tflm.errors import UserError
from tflm.robustness import chinese
from tflm.robustness.perturbation import (
    PERTURBATIONS,
    PerturbationOptions,
    all_perturbations,
    find_perturbation,
    perturbation,
)
from tflm.robustness.surface import NEIGHBOURS

ENGLISH = "This is a really wonderful film, and James from London wasn't bored."
CHINESE = "质量很好,物流太慢了！张伟在北京买的 iPhone 15。"


def changed(name, text, seed=0, **options):
    return find_perturbation(name).perturbed(text, PerturbationOptions(**options), seed)


@pytest.mark.parametrize(
    "name,text,expected",
    [
        ("upper_case", "Straße, 好", "STRASSE, 好"),
        ("lower_case", "A FINE Film 好", "a fine film 好"),
        ("full_width", CHINESE, "质量很好，物流太慢了！张伟在北京买的\u3000ｉＰｈｏｎｅ\u3000１５。"),
        ("full_width", "no Chinese", "no Chinese"),
        ("half_width", "ＡＢＣ，１５！\u3000好。", "ABC,15! 好。"),
        ("no_punctuation", "Don't! It's 1.5 well-made, (truly).", "Don't It's 1.5 well-made truly"),
        ("no_punctuation", "很好，下次再来。", "很好 下次再来"),
        ("no_punctuation", "...", "..."),
        ("chinese_punctuation", "很好,价格1,500.5元. 值!", "很好，价格1,500.5元。 值！"),
        ("chinese_punctuation", "Good, cheap.", "Good, cheap."),
        ("ascii_punctuation", "很好，“值”！、《书》", '很好,"值"!,<书>'),
        ("negation", "The film is good.", "The film is not good."),
        ("negation", "It isn't good, it is bad.", "It is good, it is bad."),
        ("negation", "It is not only good.", "It is not only good."),
        ("negation", "You can't miss it", "You can miss it"),
        ("negation", "We cannot go", "We can go"),
        ("negation", "Won't buy again", "Will buy again"),
        ("negation", "A fine film", "A fine film"),
        ("negation", "质量很好", "质量不好"),
        ("negation", "质量不好", "质量好"),
        ("negation", "东西不错", "东西很差"),
        ("negation", "我喜欢", "我不喜欢"),
        ("negation", "没有味道", "有味道"),
        ("negation", "有味道", "没有味道"),
        ("negation", "有点贵", "有点贵"),
    ],
)
def test_without_a_draw(name, text, expected):
    assert changed(name, text) == expected


def one_edit(word, other):
    """Whether a word became another by one typing error that leaves its ends."""
    inner = range(1, len(word) - 1)
    options = {word[:i] + word[i + 1 :] for i in inner} | {word[:i] + word[i] + word[i:] for i in inner}
    options |= {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in inner[:-1]}
    options |= {word[:i] + each + word[i + 1 :] for i in inner for each in NEIGHBOURS[word[i].lower()]}
    return other in options


def test_typos_of_english():
    seen = set()
    for seed in range(60):
        words = zip(ENGLISH.split(" "), changed("typos", ENGLISH, seed).split(" "), strict=True)
        (pair,) = [
            (a.strip(".,").removesuffix("'t"), b.strip(".,").removesuffix("'t")) for a, b in words if a != b
        ]
        assert one_edit(*pair) and len(pair[0]) >= 4
        seen.add(len(pair[1]) - len(pair[0]))
    assert seen == {-1, 0, 1}
    assert changed("typos", "is it so", 0) == "is it so", "short words stay"
    many = zip(ENGLISH.split(" "), changed("typos", ENGLISH, rate=1.0).split(" "), strict=True)
    assert sum(a != b for a, b in many) == 9, "the words of four letters and more"


def test_typos_of_chinese():
    for seed in range(60):
        found = changed("typos", "我不喜欢", seed)
        assert found.count("不") == 1 and "我不" in found, "a negation stays in its place"
        assert found in ("我我不喜欢", "我不喜喜欢", "我不喜欢欢", "我不欢喜"), found


def test_neighbours_are_next_to_each_other():
    assert set(NEIGHBOURS["g"]) == set("fhtyvb") and set(NEIGHBOURS["q"]) == set("wa")
    assert all(letter in NEIGHBOURS[other] for letter, others in NEIGHBOURS.items() for other in others)


def test_names_and_places():
    text = "James met Anna in Paris. James left Paris."
    found = changed("names", text)
    first, second = re.fullmatch(r"(\w+) met (\w+) in Paris\. (?:\1) left Paris\.", found).groups()
    assert first != "James" and second != "Anna"
    other = re.fullmatch(r"James met Anna in (\w+)\. James left \1\.", changed("places", text))[1]
    assert other != "Paris"
    assert re.fullmatch("(?!张伟)..在北京", changed("names", "张伟在北京"))
    assert re.fullmatch("张伟在(?!北京)..", changed("places", "张伟在北京"))
    assert changed("names", "paul writes to Ann") == "paul writes to Ann", "a name has a capital"
    assert re.fullmatch("(?!paul)[a-z]+ writes", changed("names", "paul writes")), "but where nothing has one"


def test_additions():
    assert re.fullmatch(r"Good\. [A-Z][^.]+\.", changed("irrelevant", "Good"))
    assert re.fullmatch("很好。[^。]+。", changed("irrelevant", "很好， "))
    assert re.fullmatch(r"Good @\w{6} https://t\.co/\w{6}", changed("link", "Good"))
    for text in ("Good!", "很好！"):
        found = changed("very_long", text)
        assert found.startswith(text) and 20_000 <= len(found) < 20_300


def test_synonyms():
    known = Synonyms([("good", "fine"), ("很好", "不错"), ("film", "movie")])
    assert changed("synonyms", "Good film", rate=1.0, synonyms=known) == "Fine movie"
    assert changed("synonyms", "质量很好。", synonyms=known) == "质量不错。"
    assert changed("synonyms", "bad", synonyms=known) == "bad"
    with pytest.raises(UserError, match="--synonyms=FILE"):
        changed("synonyms", "good")


def test_homophones(monkeypatch):
    """By a stand-in for pypinyin, which is no dependency of the tests."""
    sounds = {"银": "yin", "因": "yin", "音": "yin", "行": "hang", "航": "hang", "的": "de"}

    class Pinyin:
        @staticmethod
        def lazy_pinyin(text):
            return [sounds.get(each, "?") for each in text]

    chinese._same_sound.cache_clear()
    monkeypatch.setattr(chinese, "library", lambda name: Pinyin)
    found = {changed("homophones", "我的银行, bank", seed) for seed in range(40)}
    chinese._same_sound.cache_clear()
    assert found == {"我的因行, bank", "我的音行, bank", "我的银航, bank"}


def test_homophones_by_pypinyin():
    pytest.importorskip("pypinyin")
    found = changed("homophones", "物流太慢", rate=1.0)
    assert len(found) == 4 and not set(found) & set("物流慢")
    pinyin = pytest.importorskip("pypinyin").lazy_pinyin
    assert pinyin(found[0]) == ["wu"] and pinyin(found[1]) == ["liu"]


def test_traditional_by_opencc():
    pytest.importorskip("opencc")
    assert changed("traditional", "质量很好") == "質量很好"
    assert changed("simplified", "質量很好, good") == "质量很好, good"


@pytest.mark.parametrize("name,needs", [("homophones", "pypinyin"), ("traditional", "opencc")])
def test_a_missing_library_names_the_extra(name, needs, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, needs, None)
    chinese._converter.cache_clear()
    chinese._same_sound.cache_clear()
    with pytest.raises(UserError, match=rf'{needs} is needed.*pip install "tflm\[check\]"'):
        changed(name, "质量很好")


def drawn():
    return [each for each in all_perturbations() if not each.needs and each.name not in ("synonyms", "empty")]


@pytest.mark.parametrize("each", drawn(), ids=lambda each: each.name)
def test_any_text_is_changed_the_same_way_each_time(each):
    """Whatever was drawn before, and with texts that no rule foresees."""
    options = PerturbationOptions()
    texts = [ENGLISH, CHINESE, "", " ", "😀", "\ud800", "a", "不", "é" * 50, "''", "没"]
    first = [each.perturbed(text, options, 3) for text in texts]
    random.seed(1)
    assert [each.perturbed(text, options, 3) for text in reversed(texts)] == first[::-1]
    assert all(isinstance(text, str) for text in first) and each.summary


def test_seeds_draw_differently():
    assert len({changed("typos", ENGLISH, seed) for seed in range(20)}) > 10


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_a_rate_out_of_range(rate):
    with pytest.raises(UserError, match="rate is above 0 and at most 1"):
        PerturbationOptions(rate=rate)


def test_a_perturbation_of_ones_own():
    @perturbation("emphatic", "invariance")
    def emphatic(text, draw, options):
        """An exclamation mark."""
        return text + "!"

    assert changed("emphatic", "a") == "a!" and "emphatic" in PERTURBATIONS
    PERTURBATIONS.remove("emphatic")
    with pytest.raises(UserError, match=r"no perturbation 'emphatic'. There are: ascii_punctuation, "):
        find_perturbation("emphatic")
    with pytest.raises(ValueError, match="kind of a perturbation is one of invariance, direction, input"):
        perturbation("emphatic", "loud")
