"""Passages for questions, prompts with them, and the lines that answers cite, in English and in Chinese."""

import os

import numpy as np
import pytest

from tests.retrieval.test_index import FakeEmbedder
from tflm.errors import UsageError
from tflm.retrieval.document_chat import DocumentChat
from tflm.retrieval.grounding import NOT_FOUND, Grounding, language_of, prompt_of, share
from tflm.retrieval.index import PassageIndex
from tflm.serving.handle.conversation import Conversation

CITIES = """# Cities

Paris lies on the Seine. It has twenty districts.
Berlin lies on the Spree.

Tickets cost nine euros on weekdays.
On Sundays they are free.
"""
RETURNS = "怎么退货？\n七天内可以退货，请保留发票。\n\n运费由谁承担？\n由买家承担运费。\n"


class Zero(FakeEmbedder):
    """Vectors that say nothing: words alone decide."""

    def __call__(self, texts):
        return np.eye(2, dtype=np.float32)[[int(bool(text) and text in CITIES + RETURNS) for text in texts]]


@pytest.fixture(name="grounding", scope="module")
def grounding_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grounding")
    (folder / "cities.md").write_text(CITIES, encoding="utf-8")
    (folder / "returns.txt").write_text(RETURNS, encoding="utf-8")
    index = PassageIndex.open_or_create(str(folder / "index"), Zero(), length=80)
    index.update([str(folder / "cities.md"), str(folder / "returns.txt")])
    return Grounding(index, num_passages=3, min_nearness=0.12, name_fn=os.path.basename)


@pytest.mark.parametrize(
    "question, words",
    [("Where does Berlin lie?", "Berlin lies on the Spree"), ("运费由谁承担？", "由买家承担运费")],
)
def test_the_nearest_passage_comes_first(grounding, question, words):
    assert words in grounding.find(question)[0].passage.text


@pytest.mark.parametrize("question", ["Who painted Guernica?", "明天会下雪吗", "", "?!"])
def test_what_nothing_is_near_to_finds_nothing(grounding, question):
    assert grounding.find(question) == []


def test_nearness_is_a_share_of_the_words_by_rarity(grounding):
    (first, *_) = grounding.find("Berlin Spree")
    assert first.nearness.coverage == pytest.approx(1.0)
    (half, *_) = grounding.find("Berlin Guernica")
    assert 0.2 < half.nearness.coverage < 0.6, "an unknown word is the rarest"
    assert half.nearness.value == (max(half.nearness.cosine, 0) + half.nearness.coverage) / 2
    assert share([], np.zeros([0]), ["a"]) == 0.0


@pytest.mark.parametrize(
    "question, answer, place",
    [
        ("Where does Paris lie?", "It lies on the Seine.", ("cities.md", 3)),
        ("How many districts has Paris?", "Twenty districts.", ("cities.md", 3)),
        ("When are tickets free?", "They are free on Sundays.", ("cities.md", 7)),
        ("运费由谁承担？", "由买家承担。", ("returns.txt", 5)),
        ("怎么退货？", "七天内请保留发票。", ("returns.txt", 2)),
    ],
)
def test_an_answer_cites_file_and_line(grounding, question, answer, place):
    passages = [each.passage for each in grounding.find(question)]
    first, *others = grounding.cite(question, answer, passages)
    assert (first.file, first.line) == place
    assert 0.7 < first.support <= 1.0 and len(others) <= 1


def test_an_answer_that_shares_no_word_has_no_support(grounding):
    passages = [each.passage for each in grounding.find("Where does Paris lie?")]
    (nearest,) = grounding.cite("Where does Paris lie?", "Yesterday, perhaps.", passages)
    assert (nearest.file, nearest.line, nearest.support) == ("cities.md", 3, 0.0)
    assert grounding.cite("", "", passages) == [] and grounding.cite("Paris", "Paris", []) == []


def test_a_second_citation_adds_words_of_the_answer(grounding):
    question, answer = "Paris and Sundays?", "Paris lies on the Seine, and on Sundays tickets are free."
    passages = [each.passage for each in grounding.find(question)]
    assert {(each.file, each.line) for each in grounding.cite(question, answer, passages)} == {
        ("cities.md", 3),
        ("cities.md", 7),
    }


def test_a_prompt_keeps_to_its_budget(grounding):
    passages = [each.passage for each in grounding.find("Where does Berlin lie?")]
    whole, kept = prompt_of("Where does Berlin lie?", passages, len, 10_000)
    assert kept == passages and all(each.text.strip() in whole for each in passages)
    assert whole.endswith("Question: Where does Berlin lie?")
    for budget in (0, len(whole) - 1):
        message, kept = prompt_of("Where does Berlin lie?", passages, len, budget)
        assert kept == passages[: len(kept)] and 1 <= len(kept) < len(passages)
        assert len(kept) == 1 or len(message) <= budget
    assert prompt_of("运费由谁承担？", passages, len, 0)[0].endswith("问题: 运费由谁承担？")
    assert language_of("GPU 上怎么训练") == "zh"


def test_bad_numbers(grounding):
    for settings in ({"num_passages": 0}, {"min_nearness": 1.5}):
        with pytest.raises(UsageError, match="expected at least 1, and from 0 to 1"):
            Grounding(grounding._index, **settings)


class Echo:
    """A handle whose answers are what the model was asked, but for the generation."""

    def __init__(self):
        self.asked, self.signatures, self.config = [], {"chat": None}, {"model": {"max_length": 2000}}

    def conversation(self, system=""):
        talk = Conversation.__new__(Conversation)
        talk.messages, talk._prompt, talk._kept, talk.remembers = [], "", None, True
        talk._pieces = lambda in_pieces: self._pieces(talk)
        talk.settings = type("Settings", (), {"decoding": type("D", (), {"max_new_tokens": 16})})
        return talk

    def _pieces(self, talk):
        self.asked.append((talk._prompt, [each["content"] for each in talk.messages]))

        def pieces():
            yield "On the "
            yield "Spree."

        return pieces()


def test_a_conversation_about_documents(grounding):
    model = Echo()
    chat = DocumentChat(model, grounding)
    answer = chat.ask("Where does Berlin lie?")
    assert (answer.text, answer.is_found) == ("On the Spree.", True)
    assert (answer.citations[0].file, answer.citations[0].line) == ("cities.md", 4)
    assert "Berlin lies on the Spree." in model.asked[0][0]
    assert chat.ask("明天会下雪吗") == (NOT_FOUND["zh"], [], [])
    assert list(chat.stream("Guernica?")) == [NOT_FOUND["en"]] and not chat.answer.is_found
    assert len(model.asked) == 1, "the model is not asked"
    chat.ask("Where does Berlin lie?")
    assert chat.ask("On the Spree?").is_found
    assert model.asked[-1][1][:2] == ["Where does Berlin lie?", "On the Spree."], "without their passages"
    # Words of the documents alone, too few to find anything: about the question before.
    grounding_of_words = Grounding(grounding._index, 3, 0.99)
    assert grounding_of_words.knows("euros on") and not grounding_of_words.knows("dollars on")
