"""Whatever number of processes encodes, the store has the same bytes; and so have several files for one."""

import pathlib
import random
import time

import numpy as np
import pytest

from tests.data import encode_fns
from tests.data.test_token_store import TEXTS, encode_bytes
from tflm.data import PackedBatches, TokenStore, UnknownLabelError, build_store, encode_processes
from tflm.data.token_store import BuildOptions
from tflm.errors import UserError


def build(folder, texts=TEXTS, **options):
    options = BuildOptions(**{"make_encode_fn": lambda: encode_bytes, **options})
    return build_store(({"text": text} for text in texts), encode_bytes, folder, "a", options=options)


def contents(store):
    return {path.name: path.read_bytes() for path in pathlib.Path(store.folder).iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return build(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def started(monkeypatch):
    """Threads of unequal speed take the place of processes; how many were started."""
    numbers = []

    class Worker:
        def __init__(self, make_encode_fn):
            numbers.append(len(numbers))
            self.encode_fn, self.random = make_encode_fn(), random.Random(len(numbers))

        def encode(self, chunk):
            time.sleep(0.02 * self.random.random())
            return encode_processes.encode_chunk(self.encode_fn, chunk)

        def close(self):
            numbers.remove(len(numbers) - 1)

    monkeypatch.setattr(encode_processes, "_Worker", Worker)
    return numbers


def test_a_process_encodes_the_same_and_raises_the_same():
    """One, since to start it takes seconds. The tests below have threads in the place of several."""
    worker = encode_processes._Worker(encode_fns.encode_bytes)
    try:
        chunk = [{"text": text} for text in TEXTS if text != "第7行"]
        here, there = encode_processes.encode_chunk(encode_bytes, chunk), worker.encode(chunk)
        assert list(here) == list(there) == ["token_ids", "characters"]
        for name in here:
            for one, other in zip(here[name], there[name], strict=True):
                np.testing.assert_array_equal(one, other)
        with pytest.raises(UnknownLabelError, match="no label '第7行'") as error:
            worker.encode([{"text": "第7行"}])
        assert error.value.known == ("a",)
        assert len(worker.encode(chunk[:2])["characters"][0]) == 2, "it goes on"
    finally:
        worker.close()


@pytest.mark.parametrize("num_workers", [2, 3, 8])
def test_the_bytes_do_not_depend_on_the_number(tmp_path, started, monkeypatch, num_workers):
    monkeypatch.setattr("tflm.data.token_store._CHUNK", 100)
    one = build(tmp_path / "one", num_workers=1)
    assert contents(build(tmp_path / "several", num_workers=num_workers)) == contents(one)
    assert started == [], "all are closed"


def test_others_are_started_after_a_while(whole, tmp_path, started, monkeypatch):
    ends = []
    monkeypatch.setattr(encode_processes, "_num_cpus", lambda: 3)
    monkeypatch.setattr(encode_processes.logging, "info", lambda text, number: ends.append(number))
    assert contents(build(tmp_path / "soon", num_workers=0)) == contents(whole)
    assert ends == []
    monkeypatch.setattr(encode_processes, "FIRST_SECONDS", 0.0)
    assert contents(build(tmp_path / "late", num_workers=0)) == contents(whole)
    assert ends == [3]


def test_what_an_encode_fn_raises_is_raised_here(tmp_path, started):
    with pytest.raises(UnknownLabelError, match="no label '第7行'"):
        build(tmp_path / "store", num_workers=2, make_encode_fn=encode_fns.encode_bytes)
    assert list(tmp_path.iterdir()) == [] and started == []


@pytest.mark.parametrize(
    "make_encode_fn, words",
    [
        (encode_fns.end, "a process that tokenises ended with exit code -9; if memory is short"),
        (
            encode_fns.refuse,
            "no process can tokenise for this run (UserError: task.kind is one of chat; got 'rating')",
        ),
    ],
)
def test_this_process_takes_the_place_of_one_that_cannot(whole, tmp_path, caplog, make_encode_fn, words):
    store = build(tmp_path / "store", num_workers=2, make_encode_fn=make_encode_fn)
    assert contents(store) == contents(whole)
    assert (
        words in caplog.text and "This process tokenises in its place; the data is the same." in caplog.text
    )


def test_several_files_hold_what_one_holds(whole, tmp_path):
    store = build(tmp_path / "store", shard_bytes=20_000)
    assert len(list(store.folder.glob("token_ids.values*.npy"))) > 4
    assert max(path.stat().st_size for path in store.folder.glob("*.npy")) <= 20_128
    for name, part in [("token_ids", "values"), ("token_ids", "offsets"), ("characters", "values")]:
        np.testing.assert_array_equal(store._load(name, part), whole._load(name, part))
    assert store.is_intact() and TokenStore(store.folder).num_rows == whole.num_rows
    for training in (True, False):
        a, b = (iter(PackedBatches(each, 16, 4, 0, training).dataset()) for each in (store, whole))
        for _ in range(5):
            one, other = next(a), next(b)
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
    file = store.folder / "token_ids.values.00003.npy"
    np.save(file, np.load(file) + 1)
    assert not store.is_intact()
    np.save(file, np.load(file)[:-1])
    with pytest.raises(UserError, match="is damaged; delete the folder"):
        TokenStore(store.folder)
