import pytest

from tflm.data import DataConfig, read_examples
from tflm.data.sources.parallel import read_parallel
from tflm.errors import UserError

ENDINGS = {"source": "en", "target": "zh"}
COLUMNS = {"source_column": "en", "target_column": "zh"}


@pytest.fixture
def corpus(write, tmp_path):
    """corpus/train.en and corpus/train.zh.gz, and a pair for evaluation."""
    write("corpus/train.en", "\ufeffA dog.\n\nTwo\rcats.\r\nonly here\n A bird. \n")
    write("corpus/train.zh.gz", "一只狗。\n\n两只猫。\n\n一只鸟。")
    write("corpus/dev.en", "Hello.\n")
    write("corpus/dev.zh", "你好。\n")
    return str(tmp_path / "corpus")


def test_lines_go_together_in_files_named_inside_a_folder(corpus):
    config = DataConfig(
        "parallel", corpus, train_file="train", eval_file="dev", max_bad_rows=1, eval_fraction=0.0, **COLUMNS
    )
    examples = read_examples(config, "train")
    assert list(examples) == [
        {"source": "A dog.", "target": "一只狗。"},
        {"source": "Two\rcats.", "target": "两只猫。"},  # a lone carriage return ends no line
        {"source": "A bird.", "target": "一只鸟。"},
    ]
    assert examples.report.first_bad == [f"{corpus}/train.en:4: no target"]
    assert list(read_examples(config, "eval")) == [{"source": "Hello.", "target": "你好。"}]


def test_a_prefix_in_place_of_a_folder(corpus, write, monkeypatch):
    config = DataConfig("parallel", f"{corpus}/dev", eval_fraction=0.0, **COLUMNS)
    assert list(read_examples(config, "train")) == [{"source": "Hello.", "target": "你好。"}]
    write("corpus/dev/notes.txt", "a folder of the same name is no hindrance")
    assert len(list(read_parallel(f"{corpus}/dev", ENDINGS))) == 1
    monkeypatch.chdir(corpus)
    assert len(list(read_parallel("dev", ENDINGS))) == 1


def test_other_encodings(write, tmp_path):
    write("a.en", "dog\n".encode("gb18030"))
    write("a.zh", "狗\n".encode("gb18030"))
    [row] = read_parallel(str(tmp_path / "a"), ENDINGS, "gb18030")
    assert row.example == {"source": "dog\n", "target": "狗\n"}


def test_a_missing_side_is_named_and_the_files_there_are(corpus):
    with pytest.raises(
        UserError,
        match=r"no file 'train.de' \(nor 'train.de.gz'\), which target_column 'de' of '.*train' names; "
        r"its files are dev.en, dev.zh, train.en, train.zh.gz",
    ):
        list(read_parallel(f"{corpus}/train", {"source": "en", "target": "de"}))
    with pytest.raises(
        UserError, match=r"'absent' is not a folder; source_column 'en' of .*'train.en' inside it"
    ):
        list(read_parallel("absent/train", ENDINGS))
    with pytest.raises(
        UserError, match=r"corpus' is a folder; .* needs train_file.*; the files are dev.en, dev"
    ):
        list(read_parallel(corpus, ENDINGS))


@pytest.mark.parametrize(("english", "chinese"), [(3, 5), (5, 2), (1, 0)])
def test_unequal_numbers_of_lines(write, tmp_path, english, chinese):
    write("a.en", "line\n" * english)
    write("a.zh.gz", "行\n" * chinese)
    rows = []
    with pytest.raises(UserError) as error:
        rows.extend(read_parallel(str(tmp_path / "a"), ENDINGS))
    assert (
        f"a.en has {english} lines and {tmp_path}/a.zh.gz has {chinese} lines; the files must be aligned"
        in str(error.value)
    )
