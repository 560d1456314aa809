"""Counts, rates and failures against a model whose answers are known."""

import dataclasses
import math
import types

import pytest
from scipy import stats

from tflm.data.augmentation import Synonyms
from tflm.errors import UserError
from tflm.robustness import CheckOptions, PerturbationOptions, TemplateTest, check
from tflm.robustness.perturbation import Perturbation
from tflm.robustness.report import changed_parts, report_page, report_record, report_table, without_cases
from tflm.serving.handle.results import Answer, Classification, Span


class Model:
    """A stand-in for a handle: good where a text has "good" or 好, in lower case and not negated."""

    path, methods = "models/reviews", ("classify",)

    def __init__(self, **task):
        self.asked, self.config = [], {"task": task}
        self.signatures = {"classify": types.SimpleNamespace(inputs=("text",))}

    def classify(self, texts, batch_size):
        self.asked.append(list(texts))
        found = []
        for text in texts:
            good = 0.9 if "good" in text or "好" in text else 0.2
            good = 0.95 if "not" in text or "不" in text else good
            label = "good" if good > 0.5 else "bad"
            found.append(Classification(label, max(good, 1 - good), {"bad": 1 - good, "good": good}))
        return found


TEXTS = ["It is good.", "It is dull.", "好。", "GOOD"]


def outcome(name, model=None, texts=TEXTS, labels=None, **options):
    (found,) = check(model or Model(), texts, labels, tests=[name], options=CheckOptions(**options)).tests
    return found


def test_invariance():
    """Upper case: two of three texts change, of which one then is bad; the last is in upper case already."""
    found = outcome("upper_case", labels=["good", "bad", "GOOD", "bad"])
    assert (found.kind, found.num_cases, found.num_unchanged, found.num_failed) == ("invariance", 2, 2, 1)
    assert found.rate == 0.5 and found.accuracy == (1.0, 0.5)
    (failure,) = found.failures
    assert failure.texts == ("It is good.",) and failure.changed == ("IT IS GOOD.",)
    assert (failure.expected, failure.score, failure.found) == ("good", 0.9, "bad")
    assert failure.found_score == pytest.approx(0.2), "of the label before"
    low, high = stats.binomtest(1, 2).proportion_ci(method="wilson")
    assert found.interval == (low, high)


def test_a_tolerance():
    assert outcome("upper_case", tolerance=0.69).num_failed == 1
    assert outcome("upper_case", tolerance=0.71).num_failed == 0


def test_direction():
    """After a negation "It is good" rises from 0.90 to 0.95, "It is dull" falls, 好 rises."""
    found = outcome("negation", direction_tolerance=0.04, texts=["It is good.", "It is dull.", "很好"])
    assert (found.kind, found.num_cases, found.accuracy) == ("direction", 3, None)
    assert [failure.changed[0] for failure in found.failures] == ["It is not good.", "不好"]
    assert outcome("negation", direction_tolerance=0.06).num_failed == 0


def test_texts_that_are_hardly_any():
    found = outcome("empty")
    assert (found.kind, found.num_cases, found.num_failed) == ("input", 9, 0)

    class Broken(Model):
        def classify(self, texts, batch_size):
            found = super().classify(texts, batch_size)
            return [
                dataclasses.replace(each, scores={"bad": math.nan, "good": math.nan}) if not text else each
                for each, text in zip(found, texts, strict=True)
            ]

    (failure,) = outcome("empty", Broken()).failures
    assert failure.texts == ("",) and failure.expected == "a valid prediction"


def test_all_tests_ask_for_the_texts_as_they_are_once():
    model = Model()
    report = check(model, TEXTS, ["good", "bad", "good", "bad"])
    assert sum(asked == TEXTS for asked in model.asked) == 1
    assert report.accuracy == 1.0 and report.num_texts == 4
    names = [each.name for each in report.tests]
    assert names[-2:] == ["negation", "empty"] and "synonyms" not in names
    assert {"typos", "upper_case", "irrelevant", "very_long"} < set(names)
    again = check(Model(), TEXTS, ["good", "bad", "good", "bad"])
    assert again == report
    other = check(Model(), TEXTS[::-1], ["bad", "good", "bad", "good"])
    assert [each.num_failed for each in other.tests] == [each.num_failed for each in report.tests]


def test_synonyms_of_the_user():
    known = PerturbationOptions(synonyms=Synonyms([("good", "fine")]))
    found = outcome("synonyms", perturbation=known)
    assert [failure.changed[0] for failure in found.failures] == ["It is fine."]


def test_a_perturbation_of_ones_own():
    mine = Perturbation("mine", lambda text, draw, options: text.replace("dull", "good"), "invariance")
    assert outcome(mine).failures[0].changed == ("It is good.",)


TEMPLATES = [
    TemplateTest("plain", (("good",), ("dull",), ("好",)), "GOOD"),
    TemplateTest("names", (("good A",), ("good B",), ("dull A",), ("good A",)), "", (0, 0, 1, 1)),
    TemplateTest("more", (("good",), ("good",)), "good", (), (("dull",), ("good!",)), "no_fall", 0.1),
    TemplateTest("less", (("dull",),), "good", (), (("good",),), "no_rise", 0.1),
]


def test_templates():
    plain, names, more, less = check(Model(), templates=TEMPLATES).tests
    assert (plain.kind, plain.num_cases, plain.num_failed) == ("functionality", 3, 1)
    assert plain.failures[0].texts == ("dull",) and plain.failures[0].found == "bad"
    assert (names.kind, names.num_cases, names.num_failed) == ("invariance", 4, 1)
    assert (names.failures[0].texts, names.failures[0].changed) == (("dull A",), ("good A",))
    assert (more.kind, more.num_failed, less.num_failed) == ("direction", 1, 1)
    assert (more.failures[0].score, more.failures[0].found_score) == (0.9, 0.2)


def test_a_model_with_several_labels():
    class Several(Model):
        def classify(self, texts, batch_size):
            return [
                Classification("a|b" if "A" in text else "b", None, {"a": 0.6, "b": 0.7}) for text in texts
            ]

    found = outcome("lower_case", Several(label_separator="|"), ["A", "A b", "c"], ["b|a", "b", "b"])
    assert (found.num_cases, found.num_failed, found.accuracy) == (2, 2, (0.5, 0.5))


class Reader:
    """Finds the first word of a context; tags what is in upper case; compares lengths."""

    path = "models/reader"

    def __init__(self, *methods):
        self.methods, self.signatures, self.config = methods, {}, {}

    def answer(self, questions, contexts, batch_size):
        first = [context.split()[-1] for context in contexts]
        return [Answer(text, 0, len(text), 0.5, 0.0, ()) for text in first]

    def tag(self, texts, batch_size):
        return [[Span(0, 1, "X", 1.0, text[:1])] if text[:1].isupper() else [] for text in texts]

    def similarity(self, texts, others, batch_size):
        return [1.0 / (1.0 + abs(len(a) - len(b))) for a, b in zip(texts, others, strict=True)]

    def generate(self, texts, temperature, max_new_tokens, batch_size):
        assert temperature == 0.0
        return [f"{text.split()[0]} " for text in texts]

    def chat(self, conversations, temperature, max_new_tokens, batch_size):
        return [messages[0]["content"][-1] for messages in conversations]


def test_other_tasks():
    found = outcome("irrelevant", Reader("answer"), [("Who?", "It was Anna")])
    assert found.failures[0].texts[0] == found.failures[0].changed[0] == "Who?", "the context gets longer"
    assert found.num_failed == 1 and found.failures[0].expected == "anna"
    assert outcome("upper_case", Reader("answer"), [("Who?", "It was Anna")]).num_failed == 0
    assert outcome("lower_case", Reader("tag"), ["Anna", "bob B"]).num_failed == 1
    assert outcome("link", Reader("similarity"), [("a", "a")]).num_failed == 1
    assert outcome("upper_case", Reader("similarity"), [("a", "a")]).num_failed == 0
    assert outcome("upper_case", Reader("generate"), ["a b"]).num_failed == 0, "case is no other answer"
    assert outcome("irrelevant", Reader("chat"), ["Hello"]).num_failed == 1
    names = [each.name for each in check(Reader("tag"), ["Anna"]).tests]
    assert "negation" not in names


def test_a_default_names_what_is_missing(monkeypatch):
    import tflm.robustness.checking as module

    monkeypatch.setattr(module, "is_installed", lambda name: False)
    report = check(Model(), ["很好"])
    assert report.left_out == (
        'homophones and traditional and simplified need libraries that are not installed: pip install "tflm[check]"',
    )
    assert check(Model(), ["good"]).left_out == (), "of no use there"
    with pytest.raises(UserError, match=r'the test homophones needs pypinyin.*pip install "tflm\[check\]"'):
        outcome("homophones")


@pytest.mark.parametrize(
    "arguments,words",
    [
        (dict(texts=[]), "there is nothing to check: give texts or templates"),
        (dict(texts=[("a", "b")]), "this model takes text; got 2 texts"),
        (dict(texts=["a"], labels=[]), "there are 1 texts and 0 labels"),
        (dict(texts=["a"], labels=["fine"]), "the column of labels has 'fine', .* its labels are bad, good"),
        (dict(texts=["a"], tests=["loud"]), "no perturbation 'loud'"),
        (dict(texts=["a"], tests=["synonyms"]), "needs a list of them: give --synonyms=FILE"),
        (
            dict(templates=[TemplateTest("t", (("a",),), "fine")]),
            "the test 't' has 'fine', which is no label",
        ),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(UserError, match=words):
        check(Model(), **arguments)


def test_models_that_cannot_be_checked():
    with pytest.raises(UserError, match="'models/reader' has nothing to check"):
        check(Reader(), ["a"])
    with pytest.raises(UserError, match="the test negation compares probabilities of labels"):
        outcome("negation", Reader("tag"), ["a"])
    with pytest.raises(UserError, match="the test 'more' compares probabilities of a label"):
        check(Reader("tag"), templates=TEMPLATES[2:3])


def test_the_reports():
    report = check(Model(), ["<b>It is good, 真的。", "It is dull.", "很好"], ["good", "bad", "good"])
    header, rows = report_table(report)
    assert header == ["test", "expected", "cases", "failed", "rate", "95% interval", "accuracy", "after"]
    cells = dict((row[0], row) for row in rows)
    assert cells["upper_case"][1:5] == ["invariance", "2", "1", "50.0%"]
    assert "names" not in cells and "names" in without_cases(report)
    record = {each["name"]: each for each in report_record(report)["tests"]}
    assert record["upper_case"]["rate"] == 0.5 and record["names"]["rate"] is None
    assert record["upper_case"]["failures"][0]["expected"] == "good"
    page = report_page(report)
    assert "&lt;b&gt;" in page and "<b>It" not in page and "真的" in page
    assert not any(each in page for each in ("http://", "src=", "href="))


def test_changed_parts():
    assert changed_parts("a fine film", "a finne film") == [("a fi", False), ("n", True), ("ne film", False)]
    assert changed_parts("a", "a" * 3000) == [("a", False), ("a" * 2999, True)]
