"""A recipe for a user's own file: what is guessed, what is asked, and that it can be carried out."""

import gzip
import json

import pytest
import tensorflow as tf

from tests.by_heart import train_until
from tflm.errors import UsageError, UserError
from tflm.experiments import Experiment
from tflm.experiments.auto_recipe import automatic, find_columns
from tflm.tasks import Columns
from tflm.training import read_log

ROWS = [("很好，下次再来", "good"), ("fine film", "good"), ("太差了", "bad"), ("bad film", "bad")] * 60
TALK = json.dumps(
    {"id": 7, "messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "好"}]}
)
SQUAD = json.dumps(
    {"data": [{"paragraphs": [{"context": "It is Anna.", "qas": [{"question": "Who?", "answers": []}]}]}]}
)


@pytest.fixture
def write(tmp_path):
    """write("a.tsv", text): the path."""

    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def table(header, rows, separator="\t"):
    return "\n".join(separator.join(row) for row in [header, *rows]) + "\n"


@pytest.mark.parametrize("text, label", [("sentence", "label"), ("Review", "Sentiment"), ("评论", "标签")])
def test_columns_by_their_names(write, text, label):
    rows = [(str(n), *row) for n, row in enumerate(ROWS)]
    config = automatic("classification", write("a.tsv", table(["id", text, label], rows)))
    assert (config.data.source, config.data.text_column, config.data.label_column) == ("tsv", text, label)
    assert config.data.eval_fraction == 0.1
    assert config.task.kind == "classification" and not config.task.text_pair
    assert config.training.num_steps == 300


@pytest.mark.parametrize(
    "task, name, content, columns",
    [
        (
            "classification",
            "a.csv",
            table(["premise", "hypothesis", "label"], [("a", "b", "yes")], ","),
            {"text": "premise", "text_pair": "hypothesis", "label": "label"},
        ),
        (
            "summarization",
            "a.jsonl",
            json.dumps({"id": 1, "body": "长文", "summary": "文"}),
            {"source": "body", "target": "summary"},
        ),
        ("translation", "a.tsv", table(["src", "tgt"], [("a", "b")]), {"source": "src", "target": "tgt"}),
        ("pairs", "a.tsv", table(["问题", "回答"], [("a", "b")]), {"source": "问题", "target": "回答"}),
        (
            "similarity",
            "a.tsv",
            table(["sentence1", "sentence2"], [("a", "b")]),
            {"source": "sentence1", "target": "sentence2"},
        ),
        (
            "tagging",
            "a.jsonl",
            json.dumps({"text": "EU", "spans": [[0, 2, "ORG"]]}),
            {"text": "text", "spans": "spans"},
        ),
        (
            "question_answering",
            "a.jsonl",
            json.dumps({"id": 1, "query": "Who?", "passage": "Anna.", "answers": ["Anna"]}),
            {"question": "query", "context": "passage", "answer": "answers"},
        ),
        ("question_answering", "a.json", SQUAD, {}),
        ("chat", "a.jsonl", TALK, {"messages": "messages"}),
        ("chat", "a.jsonl", '{"问题": "你好", "回答": "好"}', {"source": "问题", "target": "回答"}),
        ("chat", "a.tsv", table(["prompt", "reply"], [("a", "b")]), {"source": "prompt", "target": "reply"}),
        ("tagging", "a.conll", "EU B-ORG\n", {}),
        ("tagging", "a.txt", "我 爱 北京\n", {}),
        ("language_modeling", "a.txt", "床前明月光\n", {}),
    ],
)
def test_every_task(write, task, name, content, columns):
    config = automatic(task, write(name, content), settings=["data.eval_fraction=0"])
    assert config.data.columns == columns
    assert config.name == task
    if task == "classification":
        assert config.task.text_pair
    if task == "translation":
        assert config.task.measure == "bleu"


def test_evaluation_examples_and_settings(write):
    path, dev = (
        write("a.tsv", table(["text", "label"], ROWS)),
        write("dev.tsv", table(["text", "label"], ROWS[:4])),
    )
    settings = ["training.num_steps=7", "model.hidden_dim=32", "data.train_fraction=0.5"]
    config = automatic("classification", path, dev, settings)
    assert (config.data.eval_path, config.data.eval_fraction) == (dev, 0.0)
    assert (config.training.num_steps, config.model.hidden_dim, config.data.train_fraction) == (7, 32, 0.5)


def test_the_steps_follow_the_examples(write):
    rows = [(f"text {n}", str(n % 2)) for n in range(8000)]
    config = automatic("classification", write("a.tsv", table(["text", "label"], rows)))
    assert config.training.num_steps == 700  # six epochs of some 7,200


def test_a_column_that_must_be_asked_for(write):
    path = write("a.tsv", table(["id", "review", "stars"], [("1", "a", "5")]))
    words = r"which column is the label\? They are id, review, stars\. .*--set data.label_column=NAME, or its number"
    with pytest.raises(UsageError, match=words):
        automatic("classification", path)
    config = automatic("classification", path, settings=["data.label_column=stars", "data.eval_fraction=0"])
    assert config.data.columns == {"text": "review", "label": "stars"}


def test_columns_of_a_chat_that_must_be_named(write):
    path = write("a.jsonl", json.dumps({"turns": json.loads(TALK)["messages"]}))
    settings = ["data.eval_fraction=0", "data.messages_column=turns"]
    assert automatic("chat", path, settings=settings).data.columns == {"messages": "turns"}
    path = write("b.jsonl", '{"turns": "a", "said": "b"}')
    settings = ["data.eval_fraction=0", "data.source_column=turns", "data.target_column=said"]
    assert automatic("chat", path, settings=settings).data.columns == {"source": "turns", "target": "said"}


def test_the_writing_decides_the_tokenizer(write):
    rows = [(text, label) for text, label in ROWS if not text.isascii()]
    for name, some, kind in (("a.tsv", rows, "character"), ("b.tsv", ROWS, "sentencepiece")):
        config = automatic("classification", write(name, table(["text", "label"], some)))
        assert config.tokenizer.kind == kind


def test_without_a_header(write):
    path = write("a.tsv", table(["好", "1"], [("差", "0"), ("bad", "0")]))
    settings = ["data.text_column=0", "data.label_column=1", "data.eval_fraction=0"]
    assert automatic("classification", path, settings=settings).data.columns == {"text": "0", "label": "1"}


@pytest.mark.parametrize(
    "task, name, content, error, words",
    [
        ("classification", "a.dat", "x", UsageError, r"should end in \.tsv, \.csv, .*--set data\.source=tsv"),
        (
            "classification",
            "a.txt",
            "x",
            UsageError,
            r"is plain text, and --task=classification needs columns",
        ),
        (
            "question_answering",
            "a.tsv",
            "x",
            UsageError,
            r"for --task=question_answering it should end in \.json, \.jsonl, \.ndjson\. .*data\.source=squad",
        ),
        (
            "question_answering",
            "a.jsonl",
            '{"question": "a", "text": "b"}',
            UsageError,
            r"which column is the answer\? They are question, text\.",
        ),
        (
            "chat",
            "a.jsonl",
            '{"turns": []}',
            UsageError,
            r"which column is the messages\? They are turns\. Say it: --set data.messages_column=NAME\.",
        ),
        ("classification", "a.tsv", "", UserError, "is empty"),
        ("classification", "a.jsonl", "[1", UserError, r"a\.jsonl: its first line, .*, is malformed JSON"),
        (
            "classification",
            "a.jsonl",
            '[{"text": "好", "label": 1}]',
            UserError,
            "its first line, which names the columns, is a JSON array; write one object a line",
        ),
        ("chat", "a.ndjson", "\n5\n", UserError, "is a JSON number, not an object; write one object a line"),
        ("pairs", "a.jsonl", "[" * 100_000, UserError, "malformed JSON .nested too deeply"),
        ("pairs", "a.jsonl", "{\n", UserError, "is JSON over several lines; write one object a line"),
        ("pairs", "a.jsonl", "{}\n", UserError, "is empty; its first line should name the columns"),
        (
            "pairs",
            "a.csv",
            '"source,target\na,b\n',
            UserError,
            "its header is lost: lines joined by .*, 1 to 2",
        ),
        (
            "classification",
            "a.tsv",
            "Text\ttext \tlabel\na\tb\tc\n",
            UsageError,
            r"which column is the text\? Two are named 'text', among Text, text, label\. Give each",
        ),
        (
            "pairs",
            "a.jsonl",
            '{"a": "b"}',
            UsageError,
            r"which column is the source\? They are a\. Say it: --set data.source_column=NAME\.",
        ),
    ],
)
def test_refusals(write, task, name, content, error, words):
    with pytest.raises(error, match=words):
        automatic(task, write(name, content))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["a.TSV", "a.csv.GZ", "a.JSONL", "a.ndjson.gz"])
def test_the_header_is_read_in_the_encoding_of_the_data(tmp_path, encoding, name):
    if "json" in name.lower():
        text = "".join(json.dumps({"评论": a, "标签": b}, ensure_ascii=False) + "\n" for a, b in ROWS)
    else:
        text = table(
            ["编号 ", " 评论", "标签 "], [("1", *row) for row in ROWS], "," if "csv" in name else "\t"
        )
    data = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    config = automatic("classification", str(tmp_path / name), settings=[f"data.encoding={encoding}"])
    assert config.data.columns == {"text": "评论", "label": "标签"}
    assert config.data.encoding == encoding
    if encoding == "utf-16":  # its mark is enough
        assert automatic("classification", str(tmp_path / name)).data.columns == config.data.columns
    else:
        with pytest.raises(UserError, match=r"set data\.encoding"):
            automatic("classification", str(tmp_path / name))


def test_settings_with_blanks_around_their_names(tmp_path):
    (tmp_path / "a.tsv").write_bytes(table(["评论", "标签"], ROWS).encode("gb18030"))
    config = automatic("classification", str(tmp_path / "a.tsv"), settings=[" data.encoding =gb18030"])
    assert (config.data.encoding, config.data.text_column) == ("gb18030", "评论")


def test_an_encoding_that_python_does_not_know(write):
    path = write("a.tsv", table(["text", "label"], ROWS))
    with pytest.raises(UserError, match="encoding is 'utf-99', which is not a text encoding"):
        automatic("classification", path, settings=["data.encoding=utf-99"])


def test_the_header_is_that_of_the_file_that_is_trained_on(write, tmp_path):
    write("a_readme.tsv", "name\tvalue\n1\t2\n")
    write("train.tsv", table(["text", "label"], ROWS))
    config = automatic("classification", str(tmp_path), settings=["data.train_file=train.tsv"])
    assert config.data.columns == {"text": "text", "label": "label"}
    (tmp_path / "deep").mkdir()
    write("deep/c.CSV", table(["text", "label"], ROWS, ","))
    assert automatic("classification", str(tmp_path / "deep")).data.source == "csv"
    (tmp_path / "above").mkdir()
    (tmp_path / "deep").rename(tmp_path / "above" / "deep")
    assert automatic("classification", str(tmp_path / "above")).data.source == "csv", (
        "as training finds its files"
    )


def test_blank_lines_before_the_header(write):
    path = write("a.csv", "\n" + table([" text", "label "], ROWS, ","))
    assert automatic("classification", path).data.columns == {"text": "text", "label": "label"}


def test_evaluation_examples_in_another_form_are_refused(write):
    path, dev = (
        write("a.tsv", table(["text", "label"], ROWS)),
        write("dev.CSV", table(["text", "label"], ROWS, ",")),
    )
    with pytest.raises(UsageError, match=r"dev\.CSV is csv, and --data is tsv: give both in one form"):
        automatic("classification", path, dev)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"no file matches 'nowhere\.tsv'"):
        automatic("classification", "nowhere.tsv")


def test_an_unknown_task_lists_those_there_are(write):
    with pytest.raises(
        UsageError, match=r"^--task=poems: no task .poems.\. There are: chat, classification, "
    ):
        automatic("poems", write("a.txt", "床前明月光\n"))


def test_a_task_may_name_its_own_columns(write):
    columns = Columns(("text", "label"), names={"text": "headline", "label": "ressort"})
    task = type("Headlines", (), {"columns": columns})
    data = find_columns(task, "headlines", write("a.csv", "Headline,text,ressort\na,b,c\n"))
    assert data.columns == {"text": "Headline", "label": "ressort"}


def test_it_learns(write, tmp_path):
    path, num_steps, labels = write("a.tsv", table(["text", "label"], ROWS)), 0, dict(ROWS)
    classify = None

    def train(count):
        nonlocal num_steps, classify
        num_steps += count
        settings = [f"training.num_steps={num_steps}", "model.hidden_dim=32", "training.log_every=20"]
        config = automatic("classification", path, settings=[*settings, "data.eval_fraction=0"])
        run = Experiment.create(config, str(tmp_path / "run"), overwrite=True)
        assert 256 < run.tokenizer.vocab_size < 400, "a small text has few pieces"
        trainer = run.trainer()
        trainer.train(run.batches("train", training=True), None)
        classify = run.task.signatures(trainer.model)["classify"]
        return [record["loss"] for record in read_log(str(tmp_path / "run")) if "loss" in record]

    def is_known(_):
        found = classify(tf.constant(list(labels)))["label"].numpy()
        return [label.decode() for label in found] == list(labels.values())

    train_until(is_known, train, 60, most_rounds=5)
