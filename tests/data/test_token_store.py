import itertools
import json
import threading

import numpy as np
import pytest
import tensorflow as tf

from tflm.data import TokenStore, build_store
from tflm.data.token_store import BuildOptions
from tflm.errors import UserError


def encode_bytes(examples):
    """UTF-8 bytes as ids, and the number of characters: a stand-in for a task's encode."""
    text = examples["text"]
    pieces = tf.strings.bytes_split(text)
    ids = tf.reshape(tf.cast(tf.io.decode_raw(pieces.flat_values, tf.uint8), tf.int32), [-1])
    return {
        "token_ids": pieces.with_flat_values(ids),
        "characters": tf.strings.length(text, unit="UTF8_CHAR"),
    }


TEXTS = ["床前明月光，", "", "plain text"] + [f"第{i}行" for i in range(2500)]  # more than two chunks


def build(folder, texts=TEXTS, fingerprint="a", encode_fn=encode_bytes):
    return build_store(({"text": text} for text in texts), encode_fn, folder, fingerprint)


def test_what_is_stored_is_what_was_encoded(tmp_path):
    store = build(tmp_path / "deep" / "store")
    assert store.num_rows == len(TEXTS)
    assert store.features == ("token_ids", "characters")
    values, offsets = store.values("token_ids"), store.offsets("token_ids")
    assert (values.dtype, offsets.dtype) == (np.int32, np.int64)
    rows = [bytes(values[a:b].astype(np.uint8)).decode() for a, b in itertools.pairwise(offsets)]
    assert rows == TEXTS
    np.testing.assert_array_equal(store.lengths("token_ids"), [len(text.encode()) for text in TEXTS])
    np.testing.assert_array_equal(store.values("characters"), [len(text) for text in TEXTS])


def test_tensors_share_the_pages_of_the_file(tmp_path):
    store = build(tmp_path / "store")
    for name, part in [("token_ids", "values"), ("token_ids", "offsets"), ("characters", "values")]:
        np.testing.assert_array_equal(store.tensor(name, part), store._load(name, part))
    mapped = store.values("token_ids")
    tensor = tf.experimental.dlpack.from_dlpack(mapped.__dlpack__())
    mapped[0] = 77  # in this process's copy of the page alone
    assert tensor[0] == 77
    assert store.values("token_ids")[0] != 77


def test_a_finished_store_is_used_again_and_another_fingerprint_builds_anew(tmp_path):
    folder = tmp_path / "store"
    build(folder)

    def refuse(examples):
        raise AssertionError("nothing should be encoded")

    assert build(folder, encode_fn=refuse).num_rows == len(TEXTS)
    assert build(folder, texts=["b"], fingerprint="b").num_rows == 1
    assert TokenStore(folder).fingerprint == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_build_that_dies_leaves_the_old_store_and_no_half(tmp_path):
    folder = tmp_path / "store"
    build(folder, texts=["old"])

    def die(examples):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(folder, fingerprint="b", encode_fn=die)
    assert TokenStore(folder).fingerprint == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    half = tmp_path / "store.building-xyz"  # what a killed process leaves
    half.mkdir()
    (half / "token_ids.values.npy").write_bytes(b"half")
    assert build(folder, fingerprint="b").num_rows == len(TEXTS)
    assert [path.name for path in tmp_path.iterdir()] == ["store"], "what it left is removed"


def test_two_builders_at_once_one_builds_and_the_other_waits(tmp_path):
    folder, stores, encoded = tmp_path / "store", [], []

    def work():
        stores.append(build(folder, encode_fn=lambda examples: encoded.append(1) or encode_bytes(examples)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.num_rows for store in stores] == [len(TEXTS)] * 4 and len(encoded) == 3  # chunks, once
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_disk_without_space_leaves_the_old_store_and_no_half(tmp_path, largest_file):
    folder = tmp_path / "store"
    build(folder, texts=["old"])
    with (
        pytest.raises(UserError, match=r"cannot write the token store .*: File too large"),
        largest_file(9000),
    ):
        build(folder, texts=["长长的一行" * 2000], fingerprint="b")
    assert TokenStore(folder).fingerprint == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_damaged_store_is_found_and_built_again(tmp_path):
    folder = tmp_path / "store"
    build(folder)
    np.save(folder / "characters.values.npy", np.zeros(3, np.int32))
    with pytest.raises(UserError, match=r"the token store in .* is damaged; delete the folder"):
        TokenStore(folder)
    assert len(build(folder).values("characters")) == len(TEXTS)
    (folder / "store.json").write_text(json.dumps({"fingerprint": "a"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"no token store in .*rebuild it"):
        TokenStore(folder)


def test_other_peoples_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match="contains files that are not a token store; give another folder"):
        build(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_no_tokens_at_all(tmp_path, texts):
    with pytest.raises(UserError, match=f"nothing to store: {len(texts)} examples have no tokens"):
        build(tmp_path / "store", texts=texts)
    assert list(tmp_path.iterdir()) == []


def test_a_feature_that_is_not_there(tmp_path):
    store = build(tmp_path / "store", texts=["a"])
    with pytest.raises(UserError, match="has no values of 'labels'; its features are token_ids, characters"):
        store.values("labels")
    with pytest.raises(UserError, match="has no offsets of 'characters'"):
        store.lengths("characters")


def test_builders_at_once_share_one_build_in_the_cache(tmp_path):
    stores, encoded = {}, []
    options = BuildOptions(cache_folder=str(tmp_path / "cache"), cache_key="abc")
    (tmp_path / "cache").mkdir()

    def work(number):
        examples = ({"text": text} for text in TEXTS)
        count = lambda examples: encoded.append(1) or encode_bytes(examples)  # noqa: E731
        stores[number] = build_store(examples, count, tmp_path / f"run{number}", f"{number}", options=options)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(encoded) == 3, "chunks, once"
    assert [stores[number].fingerprint for number in range(4)] == ["0", "1", "2", "3"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == [
        *("abc", "cache"),
        *(f"run{number}" for number in range(4)),
    ]
    for store in stores.values():
        np.testing.assert_array_equal(store.values("token_ids"), stores[0].values("token_ids"))
        assert store.cache_key == "abc"
