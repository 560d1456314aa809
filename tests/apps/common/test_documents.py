"""Documents by flags: found, embedded by an export, kept, and searched in English and in Chinese."""

import os

import pytest
import tensorflow as tf
from absl import flags

from apps.common.documents import define_documents, open_documents
from tflm.errors import UsageError, UserError
from tflm.export.checksums import write_checksums
from tflm.retrieval.passages import line_of

CITIES = "# Cities\n\nParis lies on the Seine.\n\nBerlin lies on the Spree.\n" * 3
RETURNS = "怎么退货？\n七天内可以退货。\n\n运费由谁承担？\n由买家承担运费。\n"


class Characters(tf.Module):
    """A text's vector: how often it has the characters of each of 64 hashes."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def embed(self, text):
        characters = tf.strings.unicode_split(text, "UTF-8")
        buckets = tf.strings.to_hash_bucket_fast(characters, 64)
        return {"embedding": tf.reduce_sum(tf.one_hot(buckets, 64).to_tensor(), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def score(self, text):
        return {"num_tokens": tf.strings.length(text)}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Folders of two exports: `embed` has that signature, `score` has not."""
    folder, module = tmp_path_factory.mktemp("exports"), Characters()
    for name in ("embed", "score"):
        path = f"{folder}/{name}/1"
        tf.saved_model.save(module, path, signatures={name: getattr(module, name)})
        write_checksums(path)
    return {name: f"{folder}/{name}" for name in ("embed", "score")}


@pytest.fixture(scope="module")
def model(exports):
    return exports["embed"]


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """A folder of documents, and a cache for them alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/cities.md").write_text(CITIES, encoding="utf-8")
    (tmp_path / "docs/returns.txt").write_text(RETURNS, encoding="utf-8")
    return tmp_path / "docs"


def opened(*arguments):
    """The documents of a command line."""
    values = flags.FlagValues()
    define_documents(values)
    values(["app", *arguments])
    return open_documents(values)


def test_questions_find_their_passages(model, docs, monkeypatch):
    monkeypatch.chdir(docs.parent)
    documents = opened("--documents=docs", f"--embedder={model}", "--passage_length=30", "--num_passages=3")
    for question, file, answer, line in (
        ("Which river is Berlin on? Spree", "docs/cities.md", "Spree", 5),
        ("七天内退货", "docs/returns.txt", "七天内", 2),
    ):
        found = documents.closest(question)
        assert len(found) == 3
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        passage = found[0].passage
        assert passage.file == file
        assert line_of(passage, passage.text.index(answer)) in {line, line + 5, line + 10}
        with open(passage.file, encoding="utf-8", newline="") as text:
            assert text.read()[passage.start : passage.end] == passage.text


def test_the_second_time_nothing_is_embedded(model, docs, capsys):
    arguments = (f"--documents={docs}/*.md", f"--documents={docs}/returns.txt", f"--embedder={model}")
    first = opened(*arguments).closest("Paris")
    assert "2 files (2 new, 0 changed, 0 unchanged; 0 deleted): " in capsys.readouterr().err
    second = opened(*arguments).closest("Paris")
    message = capsys.readouterr().err
    assert "2 files (0 new, 0 changed, 2 unchanged; 0 deleted): " in message
    folder = message.rstrip().rpartition(": ")[2]
    assert folder.startswith(str(docs.parent / "cache/tflm/passages")) and os.path.isdir(folder)
    assert first == second
    opened(*arguments, "--rebuild")
    assert "2 files (2 new, " in capsys.readouterr().err
    opened(*arguments[1:])
    other = capsys.readouterr().err
    assert "1 files (1 new, " in other and folder not in other, "other documents, another index"


def test_an_index_of_ones_own_among_the_documents(model, docs, capsys):
    arguments = (f"--documents={docs}", f"--embedder={model}", f"--index={docs}/index")
    opened(*arguments)
    (docs / "returns.txt").unlink()
    (docs / "bad.txt").write_bytes(b"\xff")
    opened(*arguments)
    message = capsys.readouterr().err
    assert f"2 files (1 new, 0 changed, 1 unchanged; 1 deleted): {docs}/index" in message
    assert f"{docs}/bad.txt: skipped: it is not UTF-8" in message


def test_what_is_missing(model, docs, exports):
    with pytest.raises(UsageError, match=r"--documents is needed: files, folders or globs."):
        opened(f"--embedder={model}")
    with pytest.raises(UsageError, match="--documents needs --embedder: a folder such as"):
        opened(f"--documents={docs}")
    with pytest.raises(UserError, match=r"nowhere' is not there\. Give files"):
        opened(f"--documents={docs}/nowhere", f"--embedder={model}")
    with pytest.raises(UserError, match="has no signature 'embed'; it has"):
        opened(f"--documents={docs}", f"--embedder={exports['score']}")
    (docs / "blank.md").write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"nothing to read in .*blank.md; all files are empty or left out."):
        opened(f"--documents={docs}/blank.md", f"--embedder={model}")
