"""Exact match and F1: by hand, and beside a second calculation of another kind; thresholds beside trying them all."""

import json
import re
import string

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.evaluation.metrics.question_answering import answer_scores, best_threshold, report_answers


@pytest.mark.parametrize(
    ("references", "answer", "exact", "f1"),
    [
        (["the quick brown fox"], "A Quick, brown fox!", 1, 1),
        (["quick brown fox"], "brown brown dog", 0, 1 / 3),
        (["in Paris", "Paris"], "Paris", 1, 1),
        (["Paris", "Rome"], "London", 0, 0),
        (["the"], "", 1, 1),  # nothing is left of the reference
        ([], "", 1, 1),
        ([], "Paris", 0, 0),
        (["Paris"], "", 0, 0),
        (["there a theatre"], "there theatre", 1, 1),
        (["Café a\u0304 la"], "cafe\u0301 \u0101 la", 1, 1),
        (["a\u0331b"], "b", 0, 0),  # a letter with its mark is no article
        (["नई दिल्ली"], "नई दिल्ली।", 1, 1),
        (["नई दिल्ली"], "नई दुल्ला", 0, 1 / 2),
        (["¿Quién? «Ana»"], "quién ana", 1, 1),
        (["10²"], "102", 0, 0),
    ],
)
def test_english_by_hand(references, answer, exact, f1):
    assert answer_scores(references, answer, "english") == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("references", "answer", "exact", "f1"),
    [
        (["北京大学"], "《北京 大学》。", 1, 1),
        (["北京大学"], "在北京", 0, 4 / 7),
        (["北大京学"], "北京大学", 0, 2 / 8),  # the longest run, not what is shared
        (["iPhone 4S手机"], "iphone 4s", 0, 4 / 6),
        (["1998年5月", "1998年"], "1998年", 1, 1),
        ([], "", 1, 1),
        ([], "北京", 0, 0),
        (["，"], "", 1, 1),
        (["１９９８年"], "1998年", 1, 1),
        (["カ\u3099ス"], "ガス", 1, 1),
        (["กรุงเทพ"], "กรุงเทพ", 1, 1),
        (["ดี"], "ดู", 0, 0),
    ],
)
def test_chinese_by_hand(references, answer, exact, f1):
    assert answer_scores(references, answer, "chinese") == (exact, pytest.approx(f1))


def slow_english(reference, answer):
    """F1 by crossing words off a list, after cleaning word by word."""
    sides = []
    for text in (reference, answer):
        words = "".join("" if c in string.punctuation else c for c in text.lower()).split()
        sides.append([word for word in words if word not in ("a", "an", "the")])
    wanted, found = sides
    if not wanted or not found:
        return float(wanted == found), float(wanted == found)
    left, shared = list(wanted), 0
    for word in found:
        if word in left:
            left.remove(word)
            shared += 1
    precision, recall = shared / len(found), shared / len(wanted)
    return float(wanted == found), 2 * precision * recall / (precision + recall) if shared else 0.0


def slow_chinese(reference, answer):
    """F1 by a table of common suffixes, as a dynamic program."""
    wanted, found = (
        re.findall(r"[a-z0-9]+|[一-鿿]", re.sub(r"[，。！]", "", text.lower()))
        for text in (reference, answer)
    )
    if not wanted or not found:
        return float(wanted == found), float(wanted == found)
    table = np.zeros([len(wanted) + 1, len(found) + 1], int)
    for i, one in enumerate(wanted):
        for j, other in enumerate(found):
            table[i + 1, j + 1] = table[i, j] + 1 if one == other else 0
    precision, recall = table.max() / len(found), table.max() / len(wanted)
    return float(wanted == found), 2 * precision * recall / (precision + recall) if table.max() else 0.0


def drawn(random, words, separator):
    return separator.join(random.choice(words, random.integers(0, 7)))


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_equals_a_second_calculation(language):
    random = np.random.default_rng(0)
    words = (
        ["the", "a", "Fox,", "fox", "dog!", "U.S.", "an-other"]
        if language == "english"
        else [*"北京上海学，。x", " ab "]
    )
    separator, slow = (" ", slow_english) if language == "english" else ("", slow_chinese)
    for _ in range(300):
        reference, answer = (drawn(random, words, separator) for _ in range(2))
        np.testing.assert_allclose(
            answer_scores([reference], answer, language), slow(reference, answer), atol=1e-12
        )


def test_the_best_threshold_equals_trying_them_all():
    random = np.random.default_rng(1)
    for _ in range(50):
        size = random.integers(1, 12)
        margins = random.choice([-1e9, -2.0, 0.5, 1.0, 3.0], size)
        always, never = ((random.integers(0, 2, size).astype(float), random.random(size)) for _ in range(2))
        found = best_threshold(margins, always, never)

        def measured(threshold, kind, drawn=(margins, always, never)):
            margins, always, never = drawn
            return 100 * np.where(margins > threshold, always[kind], never[kind]).mean()

        tried = max(measured(threshold, 1) for threshold in (-2e9, -5.0, 0.0, 0.7, 2.0, 4.0))
        assert found["f1"] == pytest.approx(tried)
        for kind, name in enumerate(("exact_match", "f1")):
            assert measured(found["threshold"], kind) == pytest.approx(found[name])


def make_example(question, *answers):
    return {"question": question, "context": "c", "answers": json.dumps([[0, text] for text in answers])}


def test_report():
    examples = [
        make_example("a", "Anna"),
        make_example("b", "in Rome", "Rome"),
        make_example("c"),
        make_example("d"),
    ]

    def answer(columns):
        assert {name: len(values) for name, values in columns.items()} == {"question": 4, "context": 4}
        return {
            "answer": np.array([b"Anna", b"old Rome", b"", b"Bob"], object),
            "score": np.array([0.9, 0.8, 0.7, 0.6]),
            "margin": np.array([3.0, 2.0, -1.0, 1.0], np.float32),
            "answers": np.array([[b"Anna"], [b"old Rome"], [b"you"], [b"Bob"]], object),
        }

    found = report_answers(answer, examples, "english")
    f1 = [1.0, 2 / 3, 1.0, 0.0]
    measures = found["this model"]
    assert [text["f1"] for text in found["texts"]] == pytest.approx(f1)
    assert [text["exact_match"] for text in found["texts"]] == [1, 0, 1, 0]
    assert measures["exact_match"] == 50.0
    assert measures["f1"] == pytest.approx(100 * np.mean(f1))
    low, high = measures["f1_interval"]
    assert 0 <= low < measures["f1"] < high <= 100
    assert measures["answerable_exact_match"] == measures["unanswerable_accuracy"] == 50.0
    assert measures["answerable_f1"] == pytest.approx(100 * 5 / 6)
    assert found["best threshold"] == {
        "threshold": 1.5,
        "exact_match": 75.0,
        "f1": pytest.approx(100 * (1 + 2 / 3 + 2) / 4),
    }
    assert found["texts"][1]["answer"] == "old Rome"
    assert (
        "answerable_f1"
        not in report_answers(
            lambda c: {k: v[:2] for k, v in answer_all(answer).items()}, examples[:2], "english"
        )["this model"]
    )


def answer_all(answer):
    return answer({"question": [""] * 4, "context": [""] * 4})


def test_mistakes():
    with pytest.raises(UserError, match=r"language is 'english' or 'chinese' .*; got 'german'"):
        answer_scores(["a"], "a", "german")
    with pytest.raises(UserError, match="there are no questions to evaluate: give at least one example"):
        report_answers(answer_all, [], "english")
