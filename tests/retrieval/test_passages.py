"""Passages: their texts are those of the file, nothing is lost, and they end where sentences do."""

import itertools
import json
import random

import pytest

from tflm.errors import UserError
from tflm.retrieval.passages import INDEX_FILE, Passage, cut_document, cut_text, find_documents, line_of

ENGLISH = "The first sentence is here. Is this the second one? It is! " * 6
CHINESE = "今天天气很好，我们去公园散步。你想一起来吗？太好了！他说：“走吧。”" * 6
PARAGRAPHS = "One short paragraph.\n\nAnother one,\nof two lines.\n\n" * 8
LONG_LINE = "x" * 500
TEXTS = {
    "English": ENGLISH,
    "Chinese": CHINESE,
    "paragraphs": PARAGRAPHS,
    "CRLF": PARAGRAPHS.replace("\n", "\r\n"),
    "a line without end": LONG_LINE,
    "byte-order mark": "\ufeff  " + ENGLISH,
    "mixed": ENGLISH + "\n" + CHINESE + "😀é\n" + LONG_LINE + "\n\n\n",
    "code": "def f(x):\n    return x  # 注释\n\n\n" * 12,
}


def pieces(text, length):
    return [text[start:end] for start, end in cut_text(text, 0, len(text), length)]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("length", [20, 61, 200, 10_000])
def test_passages_are_the_text_of_the_file(name, length, tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(TEXTS[name].encode())
    passages, problem = cut_document(path.read_bytes(), str(path), length)
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    lines = text.split("\n")
    assert problem == ""
    covered = set()
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
        assert 0 < len(passage.text) <= length
        assert passage.text == passage.text.strip()
        covered |= set(range(passage.start, passage.end))
        for offset in (0, len(passage.text) - 1):
            assert line_of(passage, offset) == 1 + text[: passage.start + offset].count("\n")
        assert passage.first_line == line_of(passage, 0)
        assert passage.last_line == line_of(passage, len(passage.text) - 1)
        assert passage.text.split("\n")[0] in lines[passage.first_line - 1]
    missed = {place for place, character in enumerate(text) if character not in " \r\n\ufeff"} - covered
    assert not missed
    for one, other in itertools.pairwise(passages):
        assert one.start < other.start and one.end < other.end


def test_a_passage_ends_where_a_sentence_does():
    for text, ends in ((ENGLISH, ".?!"), (CHINESE, "。？！”")):
        for piece in pieces(text, 70):
            assert piece[-1] in ends, piece
    for piece in pieces(PARAGRAPHS, 80):
        assert piece.startswith(("One short", "Another one")) and piece.endswith(("paragraph.", "lines."))


def test_the_next_passage_begins_with_the_last_sentence_of_this_one_if_it_is_short():
    text = "This is a rather long sentence that goes on. Yes. And this is the one after it, as long."
    assert pieces(text, 60) == [
        "This is a rather long sentence that goes on. Yes.",
        "Yes. And this is the one after it, as long.",
    ]


def test_a_quotation_or_a_number_does_not_end_early():
    assert pieces('He said "Stop." and it was 3.14 of them.', 26)[0] == 'He said "Stop."'
    assert pieces("他说：“好。”然后就离开了这个地方，去了很远的城市。", 20)[0].endswith("，")
    assert pieces("这个数是三点一四，他说：“好的好的。”然后走了。", 20)[0].endswith("”")


@pytest.mark.parametrize("blanks", range(0, 60, 7))
def test_blanks_at_the_end_give_no_passage(blanks):
    text = "This is a rather long sentence that goes on. Yes."
    assert pieces(text + "\n" * blanks, 50) == [text]


def test_a_long_line_is_cut_with_an_overlap():
    spans = list(cut_text(LONG_LINE, 0, 500, 100))
    assert spans == [(0, 100), (80, 180), (160, 260), (240, 340), (320, 420), (400, 500)]


def test_any_answer_shorter_than_the_overlap_of_a_cut_line_is_whole_in_one_passage():
    generator = random.Random(0)
    text = "".join(generator.choices("ab 中文", k=2000))
    spans = list(cut_text(text, 0, len(text), 100))
    for begin in range(len(text) - 10):
        # A word that a cut would part is shorter than the overlap of 20.
        if not set(text[begin : begin + 10]) & set(" ，"):
            assert any(start <= begin and begin + 10 <= end for start, end in spans)


def test_empty_blank_binary_and_other_encodings():
    assert cut_document(b"", "a.txt") == ([], "")
    assert cut_document(b" \r\n\n\t", "a.md") == ([], "")
    _, problem = cut_document(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.txt")
    assert problem == "skipped: it is not a text file: it holds NUL bytes; give a text file in UTF-8."
    assert cut_document("你好 a\n".encode("utf-16-le"), "a.txt") == (
        [],
        "skipped: it looks like UTF-16-LE without a byte-order mark; save the file as UTF-8.",
    )
    passages, problem = cut_document("ab中文".encode("gb18030"), "a.txt")
    assert passages == []
    assert problem == "skipped: it is not UTF-8: invalid continuation byte at byte 2; save the file as UTF-8."
    with pytest.raises(UserError, match=r"the passage length is at least 20 characters; got 19."):
        cut_document(b"a", "a.txt", length=19)


def test_records_of_jsonl():
    rows = [{"text": "一二三\n四五六"}, {"text": "a" * 50, "id": 2}, {"title": "x"}, "no object"]
    lines = [*(json.dumps(row) for row in rows), "not json", "", '{"text": "end"}']
    passages, problem = cut_document("\n".join(lines).encode(), "a.jsonl", length=40)
    assert passages[0] == Passage("a.jsonl", 0, 7, 1, 1, "一二三\n四五六")
    assert line_of(passages[0], 5) == 1
    assert [(p.first_line, p.last_line, p.start, p.end) for p in passages[1:]] == [
        (2, 2, 0, 40),
        (2, 2, 32, 50),
        (7, 7, 0, 3),
    ]
    assert problem == '3 lines skipped, line 3 the first: expected {"text": "..."} in each.'


@pytest.mark.parametrize("name", ["a.md", "a.tsv", "a.csv", "a.NDJSON"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_decides_the_encoding(name, encoding):
    text = json.dumps({"text": "怎么 return it?"}, ensure_ascii=False) if "ND" in name else "怎么 return it?"
    passages, problem = cut_document(f"{text}\r\n".encode(encoding), name)
    assert ([passage.text for passage in passages], problem) == (["怎么 return it?"], "")


def test_rows_of_csv_are_passages_of_their_own():
    text = 'question, answer\r\n怎么退货？,"七天内，""原样""。\r\n否则不行。"\r\n\r\nlast,line\r\n'
    passages, problem = cut_document(text.encode(), "a.CSV")
    assert [(p.text, p.first_line, p.last_line) for p in passages] == [
        ("question\t answer", 1, 1),
        ('怎么退货？\t七天内，"原样"。\n否则不行。', 2, 3),
        ("last\tline", 5, 5),
    ]
    assert problem == ""
    rows = ["a,b", *(f"{number},{number}" for number in range(5)), '"open,5', *["lost,1"] * 9]
    passages, problem = cut_document("\n".join(rows).encode(), "a.csv")
    assert len(passages) == 6
    assert problem.startswith("10 lines skipped, line 7 the first: lines joined by a stray quotation mark")


def test_lines_of_tsv_are_passages_of_their_own():
    text = "question\tanswer\r\n怎么退货？\t七天内。\r\n\r\nlast\tline"
    passages, _ = cut_document(text.encode(), "a.TSV")
    assert [(p.text, p.first_line, p.last_line) for p in passages] == [
        ("question\tanswer", 1, 1),
        ("怎么退货？\t七天内。", 2, 2),
        ("last\tline", 4, 4),
    ]
    assert all(p.text == text[p.start : p.end] for p in passages)


def test_files_folders_and_globs(tmp_path):
    for name in (
        "b.md",
        "a.TXT",
        "c.bin",
        ".hidden.md",
        "sub/d.py",
        "sub/e.html",
        "sub/f.Csv.GZ",
        "sub/g.ndjson",
        ".git/f.md",
        "__pycache__/g.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "index").mkdir()
    for name in (INDEX_FILE, "passages-1.jsonl"):
        (tmp_path / "index" / name).write_text("x", encoding="utf-8")

    def found(*patterns):
        paths = find_documents([str(tmp_path / pattern) for pattern in patterns])
        return [path.removeprefix(f"{tmp_path}/") for path in paths]

    assert found("") == ["a.TXT", "b.md", "sub/d.py", "sub/f.Csv.GZ", "sub/g.ndjson"]
    assert found("sub/[de]*", "b.md", "**/*.md") == ["sub/d.py", "sub/e.html", "b.md"]
    (tmp_path / "odd[1].md").write_text("x", encoding="utf-8")
    assert found("odd[1].md") == ["odd[1].md"]
    with pytest.raises(UserError, match=r"nowhere' is not there. Give files, folders or globs such as"):
        found("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"empty' has no file that ends in .txt, .md, .rst, .py, .jsonl, .ndjson, .csv, .tsv."
    ):
        found("empty")
