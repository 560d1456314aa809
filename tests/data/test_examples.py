import dataclasses
import hashlib
import os
import unicodedata
from pathlib import Path

import pytest
from absl import logging

from tflm.data import DataConfig, read_examples
from tflm.data.examples import hash_split, read_rows
from tflm.errors import UserError

PUBLIC_DATA = os.environ.get("TFLM_PUBLIC_DATA", "")
"""A folder of public data sets."""


def read(config, split="train"):
    return list(read_examples(config, split))


def test_lines_of_a_chinese_file(write):
    config = DataConfig(path=write("a.txt.gz", "\ufeff床前明月光，\n\n疑是地上霜。\n"), eval_fraction=0.0)
    assert read(config) == [{"text": "床前明月光，"}, {"text": "疑是地上霜。"}]


SQUAD = '{"data": [{"paragraphs": [{"context": "Anna sah 安娜。", "qas": [{"question": "谁?", "answers": []}]}]}]}'


@pytest.mark.parametrize(
    ("source", "content", "fields"),
    [
        ("text", "first line\n第二行\n", {}),
        ("text", "first line\n第二行\n", {"split": "tail", "eval_fraction": 0.3}),
        ("text", "one\ntwo\n\n三\n", {"document": "paragraph"}),
        ("text", "one\n二\n", {"document": "file"}),
        ("csv", "text,label\nfine film,1\n很好,1\n", {"text_column": "text", "label_column": "label"}),
        ("tsv", "q\ta\nWho?\tAnna\n谁？\t安娜\n", {"source_column": "q", "target_column": "a"}),
        ("jsonl", '{"text": "fine film"}\n{"text": "很好"}\n', {"text_column": "text"}),
        ("conll", "Anna B-PER\n\n北 B-LOC\n京 I-LOC\n", {}),
        ("segmented", "我 爱 北京\nwe love it\n", {}),
        ("squad", SQUAD, {}),
    ],
)
def test_every_source_reads_its_encoding_or_refuses_it(write, source, content, fields):
    fields = {"eval_fraction": 0.0, **fields}
    expected = read(DataConfig(source, write("a", content), **fields))
    assert expected
    assert read(DataConfig(source, write("marked", content.encode("utf-16")), **fields)) == expected
    unmarked = write("unmarked.gz", content.encode("utf-16-be"))
    with pytest.raises(UserError, match=r"unmarked\.gz looks like UTF-16-BE.*set data\.encoding=utf-16-be"):
        read(DataConfig(source, unmarked, **fields))
    assert read(DataConfig(source, unmarked, encoding="utf-16-be", **fields)) == expected


def test_parallel_files_in_different_encodings(write):
    prefix = write("a.en", "A dog.\n".encode("utf-16")).removesuffix(".en")
    fields = {"source_column": "en", "target_column": "zh", "eval_fraction": 0.0}
    write("a.zh", "狗。\n")
    assert read(DataConfig("parallel", prefix, **fields)) == [{"source": "A dog.", "target": "狗。"}]
    write("a.zh", "狗。 1\n".encode("utf-16-le"))
    with pytest.raises(UserError, match=r"a\.zh looks like UTF-16-LE"):
        read(DataConfig("parallel", prefix, **fields))


def test_a_stray_quotation_mark_counts_by_the_lines_that_it_swallows(write):
    lines = [f"第{n}个 film,{n % 2}" for n in range(400)]
    lines[100] = '"' + lines[100]
    lines[350] = '"quoted, and fine",1'
    file = write("a.csv", "text,label\n" + "\n".join(lines) + "\n")
    fields = {"text_column": "text", "label_column": "label", "eval_fraction": 0.0}
    words = r"251 of 400 rows are bad .*first .*a\.csv:102-352: lines joined by a stray quotation mark"
    with pytest.raises(UserError, match=words):
        read(DataConfig("csv", file, **fields))
    with pytest.raises(UserError, match=r'251 of .* write quotation marks inside it as ""$'):
        read(DataConfig("csv", file, max_bad_rows=250, **fields))
    assert len(read(DataConfig("csv", file, max_bad_rows=251, **fields))) == 149


def test_a_bad_document_counts_by_its_lines(write):
    for number in range(120):
        write(f"many/{number}.txt", "one line\n")
    write("many/long.txt", b"line\n" * 900 + b"\xff\n")
    words = r"1 of 121 rows, 901 of 1021 lines, are bad \(1 not UTF-8\); first .*long\.txt:901"
    for document in ("file", "paragraph"):
        config = DataConfig(
            path=write("many/x.md", "").removesuffix("/x.md"), document=document, eval_fraction=0.0
        )
        with pytest.raises(UserError, match=words):
            read(config)


@pytest.mark.parametrize(
    ("name", "source"), [("a.CSV", "csv"), ("b.jsonl.gz", "jsonl"), ("文.ndjson", "jsonl")]
)
def test_a_table_that_is_read_as_plain_text_gives_one_warning(write, caplog, name, source):
    config = DataConfig(path=write(name, "text,label\n"), eval_fraction=0.0)
    for _ in range(2):
        assert read(config) == [{"text": "text,label"}]
    words = f"is read as plain text, line by line; to read its columns set data.source={source}"
    assert caplog.text.count(words) == 1


def test_a_json_array_counts_by_its_objects(write):
    objects = [f'{{"t": "text {n}"}}' for n in range(300)]
    fields = {"text_column": "t", "eval_fraction": 0.0}
    array = write("a.jsonl", "[" + ", ".join(objects) + "]\n" + objects[0] + "\n")
    with pytest.raises(
        UserError, match=r"300 of 301 rows are bad \(300 a JSON array; write one object a line\)"
    ):
        read(DataConfig("jsonl", array, **fields))
    joined = write("b.jsonl", "\n".join(objects) + "\n" + "".join(objects[:9]) + "\n")
    with pytest.raises(
        UserError, match=r"9 of 309 rows are bad \(9 several JSON values; write one object a line"
    ):
        read(DataConfig("jsonl", joined, **fields))


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
    assert hash_split("中文 A", number - 1e-9, 0.0) == "train"
    assert hash_split("中文 A", number - 1e-9, 1e-8) == "test"
    assert hash_split(" 中文  a\n", number + 1e-9, 0.1) == "eval"


def test_a_text_in_nfc_and_in_nfd_is_on_one_side(write):
    texts = [f"{word} numéro {i}" for i in range(50) for word in ("Zoé", "가방", "がく", "Đặng")]
    both = [unicodedata.normalize(form, text) for text in texts for form in ("NFC", "NFD")]
    assert len(set(both)) == 2 * len(texts)
    config = DataConfig(path=write("a.txt", "\n".join(both)), eval_fraction=0.3)
    train, held_out = (
        {unicodedata.normalize("NFC", example["text"]) for example in read(config, split)}
        for split in ("train", "eval")
    )
    assert len(train) + len(held_out) == len(texts) and len(held_out) > 30
    # Where a text in NFC belongs has not changed with this.
    number = int.from_bytes(hashlib.blake2b("zoé numéro 7".encode(), digest_size=8).digest(), "big") / 2**64
    assert hash_split("Zoe\u0301 nume\u0301ro 7", number + 1e-9, 0.0) == "eval"
    assert hash_split("Zoé numéro 7", number - 1e-9, 0.0) == "train"


def test_a_test_is_the_next_part_of_the_hash_and_eval_stays_as_it_is(write):
    file = write("a.txt", "\n".join(f"第 {i} 行" for i in range(1000)))
    with_test = DataConfig(path=file, eval_fraction=0.1, test_fraction=0.2)
    train, held_out, test = (read(with_test, split) for split in ("train", "eval", "test"))
    assert held_out == read(DataConfig(path=file, eval_fraction=0.1), "eval")
    larger = read(DataConfig(path=file, eval_fraction=0.3), "eval")
    assert test == [example for example in larger if example not in held_out]
    assert 150 < len(test) < 250
    assert len(train) + len(held_out) + len(test) == 1000
    only_test = DataConfig(path=file, eval_path=write("dev.txt", "x"), test_fraction=0.2)
    assert len(read(only_test)) + len(read(only_test, "test")) == 1000
    assert read(only_test, "eval") == [{"text": "x"}]


def test_a_part_of_the_training_side_is_in_each_larger_part_and_leaves_the_others_alone(write):
    whole = DataConfig(path=write("a.txt", "\n".join(f"第 {i} 行" for i in range(1000))), eval_fraction=0.2)
    parts = [dataclasses.replace(whole, train_fraction=fraction) for fraction in (0.1, 0.5, 1.0)]
    tenth, half, train = ([example["text"] for example in read(part)] for part in parts)
    assert set(tenth) < set(half) < set(train)
    assert train == [example["text"] for example in read(whole)]
    assert 0.05 < len(tenth) / len(train) < 0.15
    assert 0.4 < len(half) / len(train) < 0.6
    assert read(parts[0], "eval") == read(whole, "eval")
    own = dataclasses.replace(parts[1], eval_path=write("dev.txt", "x"))
    assert 400 < len(read(own)) < 600


def test_a_test_path_beside_each_split(write):
    train, test = write("train.txt", "一\n二\n三\n四\n"), write("test.txt", "五\n一\n")
    for fields in ({"eval_fraction": 0.5, "split": "tail"}, {"eval_fraction": 0.5}, {"eval_path": test}):
        config = DataConfig(path=train, test_path=test, **fields)
        assert read(config, "test") == [{"text": "五"}, {"text": "一"}]
        own = 0 if "eval_path" in fields else len(read(config, "eval"))
        assert len(read(config)) + own == 4


def test_labelled_texts(write):
    rows = "text\tlabel\tmore\n \ufeff好看！ \t 1 \tx\nno\t0\ty\nnone\t\tz\n"
    config = DataConfig(
        "tsv",
        write("a.tsv", rows),
        text_column="text",
        label_column="label",
        eval_fraction=0.0,
        max_bad_rows=1,
    )
    examples = read_examples(config, "train")
    assert list(examples) == [{"text": "好看！", "label": "1"}, {"text": "no", "label": "0"}]
    assert examples.report.first_bad == [f"{config.path}:4: no label"]


def test_labels_and_second_texts_from_jsonl(write):
    lines = [
        '{"a": "甲", "b": "乙", "y": 3}',
        '{"a": "x", "b": "y", "y": 1.0}',
        '{"a": "x", "b": "y", "y": [1]}',
        '{"a": "x", "b": " ", "y": 1}',
        '{"a": "x", "b": "y"}',
    ]
    config = DataConfig(
        "jsonl",
        write("a.jsonl", "\n".join(lines)),
        text_column="a",
        text_pair_column="b",
        label_column="y",
        eval_fraction=0.0,
        max_bad_rows=3,
    )
    examples = read_examples(config, "train")
    assert list(examples) == [
        {"text": "甲", "text_pair": "乙", "label": "3"},
        {"text": "x", "text_pair": "y", "label": "1.0"},
    ]
    assert dict(examples.report.bad_rows) == {
        "column 'y' holds a list, not text": 1,
        "no text_pair": 1,
        "no label": 1,
    }


def test_the_same_text_stays_on_one_side_whatever_its_label(write):
    rows = "".join(f"text {i % 60}\tpair {i}\t{i % 7}\n" for i in range(420))
    config = DataConfig(
        "tsv",
        write("a.tsv", rows),
        text_column="0",
        text_pair_column="1",
        label_column="2",
        eval_fraction=0.2,
        test_fraction=0.3,
    )
    sides = [{e["text"] for e in read(config, split)} for split in ("train", "eval", "test")]
    assert [bool(side) for side in sides] == [True] * 3
    assert sum(map(len, sides)) == len(set.union(*sides)) == 60


def test_files_named_inside_a_folder(write, tmp_path):
    for name in ("train.tsv.gz", "dev.tsv", "test.tsv"):
        write(f"sst/{name}", f"text of {name[:4]}\t1\n")
    fields = {"train_file": "train.tsv", "eval_file": "dev.tsv", "test_file": "test.tsv"}
    columns = {"text_column": "0", "label_column": "1"}
    config = DataConfig("tsv", str(tmp_path / "sst"), **fields, **columns)
    for split, name in (("train", "trai"), ("eval", "dev."), ("test", "test")):
        assert read(config, split) == [{"text": f"text of {name}", "label": "1"}]
    with pytest.raises(
        UserError,
        match=r"no file 'dev.csv' \(nor 'dev.csv.gz'\), which eval_file names; "
        r"its files are dev.tsv, test.tsv, train.tsv.gz",
    ):
        read(DataConfig("tsv", str(tmp_path / "sst"), **fields | {"eval_file": "dev.csv"}, **columns), "eval")
    path = str(tmp_path / "sst" / "dev.tsv")
    with pytest.raises(
        UserError, match=r"dev.tsv' is not a folder; train_file names the file 'train.tsv' inside"
    ):
        read(DataConfig("tsv", path, **fields, **columns))


def test_a_chinese_encoding(write):
    content = "评论,标签\n很好，下次还会买,好\n质量𠮷差,差\n".encode("gb18030")
    columns = {"text_column": "评论", "label_column": "标签", "eval_fraction": 0.0}
    file = write("a.csv", content)
    expected = [{"text": "很好，下次还会买", "label": "好"}, {"text": "质量𠮷差", "label": "差"}]
    assert read(DataConfig("csv", file, encoding="gb18030", **columns)) == expected
    with pytest.raises(
        UserError, match=r"a\.csv:1: no column '评论'.*they are in another encoding: set data.encoding"
    ) as error:
        read(DataConfig("csv", file, **columns))
    str(error.value).encode()  # what cannot be written in UTF-8 cannot be printed either
    lines = DataConfig(path=file, eval_fraction=0.0)
    with pytest.raises(UserError, match=r"3 of 3 rows are bad \(3 not UTF-8\).*set data.encoding .*gb18030"):
        read(lines)
    with pytest.raises(UserError, match=r"2 not GB18030.*raise max_bad_rows; if the text is in another"):
        read(DataConfig(path=write("b.txt", b"a\n\xff\n\xff\n"), encoding="gb18030", eval_fraction=0.0))


def test_each_reader_of_files_takes_the_encoding(write):
    fields = {"encoding": "utf-16", "eval_fraction": 0.5}
    tail = DataConfig(path=write("a.txt", "春眠\n不觉\n".encode("utf-16")), split="tail", **fields)
    assert read(tail) + read(tail, "eval") == [{"text": "春眠"}, {"text": "不觉"}]
    rows = DataConfig("jsonl", write("a.jsonl", '{"t": "晓"}'.encode("utf-16")), text_column="t", **fields)
    assert [row.example for row in read_rows(rows, "train")] == [{"text": "晓"}]
    table = DataConfig("tsv", write("a.tsv", "啼鸟".encode("utf-16")), text_column="0", **fields)
    assert [row.example for row in read_rows(table, "train")] == [{"text": "啼鸟"}]


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
    for _ in range(2):  # each pass counts from zero
        assert list(examples) == [{"text": "一"}, {"text": "五"}]
        report = examples.report
        assert (report.num_rows, report.num_examples, report.num_bad) == (6, 2, 4)
    assert report.bad_rows["not UTF-8"] == 2
    assert report.bad_rows["no text"] == 1
    assert report.first_bad[1] == f"{file}:3: no text"
    assert warnings == [str(report)]  # read twice, reported once
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
            UserError, match=r"a\.txt:5: not UTF-8.*than max_bad_rows=.* allows; fix them or raise"
        ):
            read(config)
    else:
        assert len(read(config)) == 8


def test_wrong_splits_and_empty_data(write):
    one = DataConfig(path=write("one.txt", "一行\n"))
    with pytest.raises(UserError, match="split is 'dev'; it must be one of train, eval, test"):
        read_examples(one, "dev")
    with pytest.raises(
        UserError, match="no test split: test_fraction is 0 and there is no test_path or test_file; set one"
    ):
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


def public(name):
    """The folder of a public data set; the test is skipped where it is missing."""
    folder = Path(PUBLIC_DATA, name)
    if not PUBLIC_DATA or not folder.is_dir():
        pytest.skip(f"to test with the public data set {name}, set TFLM_PUBLIC_DATA to a folder that has it")
    return str(folder)


class TestPublicData:
    def test_tiny_shakespeare_is_cut_as_nanogpt_cuts_it(self):
        config = DataConfig(path=public("tinyshakespeare"), split="tail", eval_fraction=0.1, document="file")
        [train], [held_out] = read(config), read(config, "eval")
        assert (len(train["text"]), len(held_out["text"])) == (1_003_854, 111_540)
        assert train["text"].startswith("First Citizen:\nBefore we proceed")

    def test_chinese_reviews_have_one_empty_row_and_no_byte_order_marks(self):
        path = public("online_shopping")
        examples = read_examples(DataConfig("csv", path, source_column="review", target_column="cat"), "eval")
        rows = list(examples)
        assert examples.report.num_rows == 62_774
        assert dict(examples.report.bad_rows) == {"no source": 1}
        assert 2800 < len(rows) < 3500
        assert len({row["target"] for row in rows}) == 10
        assert not any(row["source"].startswith("\ufeff") for row in rows)

    def test_sst2_by_column_number(self):
        config = DataConfig(
            "tsv",
            public("sst2"),
            train_file="train.tsv",
            eval_file="dev.tsv",
            test_file="test.tsv",
            text_column="0",
            label_column="1",
        )
        for split, count in (("train", 6920), ("eval", 872), ("test", 1821)):
            examples = read_examples(config, split)
            assert {e["label"] for e in examples} == {"0", "1"}
            assert (examples.report.num_examples, examples.report.num_bad) == (count, 0)

    def test_multi30k(self):
        config = DataConfig(
            "parallel",
            public("multi30k_en_de"),
            train_file="train",
            test_file="test_2016_flickr",
            source_column="en",
            target_column="de",
        )
        rows = read(config, "test")
        assert len(rows) == 1000
        assert rows[0] == {
            "source": "A man in an orange hat starring at something.",
            "target": "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
        }
