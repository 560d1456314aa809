"""Embedder: any number of texts in their order, each once; and the identity of a model."""

import types

import numpy as np
import pytest

from tflm.errors import UserError
from tflm.retrieval.embedder import Embedder


class Model:
    """Passes for a loaded export: a text's length and its first character."""

    signatures = types.MappingProxyType({"embed": None})

    def __init__(self, folder):
        self.path, self.batches = str(folder), []
        (folder / "checksums.json").write_text('{"sha256": {}}', encoding="utf-8")

    def predict(self, signature, inputs):
        assert signature == "embed"
        self.batches.append(inputs["text"])
        rows = [[len(text), ord(text[0]) if text else 0] for text in inputs["text"]]
        return {"embedding": np.array(rows, np.float64)}


def test_vectors_in_the_order_of_the_texts_in_few_batches(tmp_path):
    model = Model(tmp_path)
    texts = ["four", "中文", "", "four", "a", "seven77", "中文"]
    vectors = Embedder(model, batch_size=2)(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[len(text), ord(text[0]) if text else 0] for text in texts])
    assert model.batches == [["", "a"], ["中文", "four"], ["seven77"]]


def test_the_fingerprint_is_that_of_the_checksums_wherever_they_are(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = Model(tmp_path / "one"), Model(tmp_path / "other")
    assert Embedder(one).fingerprint == Embedder(other).fingerprint
    (tmp_path / "other/checksums.json").write_text('{"sha256": {"saved_model.pb": "0"}}', encoding="utf-8")
    assert Embedder(one).fingerprint != Embedder(other).fingerprint


def test_models_that_cannot_embed(tmp_path):
    model = Model(tmp_path)
    model.signatures = {"score": None, "generate": None}
    with pytest.raises(UserError, match=r"no signature 'embed'; it has score, generate. Ex"):
        Embedder(model)
    (tmp_path / "checksums.json").unlink()
    model.signatures = Model.signatures
    with pytest.raises(
        UserError, match=r"no checksums.json, by which an index knows its model again. Export it with"
    ):
        Embedder(model)
    model.path = "http://host:8501/v1/models/m"
    with pytest.raises(
        UserError, match=r"is a server's model, which an index cannot know again\. Give the folder of"
    ):
        Embedder(model)


def test_a_model_that_gives_no_numbers(tmp_path):
    model = Model(tmp_path)
    model.predict = lambda *_: {"embedding": np.array([[np.nan, 1.0]])}
    with pytest.raises(UserError, match=r"gives vectors with NaN or infinity in them. Train it again."):
        Embedder(model)(["a"])
