import hashlib
from pathlib import Path

import pytest
from absl import logging

from tflm.data import DataConfig, read_examples
from tflm.data.examples import is_held_out
from tflm.errors import UserError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def read(config, split="train"):
    return list(read_examples(config, split))


def test_lines_of_a_chinese_file(write):
    config = DataConfig(path=write("a.txt.gz", "\ufeff床前明月光，\n\n疑是地上霜。\n"), eval_fraction=0.0)
    assert read(config) == [{"text": "床前明月光，"}, {"text": "疑是地上霜。"}]


def test_pairs_are_stripped_and_texts_keep_their_spaces(write):
    file = write("a.tsv", "q\ta\n \ufeff问题\ufeff？ \t 答案 \n")
    pair = DataConfig("tsv", file, source_column="q", target_column="a", eval_fraction=0.0)
    assert read(pair) == [{"source": "问题？", "target": "答案"}]
    assert read(DataConfig("tsv", file, text_column="a", eval_fraction=0.0)) == [{"text": " 答案 "}]


def test_hash_split_covers_all_is_disjoint_and_keeps_duplicates_together(write):
    lines = [f"第 {i % 400} 行 Line" for i in range(1000)]
    lines += [line.upper().replace(" ", "  ") for line in lines]  # the same content, by case and spaces
    config = DataConfig(path=write("a.txt", "\n".join(lines)), eval_fraction=0.2)
    train, held_out = ([e["text"] for e in read(config, split)] for split in ("train", "eval"))
    assert sorted(train + held_out) == sorted(lines)
    normal = [{" ".join(text.split()).lower() for text in side} for side in (train, held_out)]
    assert not normal[0] & normal[1]
    assert 0.1 < len(held_out) / len(lines) < 0.3
    assert read(config, "eval") == [{"text": text} for text in held_out]


def test_pairs_with_the_same_source_stay_together(write):
    rows = "".join(f"question {i % 50}\tanswer {i}\n" for i in range(500))
    fields = {"source_column": "0", "target_column": "1", "eval_fraction": 0.3}
    config = DataConfig("tsv", write("a.tsv", rows), **fields)
    train, held_out = ({e["source"] for e in read(config, split)} for split in ("train", "eval"))
    assert len(train | held_out) == 50
    assert not train & held_out


def test_the_hash_is_blake2b_and_a_larger_fraction_holds_out_more():
    number = int.from_bytes(hashlib.blake2b("中文 a".encode(), digest_size=8).digest(), "big") / 2**64
    assert not is_held_out("中文 A", number - 1e-9)
    assert is_held_out(" 中文  a\n", number + 1e-9)


def test_a_tail_split_is_exact_at_the_character(write):
    text = "春眠不觉晓，\nSpring sleep.\n" * 13
    config = DataConfig(path=write("a.txt", text), split="tail", eval_fraction=0.1, document="file")
    cut = int(len(text) * 0.9)
    assert read(config) == [{"text": text[:cut]}]
    assert read(config, "eval") == [{"text": text[cut:]}]


def test_an_eval_path_takes_the_place_of_the_split(write):
    train, held_out = write("train.txt", "a\nb\nc\n"), write("dev.txt", "a\nz\n")
    for split in ("hash", "tail"):
        config = DataConfig(path=train, eval_path=held_out, split=split)
        assert [e["text"] for e in read(config)] == ["a", "b", "c"]
        assert [e["text"] for e in read(config, "eval")] == ["a", "z"]


def test_bad_rows_are_counted_and_reported_once(write, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: warnings.append(message % args))
    lines = ['{"t": "一"}', "{", '{"t": " \\ufeff"}', b'{"t": "\xff"}', '{"t": "\\ud800"}', '{"t": "五"}']
    content = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    file = write("a.jsonl", content)
    examples = read_examples(
        DataConfig("jsonl", file, text_column="t", max_bad_rows=4, eval_fraction=0.0), "train"
    )
    for _ in range(2):  # each pass counts anew
        assert list(examples) == [{"text": "一"}, {"text": "五"}]
        report = examples.report
        assert (report.num_rows, report.num_examples, report.num_bad) == (6, 2, 4)
    assert report.bad_rows["not UTF-8"] == 2
    assert report.bad_rows["no text"] == 1
    assert report.first_bad[1] == f"{file}:3: no text"
    assert warnings == [str(report)]  # twice read, told once
    assert "4 of 6 rows are bad (2 not UTF-8," in warnings[0]


def test_the_line_of_a_bad_byte_inside_a_document(write):
    file = write("a.txt", b"one\ntwo\nth\xffree\n")
    examples = read_examples(DataConfig(path=file, document="file"), "train")
    with pytest.raises(UserError, match=r"a\.txt:3: not UTF-8"):
        list(examples)


@pytest.mark.parametrize(
    ("limit", "refused"), [(0, True), (1, True), (2, False), (0.19, True), (0.2, False), (0.99, False)]
)
def test_too_many_bad_rows_are_refused(write, limit, refused):
    file = write("a.txt", b"a\nb\nc\nd\n\xff\ne\nf\ng\n\xfe\nh\n")  # 2 of 10
    config = DataConfig(path=file, max_bad_rows=limit, eval_fraction=0.0)
    if refused:
        with pytest.raises(
            UserError, match=r"a\.txt:5: not UTF-8.*than max_bad_rows=.* allows; mend them or raise"
        ):
            read(config)
    else:
        assert len(read(config)) == 8


def test_wrong_splits_and_empty_data(write):
    one = DataConfig(path=write("one.txt", "一行\n"))
    with pytest.raises(UserError, match="split is 'test'; it must be 'train' or 'eval'"):
        read_examples(one, "test")
    with pytest.raises(UserError, match="there is no eval split: eval_fraction is 0"):
        read_examples(DataConfig(path="x", eval_fraction=0.0), "eval")
    with pytest.raises(
        UserError, match=r"split 'eval' of .*one.txt is empty: none of 1 rows.*change eval_fraction"
    ):
        read(one, "eval")
    for document in ("line", "paragraph", "file"):
        with pytest.raises(UserError, match=r"the data set is empty: .*empty.txt has no row with text"):
            read(DataConfig(path=write("empty.txt", "\ufeff\n \n"), document=document))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the repository")
class TestPublicData:
    def test_tiny_shakespeare_is_cut_as_nanogpt_cuts_it(self):
        config = DataConfig(
            path=str(SHARED / "tinyshakespeare"), split="tail", eval_fraction=0.1, document="file"
        )
        [train], [held_out] = read(config), read(config, "eval")
        assert (len(train["text"]), len(held_out["text"])) == (1_003_854, 111_540)
        assert train["text"].startswith("First Citizen:\nBefore we proceed")

    def test_chinese_reviews_have_one_empty_row_and_no_byte_order_marks(self):
        path = str(SHARED / "online_shopping")
        examples = read_examples(DataConfig("csv", path, source_column="review", target_column="cat"), "eval")
        rows = list(examples)
        assert examples.report.num_rows == 62_774
        assert dict(examples.report.bad_rows) == {"no source": 1}
        assert 2800 < len(rows) < 3500
        assert len({row["target"] for row in rows}) == 10
        assert not any(row["source"].startswith("\ufeff") for row in rows)

    def test_sst2_by_column_number(self):
        config = DataConfig("tsv", str(SHARED / "sst2" / "dev.tsv"), source_column="0", target_column="1")
        examples = read_examples(config, "train")
        assert {e["target"] for e in examples} == {"0", "1"}
        assert examples.report.num_rows == 872
        assert examples.report.num_bad == 0
