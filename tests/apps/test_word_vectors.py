"""Word vectors: trained, exported, written to a file, and read by another run as its first embedding."""

import numpy as np
import pytest

from tflm.serving import connect
from tflm.text.word_vectors import read_word_vectors

LINES = ["the cat sat on the mat", "the dog sat on the rug", "猫 坐在 垫子 上", "狗 坐在 地毯 上"] * 6
DATA = ["data.source=text", "data.document=line", "data.text_column=", "data.eval_fraction=0"]


@pytest.fixture(scope="module")
def vectors(call, tmp_path_factory):
    """The folder of a run and an export, with `vectors.txt` and `vectors.bin`."""
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    settings = [*DATA, f"data.path={folder}/lines.txt", "training.num_steps=4", "tokenizer.kind=wordpiece"]
    changes = [f"--set={setting}" for setting in settings]
    train = call("train", "--preset=tiny_word_vectors", f"--workdir={folder}/run", *changes)
    assert train.code == 0, train.err
    for version, name in ((1, "vectors.txt"), (2, "vectors.bin")):
        output = f"--output={folder}/model/{version}"
        done = call("export", f"--workdir={folder}/run", output, f"--word_vectors={folder}/{name}")
        assert done.code == 0, done.err
        assert f"word vectors: {folder}/{name}" in done.out
    return folder


def test_the_file_has_the_vectors_of_the_export(vectors):
    text, binary = (read_word_vectors(vectors / name) for name in ("vectors.txt", "vectors.bin"))
    assert text.words == binary.words
    np.testing.assert_array_equal(text.vectors, binary.vectors)
    words = ["the", "猫"]
    assert set(words) <= set(text.words), text.words
    embedding = connect(str(vectors / "model")).predict("embed", {"text": words})["embedding"]
    rows = text.vectors[[text.words.index(word) for word in words]]
    cosines = (rows * embedding).sum(axis=1) / (
        np.linalg.norm(rows, axis=1) * np.linalg.norm(embedding, axis=1)
    )
    np.testing.assert_allclose(cosines, 1.0, atol=1e-5)


def test_another_run_begins_with_them(vectors, call):
    width = read_word_vectors(vectors / "vectors.txt").vectors.shape[1]
    settings = [*DATA, f"data.path={vectors}/lines.txt", "training.num_steps=2", f"model.hidden_dim={width}"]
    settings += ["tokenizer.kind=wordpiece"]
    changes = [f"--set={setting}" for setting in settings]
    start = f"--word_vectors={vectors}/vectors.bin"
    done = call("train", "--preset=tiny_lstm", f"--workdir={vectors}/lstm", start, *changes)
    assert done.code == 0, done.err
    assert f"word vectors from {vectors}/vectors.bin: " in done.err
    assert "--set model.hidden_dim" not in done.err
    other = call(
        "train",
        "--preset=tiny_lstm",
        f"--workdir={vectors}/wide",
        start,
        *changes,
        "--set=model.hidden_dim=24",
    )
    assert (
        other.code,
        f"numbers each; the embedding of this model has 24. Set model.hidden_dim={width}" in other.err,
    ) == (
        1,
        True,
    ), other.err


def test_other_tasks_have_none_to_write(call, lstm, tmp_path):
    done = call(
        "export", f"--workdir={lstm.workdir}", f"--output={tmp_path}/m", f"--word_vectors={tmp_path}/v.txt"
    )
    assert done.code == 1
    assert "--word_vectors is for the task word_vectors; that of this run is 'language_modeling'." in done.err
    assert not (tmp_path / "m").exists()
