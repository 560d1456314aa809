"""Vectors by command, and what is done with them: each mode beside the vectors of the export themselves."""

import itertools
import json

import numpy as np
import pytest

from tests.apps.rounded import assert_lines
from tflm.retrieval.keywords import candidates
from tflm.serving import connect

SETTINGS = ["training.num_steps=3", "data.source=text", "data.document=line", "data.text_column="]
SETTINGS += ["data.eval_fraction=0", "tokenizer.kind=byte", "task.whole_words=false", "model.max_length=48"]
LINES = ["A cat sat on the mat.", "怎么退货？", "A dog ran home.", "怎么退货？", "", "A cat sat on the mat!"]
MODES = ["--query=a", "--duplicates=0", "--keywords=2", "--scores_column=s", "--retrieval", "--output=v.npy"]


@pytest.fixture(scope="module")
def model(call, tmp_path_factory):
    """The folder of an export with the signature `embed`."""
    folder = tmp_path_factory.mktemp("embed")
    (folder / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    changes = [f"--set={setting}" for setting in (*SETTINGS, f"data.path={folder}/lines.txt")]
    done = call("train", "--preset=tiny_bert", f"--workdir={folder}/run", *changes)
    assert done.code == 0, done.err
    done = call("export", f"--workdir={folder}/run", f"--output={folder}/model")
    assert done.code == 0, done.err
    return str(folder / "model")


@pytest.fixture(scope="module")
def vectors(model):
    """vectors(texts): what the export gives for each alone, float64 of length 1."""
    loaded = connect(model)

    def embed(texts):
        rows = [loaded.predict("embed", {"text": [text]})["embedding"][0] for text in texts]
        rows = np.array(rows, np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return embed


@pytest.fixture
def embed(call, model, tmp_path):
    """embed(content, *arguments, ending="txt"): the app on a file."""

    def run(content, *arguments, ending="txt"):
        path = tmp_path / f"input.{ending}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return call("embed", f"--model={model}", f"--input={path}", *arguments)

    return run


TEXT = "\n".join(LINES)


def test_a_vector_a_line_in_order(embed, vectors):
    for size in (1, 4):
        done = embed(TEXT, f"--batch_size={size}")
        assert done.code == 0, done.err
        found = np.array([[float(number) for number in line.split("\t")] for line in done.lines])
        np.testing.assert_allclose(found, vectors(LINES), atol=1e-5)
    records = [json.loads(line) for line in embed(TEXT, "--format=json").lines]
    assert [record["text"] for record in records] == LINES
    np.testing.assert_allclose([record["embedding"] for record in records], found, atol=1e-5)
    assert embed(TEXT, "--format=tsv").lines[0] == "text\tembedding"


def test_a_file_of_vectors(embed, vectors, tmp_path):
    path = tmp_path / "vectors.npy"
    done = embed(TEXT, f"--output={path}", "--batch_size=2")
    found = np.load(path)
    assert (done.code, done.lines) == (0, [f"6 vectors of {found.shape[1]} numbers: {path}"]), done.err
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors(LINES), atol=1e-5)
    done = embed(b"good\n\xff\n", f"--output={path}")
    assert done.code == 1
    assert "1 of 2 lines could not be read and are left out; the first is " in done.err
    assert "input.txt, line 2: not UTF-8" in done.err
    np.testing.assert_allclose(np.load(path), vectors(["good"]), atol=1e-5)


def test_a_file_is_written_whole_or_not_at_all(embed, tmp_path):
    path = tmp_path / "vectors.npy"
    path.write_bytes(b"old")
    for content in ("", b"\xff\n"):
        assert embed(content, f"--output={path}").code == 1
        assert path.read_bytes() == b"old"
    done = embed(TEXT, f"--output={tmp_path}/nowhere/v.npy")
    assert done.code == 1
    assert f"cannot write --output={tmp_path}/nowhere/v.npy: No such file or directory." in done.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["input.txt", "vectors.npy"]


@pytest.mark.parametrize("query", ["The cat sat", "我要退货"])
def test_lines_by_their_similarity_to_a_query(embed, vectors, query):
    cosines = vectors(LINES) @ vectors([query])[0]
    done = embed(TEXT, f"--query={query}", "--top=4")
    assert done.code == 0, done.err
    order = [int(line.split("\t")[1]) - 1 for line in done.lines]
    assert len(set(order)) == 4
    np.testing.assert_allclose(cosines[order], -np.sort(-cosines)[:4], atol=1e-5)  # of equals any is first
    assert_lines(done.lines, [f"{cosines[place]:.4f}\t{place + 1}\t{LINES[place]}" for place in order])
    records = [json.loads(line) for line in embed(TEXT, f"--query={query}", "--top=4", "--format=json").lines]
    assert [(record["line"], record["text"]) for record in records] == [(p + 1, LINES[p]) for p in order]
    assert [record["score"] for record in records] == pytest.approx(cosines[order].tolist(), abs=1e-5)


def test_a_line_keeps_its_number_where_others_are_left_out(embed):
    done = embed(b"ab\ncd\n\xff\n" + "怎么\n".encode(), "--query=怎么", "--top=1", "--offset=1")
    assert done.lines == ["1.0000\t4\t怎么"]
    assert done.code == 1 and "1 of 3 lines could not be read and are left out" in done.err


def test_near_duplicates(embed, vectors):
    cosines = vectors(LINES) @ vectors(LINES).T
    threshold = (
        cosines[0, 5] + np.sort(np.triu(cosines, 1).ravel())[-3]
    ) / 2  # between the second and the third
    done = embed(TEXT, f"--duplicates={threshold:.6f}")
    assert done.code == 0, done.err
    assert_lines(
        done.lines,
        [f"{cosines[0, 5]:.4f}\t1\t6\t{LINES[0]}\t{LINES[5]}", f"1.0000\t2\t4\t{LINES[1]}\t{LINES[3]}"],
    )
    assert embed(TEXT, "--duplicates=1").lines == done.lines[1:]


def test_a_text_in_nfc_and_in_nfd_is_a_duplicate_of_itself(embed):
    text = "Zoe\u0301 회의"
    done = embed(f"{text}\nZoé 회의\nanother", "--duplicates=1")
    assert done.lines == [f"1.0000\t1\t2\t{text}\tZoé 회의"]
    one, other = embed(f"{text}\nZoé 회의").lines
    assert one != other, "vectors by themselves are of the text as it is"


def test_keywords_of_each_text(embed, vectors):
    texts = ["The black cat and the dog", "怎么退货", ""]
    done = embed("\n".join([*texts, ""]), "--keywords=2")
    assert done.code == 0, done.err
    assert done.out.count("\n") == 3 and done.lines[2] == ""
    for text, line in zip(texts[:2], done.lines):
        phrases = candidates(text)
        cosines = vectors(phrases) @ vectors([text])[0]
        first, *_ = line.split("\t")
        assert cosines[phrases.index(first)] == pytest.approx(cosines.max(), abs=1e-5)
        assert set(line.split("\t")) < set(phrases)
    record = json.loads(embed(texts[0], "--keywords=2", "--format=json").out)
    assert record["keywords"] == done.lines[0].split("\t") and len(record["scores"]) == 2


SCORED = [("a cat", "a cat", "5"), ("a cat", "a dog", "3.5"), ("你好", "您好！", "4"), ("退货", "x y", "0")]
TABLE = ["\t".join(row) for row in [("text", "text_pair", "score"), *SCORED]]


def test_correlation_with_scores(embed, vectors):
    texts, others, scores = zip(*SCORED)
    cosines = np.sum(vectors(texts) * vectors(others), axis=1)
    ranks = [np.argsort(np.argsort(values)) for values in (cosines, [float(score) for score in scores])]
    expected = np.corrcoef(*ranks)[0, 1]
    done = embed("\n".join(TABLE), "--scores_column=score", ending="tsv")
    assert (done.code, done.lines) == (0, [f"spearman\t{expected:.4f}", "pairs\t4"]), done.err
    done = embed("\n".join([*TABLE, "a\tb\tgood", "a\tb\tnan"]), "--scores_column=score", ending="tsv")
    assert done.code == 1 and done.lines == [f"spearman\t{expected:.4f}", "pairs\t4"]
    assert "line 6: expected a number as its score; got 'good'." in done.err


def test_answers_found_by_their_texts(embed, vectors):
    pairs = [
        ("a cat", "a kitten"),
        ("退货", "怎么退货"),
        ("猫", "a kitten"),
        ("ran", "A dog ran home"),
        ("x", "zz"),
    ]
    answers = ["a kitten", "怎么退货", "A dog ran home", "zz"]
    cosines = vectors([text for text, _ in pairs]) @ vectors(answers).T
    ranks = [1 + sorted(-row).index(-row[answers.index(answer)]) for row, (_, answer) in zip(cosines, pairs)]
    lines = [
        json.dumps({"question": text, "text_pair": answer}, ensure_ascii=False) for text, answer in pairs
    ]
    done = embed("\n".join(lines), "--retrieval", "--text_column=question", "--format=json", ending="jsonl")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {
        "recall@1": pytest.approx(np.mean([rank == 1 for rank in ranks])),
        "recall@5": 1.0,
        "recall@10": 1.0,
        "mrr": pytest.approx(np.mean([1 / rank for rank in ranks])),
        "texts": 5,
        "answers": 4,
    }
    done = embed("\n".join("\t".join(pair) for pair in pairs), "--retrieval")
    assert done.lines[1:3] == ["recall@5\t1.0000", "recall@10\t1.0000"]


def test_wrong_usage(call, model):
    for one, other in itertools.pairwise(MODES):
        done = call("embed", f"--model={model}", "--text=a", one, other)
        assert done.code == 2
        assert "are two different things to do: give one of them." in done.err
    for arguments, words in {
        ("--output=v.txt", "--text=a"): "--output=v.txt must end in .npy; it is for NumPy.",
        (
            "--retrieval",
            "--text=a",
        ): "--text is one text; what is measured are the pairs of a table: give --input.",
        ("--duplicates=1.5",): "flag --duplicates=1.5",
        ("--top=0",): "flag --top=0",
    }.items():
        done = call("embed", f"--model={model}", *arguments)
        assert done.code == 2 and words in done.err


def test_nothing_to_read(embed):
    done = embed("", "--duplicates=0.9")
    assert (done.code, done.err) == (1, "error: there is nothing to read: the input is empty.\n")
    done = embed("a\tb\n", "--retrieval", ending="tsv")
    assert done.code == 1 and "no column 'text'" in done.err
