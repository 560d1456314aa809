"""A run with data.mask_personal: tokenizer, stores and cache see masked text, and the counts are in its record."""

import pathlib

import pytest

from tflm.config import override
from tflm.data import encode_processes
from tflm.experiments import Experiment
from tflm.experiments.run_record import masked_counts, record_start
from tflm.training import make_strategy


@pytest.fixture(name="masked_config")
def masked_config_fixture(config, tmp_path, monkeypatch):
    monkeypatch.setenv("TFLM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "chats.txt"
    path.write_text(
        "".join(f"第{number}行 call 13812345678, a{number}@b.com\n" for number in range(80)), encoding="utf-8"
    )
    return override(config, [f"data.path={path}", "data.eval_fraction=0.2", 'data.mask_personal=["all"]'])


class ThreadWorker:
    """In the place of a process that encodes, which takes seconds to start."""

    def __init__(self, make_encode_fn):
        self.encode_fn = make_encode_fn()

    def encode(self, chunk):
        return encode_processes.encode_chunk(self.encode_fn, chunk)

    def close(self):
        pass


def contents(store):
    return {path.name: path.read_bytes() for path in pathlib.Path(store.folder).glob("*.npy")}


def test_stores_hold_masked_text_and_counts(masked_config, tmp_path, monkeypatch):
    run = Experiment.create(masked_config, str(tmp_path / "a"))
    stores = {split: run.store(split) for split in ("train", "eval")}
    for store in stores.values():
        assert store.masked == {"chinese_mobile": store.num_rows, "email": store.num_rows}
        text = run.tokenizer.detokenize([store.values("token_ids").tolist()]).numpy()[0].decode()
        assert text.count("<phone>") == text.count("<email>") == store.num_rows
        assert "138" not in text and "@" not in text

    # From the cache, without a look at the texts: the same arrays and counts.
    again = Experiment.create(masked_config, str(tmp_path / "b"))
    assert again.store("train").cache_key == stores["train"].cache_key
    assert again.store("train").masked == stores["train"].masked

    # By several workers, each with some of the examples: the same bytes.
    monkeypatch.setattr(encode_processes, "_Worker", ThreadWorker)
    monkeypatch.setattr("tflm.data.token_store._CHUNK", 7)
    monkeypatch.setenv("TFLM_CACHE", "")
    monkeypatch.setenv("TFLM_DATA_WORKERS", "3")
    other = Experiment.create(masked_config, str(tmp_path / "c")).store("train")
    assert contents(other) == contents(stores["train"]) and other.masked == stores["train"].masked

    # The record of a start, for the report and the model card.
    record_start(run, make_strategy("one_device"), 0)
    assert masked_counts(run.workdir) == {split: store.masked for split, store in stores.items()}


def test_other_kinds_have_another_key(masked_config, tmp_path):
    keys, texts = set(), []
    for number, kinds in enumerate(('["all"]', '["email"]', "[]")):
        run = Experiment.create(masked_config, str(tmp_path / str(number)), [f"data.mask_personal={kinds}"])
        store = run.store("eval")
        keys.add(store.cache_key)
        texts.append(run.tokenizer.detokenize([store.values("token_ids").tolist()]).numpy()[0].decode())
        assert ("masked" in (pathlib.Path(store.folder) / "store.json").read_text()) == (kinds != "[]")
    assert len(keys) == 3
    assert ["13812345678" in text for text in texts] == [False, True, True]
    assert ["@b.com" in text for text in texts] == [False, False, True]
