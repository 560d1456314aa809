"""A run as a folder of transformers and back; an export in bfloat16."""

import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest

import tflm
from tests.experiments import tiny_checkpoints as tiny
from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.import_run import import_checkpoint
from tflm.experiments.public_export import write_public
from tflm.export.weights import read_weights


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    import_checkpoint(tiny.qwen2(folder / "qwen2"), str(folder / "run"), ["model.max_length=64"])
    return Experiment.open(str(folder / "run"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_written_and_imported_again_it_is_the_same_model(run, tmp_path, dtype):
    folder = write_public(run, str(tmp_path / "out"), dtype=dtype)
    again = import_checkpoint(folder, str(tmp_path / "again"), ["model.max_length=64"])
    assert dataclasses.replace(again.config, name=run.config.name) == run.config
    texts = ["Hello, 你好!", ""]
    assert again.tokenizer.tokenize(texts).to_list() == run.tokenizer.tokenize(texts).to_list()
    (one, _), (other, _) = run.trained_model(), again.trained_model()
    rounding = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
    for mine, theirs in zip(one.weights, other.weights, strict=True):
        expected = np.asarray(mine.value).astype(rounding).astype(np.float32)
        np.testing.assert_array_equal(np.asarray(theirs.value), expected, mine.path)


def test_the_context_of_the_checkpoint_is_written(run, tmp_path):
    folder = write_public(run, str(tmp_path / "out"))
    written = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    with open(f"{run.workdir}/source.json", encoding="utf-8") as file:
        origin = json.load(file)["config"]
    assert written["max_position_embeddings"] == origin["max_position_embeddings"] > 64
    with pytest.raises(UserError, match=r"is not empty\. Give a new folder\."):
        write_public(run, folder)


def test_a_vocabulary_that_was_trained_here_has_no_public_file(tmp_path):
    (tmp_path / "lines.txt").write_text("Hello 你好\n" * 40, encoding="utf-8")
    settings = [f"data.path={tmp_path}/lines.txt", "data.document=line"]
    run = Experiment.create("tiny_decoder", str(tmp_path / "run"), settings)
    with pytest.raises(UserError, match=r"was trained here, as .*, and has no file that transformers reads"):
        write_public(run, str(tmp_path / "out"))


def test_an_export_in_bfloat16_answers(run, tmp_path):
    """`export` itself compares its answers with those of the model in memory."""
    path = run.export(
        str(tmp_path / "model"), only=["serving_default", "generate", "chat"], weights="bfloat16"
    )
    weights = read_weights(path)
    assert weights and {value.dtype for value in weights.values()} == {np.dtype(ml_dtypes.bfloat16)}
    answer = tflm.load(path).chat([{"role": "user", "content": "你好"}], max_new_tokens=5, temperature=0.0)
    assert isinstance(answer, str)
