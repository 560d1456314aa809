"""Summaries of texts longer than a scripted model reads: what each round is given."""

from tflm.serving.handle.results import SummaryPart
from tflm.serving.handle.summary import by_parts, last_read


def count_words(texts):
    return [len(text.split()) for text in texts]


class Scripted:
    """Summarizes to the first word of each sentence that it is given, and keeps what it was asked."""

    def __init__(self):
        self.requests = []

    def __call__(self, texts):
        self.requests.append(list(texts))
        return [" ".join(part.split()[0] for part in text.split(".") if part.strip()) + "." for text in texts]


def test_parts_then_the_summaries_together():
    model = Scripted()
    long, short = "A b c. D e f. G h i. J k l.", "X y."
    found = by_parts([long, short, ""], model, count_words, limit=6)
    assert model.requests == [["A b c. D e f. ", "G h i. J k l.", "X y.", ""], ["A D. G J."]]
    assert found[0] == (
        "A G.",
        [SummaryPart(1, "A b c. D e f.", "A D."), SummaryPart(1, "G h i. J k l.", "G J.")],
    )
    assert found[1:] == [("X.", []), (".", [])]
    assert last_read(long, found[0][1]) == "A D. G J." and last_read(short, found[1][1]) == short


def test_round_after_round_until_it_fits():
    model = Scripted()
    sentences = [f"W{n} two three." for n in range(16)]
    ((summary, parts),) = by_parts([" ".join(sentences)], model, count_words, limit=6)
    assert [len(request) for request in model.requests] == [8, 3, 2, 1]
    assert [part.round for part in parts] == [1] * 8 + [2] * 3 + [3] * 2
    assert [part.summary for part in parts[8:]] == [
        "W0 W2 W4.",
        "W6 W8 W10.",
        "W12 W14.",
        "W0 W6.",
        "W12.",
    ]
    assert summary == "W0 W12."


def test_chinese_summaries_are_joined_without_spaces():
    requests = []

    def first_two(texts):
        requests.append(list(texts))
        return [text[:2] + "。" for text in texts]

    ((summary, parts),) = by_parts(
        ["今天天气很好。明天会下雨吗？"], first_two, lambda texts: [*map(len, texts)], limit=7
    )
    assert requests == [["今天天气很好。", "明天会下雨吗？"], ["今天。明天。"]]
    assert (summary, len(parts)) == ("今天。", 2)


def test_a_model_that_does_not_shorten_comes_to_an_end():
    requests = []

    def echo(texts):
        requests.append(list(texts))
        return [text.strip() for text in texts]

    ((summary, _),) = by_parts(["A b c. D e f. G h i."], echo, count_words, limit=3)
    assert [len(request) for request in requests] == [3, 1]
    assert summary == requests[-1][0] == "A b c. D e f. G h i."


def test_without_a_limit_every_text_is_read_whole():
    model = Scripted()
    assert by_parts(["A b. C d."], model, None, limit=0) == [("A C.", [])]
    assert model.requests == [["A b. C d."]]
