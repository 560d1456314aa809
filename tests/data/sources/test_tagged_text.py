"""Readers of labelled spans: every scheme of tags, words joined to a text, and bad lines."""

import json

import pytest

from tflm.data import DataConfig, read_examples
from tflm.data.sources.tagged_text import (
    join_words,
    read_conll,
    read_segmented,
    read_tagged_jsonl,
    tag_spans,
    tagged_row,
)
from tflm.errors import UserError


def read_rows(rows):
    """Each row as (line, text, the spans' own texts with their labels), or (line, problem)."""
    found = []
    for row in rows:
        if row.problem:
            found.append((row.line, row.problem))
        else:
            text = row.example["text"]
            spans = json.loads(row.example["spans"])
            found.append((row.line, text, [(text[start:end], label) for start, end, label in spans]))
    return found


def test_conll_columns_by_spaces_and_by_tabs(write):
    english = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nNew NNP I-NP B-LOC\nYork NNP I-NP I-LOC\n\n"
    chinese = "我\tO\n在\tO\n北\tB-LOC\n京\tI-LOC\n2\tO\n8\tO\n日\tO\n\u3000\tO\n\n\n世\tB-PER\r\n界\tI-PER"
    files = [write("en.conll", english), write("zh.conll", chinese)]
    assert read_rows(read_conll(files)) == [
        (3, "EU rejects New York", [("EU", "ORG"), ("New York", "LOC")]),
        (1, "我在北京28日", [("北京", "LOC")]),  # the outer U+3000 goes
        (11, "世界", [("世界", "PER")]),
    ]


# Two names side by side, one more after a gap, and one of one token, in every scheme.
SCHEMES = {
    "IOB1": "I-LOC I-LOC B-LOC O I-PER I-LOC",
    "IOB2": "B-LOC I-LOC B-LOC O B-PER B-LOC",
    "BIOES": "B-LOC E-LOC S-LOC O S-PER S-LOC",
    "BILOU": "B-LOC L-LOC U-LOC O U-PER U-LOC",
    "BMES": "B-LOC E-LOC S-LOC O S-PER S-LOC",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_says_the_same(scheme):
    assert tag_spans(SCHEMES[scheme].split()) == [(0, 2, "LOC"), (2, 3, "LOC"), (4, 5, "PER"), (5, 6, "LOC")]


def test_longer_names_tags_without_labels_and_what_is_no_scheme():
    assert tag_spans(["B-X", "M-X", "M-X", "E-X"]) == tag_spans(["B-X", "I-X", "I-X", "E-X"]) == [(0, 4, "X")]
    assert tag_spans(["B", "E", "S", "B", "M", "E"]) == [(0, 2, "word"), (2, 3, "word"), (3, 6, "word")]
    # As conlleval: an I after O or after another label begins, an I after E too.
    assert tag_spans(["O", "I-X", "I-Y", "E-Y", "I-Y", "O"]) == [(1, 2, "X"), (2, 4, "Y"), (4, 5, "Y")]
    assert tag_spans([]) == [] and tag_spans(["O"]) == []


@pytest.mark.parametrize(
    "words", [["ฉัน", "รัก", "ภาษาไทย"], ["ខ្ញុំ", "ស្រឡាញ់"], ["ຂ້ອຍ", "ຮັກ"], ["ကျွန်တော်", "ချစ်"], ["カ゛", "ｶﾞ", "𠮷"]]
)
def test_words_of_scripts_without_spaces_are_joined_without_them(words):
    assert join_words(words)[0] == "".join(words)
    assert join_words(["한국어", "नमस्ते", "café"])[0] == "한국어 नमस्ते café"


def test_bad_lines_make_bad_rows_and_the_next_sentence_is_read(write):
    file = write("a.conll", "EU B-ORG\nrejects\n\nfine O\n\nParis LOC\n\n北京 B-LOC\n")
    assert read_rows(read_conll([file])) == [
        (2, "not a token and a tag"),
        (4, "fine", []),
        (6, "a tag that is not O, nor B, I, M, E, L, S or U with a dash and a label"),
        (8, "北京", [("北京", "LOC")]),
    ]


def test_words_between_spaces(write):
    file = write("a.txt", "我  爱  北京 。\n\n\u3000用 Tensor Flow 2 训练\u3000模型\nplain words\n")
    assert read_rows(read_segmented([file])) == [
        (1, "我爱北京。", [("我", "word"), ("爱", "word"), ("北京", "word"), ("。", "word")]),
        (
            3,
            "用Tensor Flow 2训练模型",
            [(word, "word") for word in ("用", "Tensor", "Flow", "2", "训练", "模型")],
        ),
        (4, "plain words", [("plain", "word"), ("words", "word")]),
    ]


def test_join_words():
    text, places = join_words(["他", "说", "“", "OK", "Hello", "”", "한국", "말", "𠀀", "x"])
    assert text == "他说“ OK Hello ” 한국 말𠀀x"
    assert [text[start:end] for start, end in places] == [
        "他", "说", "“", "OK", "Hello", "”", "한국", "말", "𠀀", "x",
    ]  # fmt: skip
    assert join_words(["I", "a"])[0] == "I a"
    assert join_words([]) == ("", [])


def test_jsonl(write):
    lines = [
        {"body": "EU rejects", "names": [[0, 2, "ORG"]], "id": 7},
        {"body": " \ufeff我在\ufeff北京 ", "names": [{"start": 5, "end": 7, "label": "LOC", "score": 0.5}]},
        {"body": "b a", "names": [[2, 3, "B"], [0, 1, "A"]]},
        {"body": "none", "names": []},
        {"body": "ab", "names": [[0, 3, "X"]]},
        {"body": "ab", "names": [[1, 1, "X"]]},
        {"body": "a  b", "names": [[1, 3, "X"]]},
        {"body": "abc", "names": [[0, 2, "X"], [1, 3, "Y"]]},
        {"body": "abc", "names": [[0, "2", "X"]]},
        {"body": "abc", "names": "0-2:X"},
        {"body": ["abc"], "names": []},
        ["abc"],
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n{"
    wrong = "column 'names' is not a list of [start, end, label]"
    assert read_rows(read_tagged_jsonl([write("a.jsonl", text)], "body", "names")) == [
        (1, "EU rejects", [("EU", "ORG")]),
        (2, "我在北京", [("北京", "LOC")]),
        (3, "b a", [("b", "A"), ("a", "B")]),
        (4, "none", []),
        (5, "a span that is not inside the text"),
        (6, "a span that is not inside the text"),
        (7, "a span of spaces alone"),
        (8, "two spans that overlap"),
        (9, wrong),
        (10, wrong),
        (11, "column 'body' holds a list, not text"),
        (12, "a JSON array; write one object a line"),
        (14, "JSON over several lines; write one object a line"),
    ]
    with pytest.raises(UserError, match=r"no column 'tags'; the columns are body, names, id"):
        list(read_tagged_jsonl([write("b.jsonl", json.dumps(lines[0]))], "body", "tags"))


def test_spans_lose_outer_spaces_with_the_text():
    row = tagged_row("f", 1, "  Paris 巴黎 ", [(0, 7, "LOC"), (8, 11, "LOC")])
    assert read_rows([row]) == [(1, "Paris 巴黎", [("Paris", "LOC"), ("巴黎", "LOC")])]


def test_a_bad_sentence_counts_by_its_lines(write):
    short = "".join(f"word{n} O\n\n" for n in range(300))
    long = (
        "".join(f"字{n} O\n" for n in range(200)) + "broken\n"
    )  # the blank lines between its sentences are gone
    config = DataConfig("conll", write("a.conll", short + long), eval_fraction=0.0)
    words = r"1 of 301 rows, 201 of 501 lines, are bad \(1 not a token and a tag\); first .*:801: not a token"
    with pytest.raises(UserError, match=words):
        list(read_examples(config, "train"))
    allowed = DataConfig("conll", config.path, eval_fraction=0.0, max_bad_rows=1)
    assert len(list(read_examples(allowed, "train"))) == 300, "a count is one of rows"
