"""PassageIndex: only what is new is embedded, and the result is that of an index built from nothing."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from scipy import sparse

from tflm.errors import UserError
from tflm.retrieval import index as passage_index
from tflm.retrieval import index_folder
from tflm.retrieval.bm25 import Bm25, count_words
from tflm.retrieval.index import Changes, PassageIndex
from tflm.retrieval.index_folder import read_index
from tflm.retrieval.passages import find_documents

DOCUMENTS = {
    "a.txt": "The cat sat on the mat.\n\n" * 20,
    "b.md": "猫坐在垫子上。狗在外面跑。" * 30,
    "c.py": "def f():\n    return 1\n\n\n" * 15,
    "empty.txt": "",
    "sub/d.jsonl": '{"text": "one"}\n{"text": "two"}\n',
}


class FakeEmbedder:
    """A vector of its own for each text; counts the texts."""

    fingerprint = "0" * 64

    def __init__(self, path="models/one/1", interrupt_after=None):
        self.path, self.texts, self.interrupt_after = path, [], interrupt_after

    def __call__(self, texts):
        if self.interrupt_after is not None and len(self.texts) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.texts += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds]).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """A folder of documents."""
    for name, text in DOCUMENTS.items():
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(passage_index, "_BLOCK", 4)


def update(folder, name="index", embedder=None, **settings):
    """An index after an update, and the changes."""
    index = PassageIndex.open_or_create(f"{folder}/{name}", embedder or FakeEmbedder(), **settings)
    return index, index.update(find_documents([f"{folder}/docs"]))


def held(folder, name="index"):
    """What is on disk, but for times."""
    contents = read_index(f"{folder}/{name}")
    states = {path: (d.sha256, d.num_passages, d.problem) for path, d in contents.documents.items()}
    vectors = contents.vectors.reconstruct_n(0, contents.vectors.ntotal)
    counts = contents.counts.tocoo()
    return states, contents.lines, vectors.tolist(), [part.tolist() for part in (*counts.coords, counts.data)]


def test_only_what_is_new_or_changed_is_embedded(folder, small_blocks):
    index, changes = update(folder, length=60)
    assert changes == Changes(new=5, changed=0, deleted=0, unchanged=0)
    assert update(folder)[1] == Changes(0, 0, 0, 5)

    docs = folder / "docs"
    (docs / "b.md").write_text("新的一句话。", encoding="utf-8")
    (docs / "a0.txt").write_text("A new file.", encoding="utf-8")
    (docs / "c.py").unlink()
    (docs / "a.txt").write_text(DOCUMENTS["a.txt"], encoding="utf-8")  # the same again
    os.utime(docs / "a.txt", ns=(1, 1))
    embedder = FakeEmbedder()
    index, changes = update(folder, embedder=embedder)
    assert changes == Changes(new=1, changed=1, deleted=1, unchanged=3)
    assert sorted(embedder.texts) == ["A new file.", "新的一句话。"]
    assert read_index(index.folder).documents[str(docs / "a.txt")].mtime_ns == 1

    other, _ = update(folder, "from_nothing", length=60)
    assert held(folder) == held(folder, "from_nothing")
    assert len(index) == len(other) > 10
    query = FakeEmbedder()(["cat", "猫"])
    for one, same in zip(index.search(query, 7), other.search(query, 7)):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_the_size_of_blocks_changes_nothing(folder, block, monkeypatch):
    update(folder, "usual", length=60)
    monkeypatch.setattr(passage_index, "_BLOCK", block)
    reports = []
    index = PassageIndex.open_or_create(f"{folder}/index", FakeEmbedder(), length=60)
    index.update(find_documents([f"{folder}/docs"]), lambda *counts: reports.append(counts))
    assert held(folder) == held(folder, "usual")
    assert reports[0] == (0, len(index)) and reports[-1] == (len(index), len(index))
    assert reports == sorted(reports)


@pytest.mark.parametrize("k", [1, 10, 10_000])
def test_the_search_is_exact(folder, k):
    index, _ = update(folder, length=40)
    reopened = PassageIndex.open_or_create(index.folder, FakeEmbedder())
    texts = [reopened.passage(row).text for row in range(len(reopened))]
    vectors = FakeEmbedder()(texts).astype(np.float64)
    queries = np.random.default_rng(0).normal(size=[9, 16]).astype(np.float32) * 3
    unit = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in (queries, vectors)]
    cosines = unit[0] @ unit[1].T
    rows, scores = reopened.search(queries, k)
    assert rows.dtype == np.int64 and scores.dtype == np.float32
    assert rows.shape == (9, min(k, len(texts)))
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(cosines, rows, axis=1), scores, atol=1e-5)
    for row in range(9):
        np.testing.assert_allclose(reopened.search(queries[row : row + 1], k)[1][0], scores[row], atol=1e-5)


def test_of_equals_the_first_comes_first(folder):
    index, _ = update(folder, length=30)
    (rows,), (scores,) = index.search(FakeEmbedder()(["The cat sat on the mat."]), len(index))
    same = rows[scores > 0.9999]
    assert len(same) == 20
    assert same.tolist() == sorted(same)


@pytest.mark.parametrize("question", ["The mat, a cat", "狗在外面", "return 1", "no word of them"])
def test_closest_by_vectors_and_words_together(folder, question):
    index, _ = update(folder, length=40)
    texts = [index.passage(row).text for row in range(len(index))]
    assert len(texts) < 100
    vectors = FakeEmbedder()([question, *texts]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = Bm25(count_words(texts)).scores(question)
    expected = vectors[1:] @ vectors[0] + words / (words.max() or 1)
    order = np.argsort(-expected.round(5), kind="stable")
    found = index.closest(question, 5)
    assert [score for _, score in found] == pytest.approx(expected[order[:5]], abs=1e-5)
    assert [passage for passage, _ in found] == [index.passage(row) for row in order[:5]]
    assert len(index.closest(question, 10_000)) == len(index)


def test_closest_is_taken_from_the_best_of_both(folder, monkeypatch):
    monkeypatch.setattr(passage_index, "_NUM_CANDIDATES", 1)
    index, _ = update(folder, length=40)
    ((near,),), _ = index.search(FakeEmbedder()(["狗 two"]), 1)
    found = [passage.text for passage, _ in index.closest("狗 two", 1)]
    assert set(found) <= {"two", index.passage(near).text}


def test_words_are_those_of_the_index_after_an_update(folder):
    index, _ = update(folder)
    index.closest("unheard", 1)
    (folder / "docs/new.txt").write_text("Something unheard of.", encoding="utf-8")
    index.update(find_documents([f"{folder}/docs"]))
    (found,) = index.closest("unheard", 1)
    assert found[0].file == str(folder / "docs/new.txt") and found[1] > 0.5


def test_a_passage_is_what_stands_in_its_file(folder):
    index, _ = update(folder, length=60)
    (rows,), _ = index.search(FakeEmbedder()(["猫"]), len(index))
    found = [index.passage(row) for row in rows]
    assert {passage.file for passage in found} == {
        str(folder / "docs" / name) for name, text in DOCUMENTS.items() if text
    }
    for passage in found:
        if not passage.file.endswith(".jsonl"):
            assert DOCUMENTS[os.path.basename(passage.file)][passage.start : passage.end] == passage.text


def test_after_an_interruption_what_was_embedded_is_kept(folder, small_blocks):
    full, _ = update(folder, "full", length=60)
    with pytest.raises(KeyboardInterrupt):
        update(folder, embedder=FakeEmbedder(interrupt_after=20), length=60)
    kept = len(read_index(f"{folder}/index").lines)
    assert 0 < kept < len(full)
    embedder = FakeEmbedder()
    update(folder, embedder=embedder)
    assert len(embedder.texts) == len(full) - kept
    assert held(folder) == held(folder, "full")


def test_an_interruption_keeps_what_the_index_had(folder):
    update(folder, length=60)
    before = held(folder)
    (folder / "docs/a.txt").write_text("changed", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        update(folder, embedder=FakeEmbedder(interrupt_after=0))
    assert held(folder) == before
    assert update(folder)[1] == Changes(new=0, changed=1, deleted=0, unchanged=4)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize(
    "step", ["the vectors", "the passages", "the checksums", "the replacement", "the cleaning"]
)
def test_killed_in_the_midst_of_writing(folder, step, monkeypatch):
    update(folder, length=60)
    before = held(folder)
    (folder / "docs/a.txt").write_text("changed", encoding="utf-8")

    def kill(*_, **__):
        raise Killed

    def half(_, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        match step:
            case "the vectors":
                patch.setattr(index_folder.load_faiss(), "write_index", half)
            case "the passages":
                patch.setattr(index_folder, "_write_lines", lambda path, _: half(None, path))
            case "the checksums":
                patch.setattr(index_folder.json, "dump", kill)
            case "the replacement":
                patch.setattr(index_folder.os, "replace", kill)
            case "the cleaning":
                patch.setattr(index_folder.os, "unlink", kill)
        with pytest.raises(Killed):
            update(folder)
    if step == "the cleaning":
        assert any(b"changed" in line for line in held(folder)[1])
    else:
        assert held(folder) == before
    (folder / "docs/b.md").write_text("again", encoding="utf-8")
    update(folder)
    assert any(b"changed" in line for line in held(folder)[1])
    assert len(os.listdir(folder / "index")) == 4, "what the killed one left is gone"


def test_two_updates_at_once_one_waits_for_the_other(folder, small_blocks):
    """The second begins while the first embeds, and embeds nothing that the first has embedded."""
    threads, texts = [], []

    def work():
        embedder = FakeEmbedder()
        with index_folder.update_lock(f"{folder}/index"):
            update(folder, embedder=embedder, length=60)
        texts.extend(embedder.texts)

    class Embedder(FakeEmbedder):
        def __call__(self, batch):
            if not threads:
                threads.append(threading.Thread(target=work))
                threads[0].start()
            return super().__call__(batch)

    index, _ = update(folder, embedder=Embedder(), length=60)
    threads[0].join()
    assert texts == [] and len(read_index(f"{folder}/index").lines) == len(index)
    assert len(os.listdir(folder / "index")) == 4, "no lock is left"


def test_a_disk_without_space_keeps_the_old_index_and_no_half(folder, largest_file):
    update(folder, length=60)
    before, names = held(folder), sorted(os.listdir(folder / "index"))
    (folder / "docs/a.txt").write_text("changed 改")
    with pytest.raises(UserError, match=r"cannot write the index .*/index'"), largest_file(600):
        update(folder)
    assert held(folder) == before and sorted(os.listdir(folder / "index")) == names
    assert update(folder)[1].changed == 1


def test_a_real_kill(folder):
    update(folder, length=60)
    before = held(folder)
    (folder / "docs/a.txt").write_text("changed", encoding="utf-8")
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_index import update
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        update({str(folder)!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert held(folder) == before
    assert update(folder)[1] == Changes(0, 1, 0, 4)


def test_another_model(folder):
    index, _ = update(folder)
    moved = FakeEmbedder("models/moved/1")
    assert update(folder, embedder=moved)[1].unchanged == 5
    other = FakeEmbedder("models/other/1")
    other.fingerprint = "1" * 64
    with pytest.raises(
        UserError,
        match=r"with the model 'models/one/1'; the vectors of 'models/other/1' are not comparable. Give --rebuild, or",
    ):
        PassageIndex.open_or_create(index.folder, other)
    assert update(folder, embedder=other, rebuild=True)[1] == Changes(5, 0, 0, 0)
    assert update(folder, embedder=other)[1] == Changes(0, 0, 0, 5)


def test_another_length_of_passages(folder):
    index, _ = update(folder, length=60)
    assert update(folder, length=60)[1].unchanged == 5
    with pytest.raises(
        UserError,
        match=r"passages of 60 characters, and 61 were asked for. Give --passage_length=60, --rebuild, or",
    ):
        update(folder, length=61)
    assert len(update(folder, length=200, rebuild=True)[0]) < len(index)


DAMAGES = {
    "passage_index.json": ["cut", "empty", "other"],
    "vectors-*": ["cut", "empty", "flip", "gone"],
    "words-*": ["cut", "empty", "flip", "gone"],
    "passages-*": ["cut", "empty", "flip", "gone"],
}


@pytest.mark.parametrize(
    ("pattern", "damage"), [(name, damage) for name in DAMAGES for damage in DAMAGES[name]]
)
def test_a_damaged_index(folder, pattern, damage):
    update(folder)
    (path,) = (folder / "index").glob(pattern)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"cut": data[:middle], "empty": b"", "other": b'{"a": 1}', "flip": flipped}[damage])
    with pytest.raises(
        UserError, match=r"index' is damaged: .*\. Give --rebuild to make it again, or another --index"
    ):
        update(folder)
    assert update(folder, rebuild=True)[1].new == 5
    assert update(folder)[1].unchanged == 5


def test_an_index_of_another_version_of_the_format(folder):
    update(folder)
    path = folder / "index/passage_index.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), "format": 99}), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"it was written by another version of tflm. Give --rebuild"):
        update(folder)


def test_an_index_of_the_first_format_has_its_words_counted_again(folder):
    """Its words knew only alphabets and Han."""
    index, _ = update(folder)
    expected = index._contents.counts
    path = folder / "index/passage_index.json"
    record = json.loads(path.read_text())
    (name,) = (name for name in record["files"] if name.startswith("words-"))
    sparse.save_npz(folder / "index" / name, sparse.csr_array(expected.shape, dtype=np.float32))
    record["files"][name] = hashlib.sha256((folder / "index" / name).read_bytes()).hexdigest()
    path.write_text(json.dumps({**record, "format": 1}))
    assert (read_index(str(folder / "index")).counts != expected).nnz == 0


def test_files_that_cannot_be_read_are_told_of_each_time(folder):
    docs = folder / "docs"
    (docs / "bad.txt").write_bytes(b"ab\xff")
    (docs / "link.txt").symlink_to(folder / "nowhere.txt")
    for number in range(2):
        index, changes = update(folder)
        assert changes == (Changes(7, 0, 0, 0) if number == 0 else Changes(0, 0, 0, 7))
        assert index.problems[str(docs / "bad.txt")].startswith("skipped: it is not UTF-8")
        assert index.problems[str(docs / "link.txt")] == "skipped: No such file or directory."
        assert len(index.problems) == 2
    (folder / "nowhere.txt").write_text("there", encoding="utf-8")
    index, changes = update(folder)
    assert changes == Changes(0, 1, 0, 6)
    assert list(index.problems) == [str(docs / "bad.txt")]


def test_packed_documents_are_unpacked(folder):
    docs = folder / "docs"
    rows = 'question,answer\n怎么退货？,"七天内\n寄回"\n'
    (docs / "faq.CSV.gz").write_bytes(gzip.compress(rows.encode("utf-16")))
    (docs / "cut.txt.gz").write_bytes(gzip.compress(b"words " * 999)[:-12])
    index, _ = update(folder)
    texts = [index.passage(row).text for row in range(len(index))]
    assert "怎么退货？\t七天内\n寄回" in texts
    (problem,) = index.problems.values()
    assert problem.startswith("skipped: Compressed file ended before the end-of-stream marker")


def test_a_document_that_an_older_version_left_out_is_read(folder, monkeypatch):
    (folder / "docs/wide.txt").write_bytes("一句话。".encode("utf-16"))
    with monkeypatch.context() as patch:
        patch.setattr(
            passage_index, "cut_document", lambda data, file, length: ([], "skipped: a binary file.")
        )
        index, _ = update(folder)
        assert str(folder / "docs/wide.txt") in index.problems
    index, changes = update(folder)
    assert index.problems == {} and changes.changed == 6
    assert update(folder)[1] == Changes(0, 0, 0, 6)


def test_documents_without_a_passage(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.txt").write_text(" \n", encoding="utf-8")
    index, changes = update(tmp_path)
    assert (len(index), changes) == (0, Changes(1, 0, 0, 0))
    assert [array.shape for array in index.search(np.ones([2, 16]), 3)] == [(2, 0), (2, 0)]
    assert index.closest("a", 3) == []
    (tmp_path / "docs/b.txt").write_text("text", encoding="utf-8")
    assert len(update(tmp_path)[0]) == 1


def test_a_folder_that_cannot_be_written(folder):
    (folder / "file").write_text("x", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"cannot write the index '.*/file/index': .*\. Give another --index\."
    ):
        update(folder, "file/index")


def test_without_faiss(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"needs the package faiss-cpu: pip install 'tflm\[documents\]'."):
        index_folder.load_faiss()
