"""Every method of a model handle, for a folder, for REST and for gRPC, in English and in Chinese."""

import numpy as np
import pytest

from tflm.serving.handle.results import (
    AnswerCandidate,
    Classification,
    Filled,
    Generated,
    Neighbor,
    Span,
    SummaryPart,
)

TEXTS = ["Hello", "你好，世界", ""]


def test_generate(load):
    model = load("small")
    assert model.generate("你好") == "你好"
    assert model.generate(TEXTS) == TEXTS
    assert model.generate("好", return_details=True) == Generated("好", 3, -3.0)
    assert model.translate(TEXTS[:2], temperature=0) == TEXTS[:2]


def test_beam_search(load):
    model = load("small")
    assert model.generate("你", beam_size=2) == "你"
    found = model.generate(["你", ""], beam_size=4, return_details=True)
    assert [each.text for each in found[0].beams] == ["你", "你1", "你2"], "one of four was not found"
    assert (found[0].score, found[0].log_probability, found[0].truncated) == (-0.5, -2.0, False)
    assert found[1] == Generated("", 0, None, truncated=True)


def test_samples(load):
    model = load("small")
    assert [[each.text for each in row] for row in model.samples(["a", "好"], 2)] == [["a"] * 2, ["好"] * 2]
    assert len(model.samples("a", 3, seed=7)) == 3


def test_generate_of_a_real_model(load, loaded):
    model = load("tiny_decoder")
    settings = {"temperature": 1.0, "max_new_tokens": 6, "min_new_tokens": 6}
    first, other = (row.text for row in model.samples("def ", 2, seed=3, **settings))
    assert model.generate(["def ", "def "], seed=[4, 3], **settings) == [other, first]
    found = model.generate("def ", return_details=True, seed=np.int64(3), **settings)
    assert (found.text, found.num_tokens, found.finish_reason) == (first, 6, "length")
    assert found.log_probability < 0 and found.truncated is False
    assert loaded("tiny_decoder", "folder").generate("def ", seed=3, **settings) == first
    long = model.continue_text(
        "import 你", 10, return_details=True, temperature=0, max_new_tokens=5, min_new_tokens=5
    )
    assert 5 <= long.num_tokens <= 10


def test_stream(load):
    model = load("small")
    assert list(model.stream("你好")) == ["<", "你好>"]
    assert (
        "".join(model.stream([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]))
        == "<a|b>"
    )
    pieces = model.stream("Hello")
    assert next(pieces) == "<"
    pieces.close()


def test_chat(load):
    model = load("small")
    hello, answered = {"role": "user", "content": "你好"}, {"role": "assistant", "content": "Hi"}
    assert model.chat([hello]) == model.chat("你好") == "<你好>"
    assert model.chat([[hello, answered, hello], [hello]]) == ["<你好|Hi|你好>", "<你好||>"]
    details = model.chat([hello], return_details=True, temperature=0.5)
    assert (details.text, details.num_left_out) == ("<你好>", 0)


def test_a_conversation_remembers(load, tmp_path):
    talk = load("small").conversation(system="Be brief.")
    assert talk.ask("a") == "<Be brief.|a>"
    assert list(talk.stream("好")) == ["<", "Be brief.|a|<Be brief.|a>|好>"]
    talk.save(str(tmp_path / "talk.json"))
    talk.reset()
    assert talk.messages == [{"role": "system", "content": "Be brief."}]
    talk.load(str(tmp_path / "talk.json"))
    assert [message["content"] for message in talk.messages][1:4:2] == ["a", "好"]
    pieces = talk.stream("x")
    next(pieces)
    pieces.close()
    assert talk.messages[-1] == {"role": "assistant", "content": "<"}, "as far as it came"


def test_chat_of_a_real_model(load, loaded):
    model, settings = load("tiny_chat"), {"temperature": 0, "min_new_tokens": 3, "max_new_tokens": 8}
    messages = [{"role": "user", "content": "你好"}]
    answer = model.chat(messages, **settings)
    assert answer == "".join(model.stream(messages, **settings))
    assert answer == loaded("tiny_chat", "folder").chat(messages, **settings)
    talk = model.conversation(**settings)
    assert "".join(talk.stream("你好")) == answer
    again = [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": "Hello"}]
    assert talk.ask("Hello") == model.chat(again, **settings)


def test_alternatives(load):
    (found,) = load("small").alternatives(["你"], num_alternatives=2)
    assert [each.token for each in found.tokens] == ["你", ""]
    assert [text for text, _ in found.tokens[0].alternatives] == ["你", "好"]
    assert [value for _, value in found.tokens[0].alternatives] == pytest.approx([0.5, 0.125])
    assert found.tokens[1].probability == pytest.approx(0.5)
    assert load("small").alternatives("", num_alternatives=1).truncated is None


def test_summarize(load):
    model = load("small")
    assert model.summarize("你好。") == "你好。"
    long = "今天天气。明天下雨。"
    found = model.summarize([long, "a"], return_details=True)
    assert found[0].text == long
    assert found[0].parts == (
        SummaryPart(1, "今天天气。", "今天天气。"),
        SummaryPart(1, "明天下雨。", "明天下雨。"),
    )
    assert (found[1].text, found[1].parts) == ("a", ())
    assert model.summarize(long, by_parts=False, return_details=True).parts == ()


def test_classify(load):
    model = load("small")
    (found,) = model.classify(["很好看"])
    assert found == model.classify("很好看")
    assert found.label in ("good", "坏") and found.scores[found.label] == found.score == 0.75
    assert list(found.scores) == ["good", "坏"] and found.truncated is None
    pairs = load("of_pairs")
    assert [each.score for each in pairs.classify(["a", "b"], "好")] == [0.75, 0.75]


def test_choose(load):
    found = load("small").choose(["很好看", "bad"], ["好", "bad"], prompt="Review: {text}")
    assert found == [Classification("好", 0.75, {"好": 0.75, "bad": 0.25})] * 2


def test_tag(load):
    model = load("small")
    assert model.tag("北京") == [Span(0, 1, "字", 0.5, "北")]
    assert model.tag(["Anna", "", "a\ud800"]) == [
        [Span(0, 1, "字", 0.5, "A")],
        [],
        [Span(0, 1, "字", 0.5, "a")],
    ]
    assert model.tag("\ud800a")[0].text == "\ufffd"
    assert model.segment(["我爱", "a b"]) == [["我", "爱"], ["a", "b"]]


def test_answer(load):
    model = load("small")
    found = model.answer("谁？", "王小明在北京")
    assert (found.text, found.start, found.end, found.score, found.margin) == ("王", 0, 1, 0.5, 0.5)
    assert found.candidates == (AnswerCandidate("王", 0, 1, 0.5),)
    both = model.answer(["Who?", "谁？"], "Anna")
    assert [each.text for each in both] == ["A", "A"]
    none = model.answer("Who?", "")
    assert (none.text, none.start, none.end) == ("", -1, -1)


def test_embed(load):
    model = load("small")
    vectors = model.embed(["a", "你好", "a"])
    assert vectors.shape == (3, 3) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(model.embed("你好"), vectors[1])
    assert model.embed([]).shape[0] == 0


def test_words(load):
    model = load("small")
    assert model.similarity("好", "好") == 1.0
    assert model.similarity(["a", "好"], "a") == [1.0, 0.0]
    assert model.nearest(["好", ""]) == [[Neighbor("好", 0.75)], []]
    assert model.fill("你____") == "你好"
    assert model.fill(["a", "____"], return_details=True) == [
        Filled("a", 0.5, False),
        Filled("好", 0.5, False),
    ]
    assert model.tokenize(["", "a"]) == [[], [0]]


def test_score(load):
    model = load("of_pairs")
    found = model.score("a", target="bc")
    assert found.num_tokens == 2 and found.token_ids == (7, 7)
    assert found.token_log_probabilities == pytest.approx([-np.log(2)] * 2)
    assert found.perplexity == pytest.approx(2.0) and np.isnan(model.score("a", "").perplexity)
    assert [each.num_tokens for each in load("small").score(["你", "ab"])] == [3, 2]


def test_score_of_a_real_model(load):
    found = load("tiny_decoder").score(["def f():", "你好"])
    for each in found:
        assert sum(each.token_log_probabilities) == pytest.approx(each.log_probability, rel=1e-4)
        assert each.perplexity > 1 and len(each.token_ids) >= each.num_tokens
