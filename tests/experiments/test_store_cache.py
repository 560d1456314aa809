"""Stores that runs share: one build for equal data, no run that depends on the cache."""

import json
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from tflm.config import override
from tflm.data import build_store, encode_processes
from tflm.errors import UserError
from tflm.experiments import Experiment, load_preset


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("TFLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def refuse(monkeypatch):
    """refuse() -> from now on nothing may be encoded."""

    def encode(task, examples):
        raise AssertionError("this text was encoded before")

    return lambda: monkeypatch.setattr("tflm.tasks.LanguageModeling.encode", encode)


def contents(folder):
    """The arrays of a store by file name."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).glob("*.npy")}


def store_of(config, workdir, split="train"):
    return Experiment.create(config, str(workdir)).store(split)


def test_a_second_run_takes_the_store_of_the_first(config, tmp_path, cache, refuse, monkeypatch):
    first = store_of(config, tmp_path / "a")
    monkeypatch.setenv("TFLM_CACHE", "")
    fresh = store_of(config, tmp_path / "fresh")
    monkeypatch.setenv("TFLM_CACHE", str(cache))
    assert fresh.cache_key == "" and contents(fresh.folder) == contents(first.folder)
    refuse()
    # The same text in another place, and settings that the ids do not depend on.
    (tmp_path / "copy").mkdir()
    shutil.copy(config.data.path, tmp_path / "copy" / "renamed.txt")
    same = override(
        config, [f"data.path={tmp_path}/copy/renamed.txt", "training.seed=3", "model.num_layers=2"]
    )
    second = store_of(same, tmp_path / "b")
    assert second.cache_key == first.cache_key and len(second.cache_key) == 64
    assert [path.name for path in cache.iterdir()] == [first.cache_key]
    assert contents(second.folder) == contents(first.folder)
    values = (pathlib.Path(folder) / "token_ids.values.npy" for folder in (first.folder, second.folder))
    assert len({os.stat(path).st_ino for path in values}) == 1, "one file on the disk"


@pytest.mark.parametrize(
    "assignment", ["data.eval_fraction=0.5", "task.mark_documents=false", "model.max_length=24"]
)
def test_what_the_ids_depend_on_gives_another_key(config, tmp_path, cache, assignment):
    first = store_of(config, tmp_path / "a").cache_key
    assert store_of(override(config, [assignment]), tmp_path / "b").cache_key != first


def test_other_text_and_the_other_side_have_keys_of_their_own(config, tmp_path, cache):
    path = tmp_path / "poem.txt"
    shutil.copy(config.data.path, path)
    config = override(config, [f"data.path={path}"])
    keys = [store_of(config, tmp_path / "a", split).cache_key for split in ("train", "eval")]
    path.write_text(path.read_text(encoding="utf-8").replace("诗", "词"), encoding="utf-8")
    keys.append(store_of(config, tmp_path / "b").cache_key)
    assert len(set(keys)) == 3


def test_a_run_needs_no_cache(config, tmp_path, cache, refuse):
    """Not here, and not where its folder is copied to."""
    store = store_of(config, tmp_path / "a")
    expected = contents(store.folder)
    shutil.rmtree(cache)
    refuse()
    assert contents(store_of(config, tmp_path / "a").folder) == expected
    shutil.move(tmp_path / "a", tmp_path / "elsewhere")
    assert contents(Experiment.open(str(tmp_path / "elsewhere")).store("train").folder) == expected


def test_a_damaged_store_is_built_again(config, tmp_path, cache):
    store = store_of(config, tmp_path / "a")
    expected = contents(store.folder)
    file = cache / store.cache_key / "token_ids.values.npy"
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.unlink()  # the run's own link keeps its content
    file.write_bytes(changed)
    assert contents(store_of(config, tmp_path / "b").folder) == expected == contents(file.parent)
    file.unlink()
    assert contents(store_of(config, tmp_path / "c").folder) == expected == contents(file.parent)


def test_a_file_system_without_links_gets_copies(config, tmp_path, cache, monkeypatch):
    def link(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    store = store_of(config, tmp_path / "a")
    assert contents(store.folder) == contents(cache / store.cache_key)


def test_a_folder_that_cannot_be_written_is_done_without(config, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("TFLM_CACHE", str(tmp_path / "file" / "cache"))
    store = store_of(config, tmp_path / "a")
    assert store.num_rows and store.cache_key == ""
    assert (
        "no cache of tokenised data in" in caplog.text and "Set TFLM_CACHE to another folder" in caplog.text
    )


def test_a_run_of_an_earlier_version_keeps_its_store(config, tmp_path, cache, refuse):
    """Without checksums and a key in its store.json."""
    store = store_of(config, tmp_path / "a")
    index = store.folder / "store.json"
    known = json.loads(index.read_text(encoding="utf-8"))
    index.unlink()
    del known["files"], known["cache_key"]
    index.write_text(json.dumps(known), encoding="utf-8")
    refuse()
    again = Experiment.open(str(tmp_path / "a")).store("train")
    assert again.is_intact() and np.array_equal(again.values("token_ids"), store.values("token_ids"))


def test_a_number_of_processes_that_is_none(config, tmp_path, monkeypatch):
    monkeypatch.setenv("TFLM_DATA_WORKERS", "many")
    with pytest.raises(UserError, match=r"TFLM_DATA_WORKERS is 'many'; expected a number of processes, or 0"):
        store_of(config, tmp_path / "a")


def test_another_process_encodes_as_the_run_does(config, tmp_path, monkeypatch):
    """What it gets goes through pickle; the processes are those of `tests/data/test_encode_processes.py`."""
    monkeypatch.setenv("TFLM_CACHE", "")
    given = []
    keep = lambda *arguments: given.append(arguments[-1]) or build_store(*arguments)  # noqa: E731
    monkeypatch.setattr("tflm.experiments.run.build_store", keep)
    monkeypatch.setenv("TFLM_DATA_WORKERS", "3")
    run = Experiment.create(config, str(tmp_path / "run"))

    def encoded(chunks, encode_fn, make_encode_fn, num_workers):
        sent = pickle.loads(pickle.dumps(make_encode_fn))()
        return ((len(chunk), encode_processes.encode_chunk(sent, chunk)) for chunk in chunks)

    monkeypatch.setattr("tflm.data.token_store.encoded_by_processes", encoded)
    there = run.store("train")
    assert given[0].num_workers == 3
    monkeypatch.setenv("TFLM_DATA_WORKERS", "1")
    assert contents(there.folder) == contents(store_of(config, tmp_path / "b").folder)


def test_architectures_have_stores_of_their_own(tmp_path, cache):
    """A decoder reads a pair as one row, an encoder-decoder as two."""
    path = tmp_path / "pairs.jsonl"
    rows = [{"source": f"the question {n}", "target": f"第{n}个答案"} for n in range(8)]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    settings = ["data.source=jsonl", "data.source_column=source", "data.target_column=target"]
    settings += [f"data.path={path}", "data.eval_fraction=0", "tokenizer.kind=byte"]
    stores = [
        store_of(override(load_preset(name), [*settings, "model.max_length=64"]), tmp_path / name)
        for name in ("tiny_pairs", "tiny_lstm_seq2seq")
    ]
    assert [store.features for store in stores] == [
        ("token_ids", "prefix_length"),
        ("source_ids", "token_ids"),
    ]
