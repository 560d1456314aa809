"""A run as a folder of transformers or sentence-transformers and back; adapters alone; an export in bfloat16."""

import dataclasses
import json
import os
import pathlib
import subprocess

import ml_dtypes
import numpy as np
import pytest

import tflm
from apps import export
from tests.experiments import tiny_checkpoints as tiny
from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.import_run import import_checkpoint
from tflm.experiments.public_export import _name_and_revision, write_adapter, write_public
from tflm.experiments.warm_start import origin_of
from tflm.export.weights import read_weights
from tflm.models.checkpoints.sentence import SentenceSettings, read_sentence_settings
from tflm.training.fine_tuning import FineTuningConfig

PYTHON = os.environ.get("TFLM_TRANSFORMERS_PYTHON", "")
CHECKPOINTS = os.environ.get("TFLM_CHECKPOINTS", "")
MAKE = pathlib.Path(__file__).parents[1] / "data/checkpoints/make.py"
TEXTS = ["the film is good", "今天天气很好！你好", "", "a! The world"]


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


@pytest.fixture(name="exported", scope="module")
def exported_fixture(run, tmp_path_factory):
    """`export` itself compares the answers of a process without tflm with those of the model in memory."""
    return run.export(str(tmp_path_factory.mktemp("model")), only=["chat"], weights="bfloat16")


def test_an_export_in_bfloat16_answers(exported):
    weights = read_weights(exported)
    assert weights and {value.dtype for value in weights.values()} == {np.dtype(ml_dtypes.bfloat16)}


def test_a_run_that_began_with_an_export_knows_the_published_checkpoint(run, exported, tmp_path):
    """It can be written for transformers, as one that began with the run."""
    origin = origin_of(run.workdir)
    assert origin["family"] and origin_of(os.path.dirname(exported)) == origin
    begun = dataclasses.replace(run.config, init_from=os.path.dirname(exported))
    following = Experiment.create(begun, str(tmp_path / "run"))
    assert run.tokenizer.source_files and following.tokenizer.source_files == run.tokenizer.source_files
    assert origin_of(following.workdir) == origin


def test_the_ids_of_the_checkpoint_are_written(tmp_path):
    """T5 begins with the padding token, which the run has apart."""
    run = import_checkpoint(tiny.t5(tmp_path / "t5"), str(tmp_path / "run"))
    assert run.tokenizer.pad_id != 0
    write_public(run, str(tmp_path / "out"))
    for name in ("config.json", "generation_config.json"):
        written = json.loads((tmp_path / "out" / name).read_text(encoding="utf-8"))
        ids = {key: value for key, value in written.items() if key.endswith("_token_id")}
        assert ids.pop("bos_token_id") == 0
        assert ids == {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}


@pytest.mark.parametrize(
    "settings, expected",
    [
        ([], SentenceSettings("mean", True, 32)),
        (
            ["task.pooling=first", "task.normalize=false", "model.max_length=24"],
            SentenceSettings("first", False, 24),
        ),
    ],
)
def test_a_folder_of_sentence_transformers(tmp_path, settings, expected):
    run = import_checkpoint(tiny.sentences(tmp_path / "folder"), str(tmp_path / "run"), settings)
    folder = write_public(run, str(tmp_path / "out"))
    assert read_sentence_settings(folder) == expected
    assert sorted(name for name in os.listdir(folder) if "_" in name) == [
        "1_Pooling",
        *(["2_Normalize"] if expected.normalize else []),
        "sentence_bert_config.json",
        "tokenizer_config.json",
    ]
    again = import_checkpoint(folder, str(tmp_path / "again"))
    assert again.config.task == run.config.task
    with pytest.raises(
        UserError, match=r"has no part for task\.embedding_dim=8 .* Train with task\.embedding_dim=0"
    ):
        task = dataclasses.replace(run.config.task, embedding_dim=8)
        wider = Experiment(dataclasses.replace(run.config, task=task), run.workdir)
        write_public(wider, str(tmp_path / "wider"))


def test_texts_in_lower_case_are_refused_where_the_tokenizer_keeps_case(tmp_path):
    folder = tiny.sentences(tmp_path / "folder")
    tiny.write_json(folder, "sentence_bert_config.json", {"do_lower_case": True})
    import_checkpoint(folder, str(tmp_path / "run"))
    tiny.write_json(folder, "tokenizer_config.json", {"do_lower_case": False})
    with pytest.raises(
        UserError, match=r"puts texts into lower case before its tokenizer .* which tflm does not"
    ):
        import_checkpoint(folder, str(tmp_path / "other"))


@pytest.mark.skipif(not PYTHON, reason="set TFLM_TRANSFORMERS_PYTHON; see tests/data/checkpoints/make.py")
def test_sentence_transformers_makes_the_same_vectors(tmp_path):
    paths = [tiny.sentences(tmp_path / "tiny")]
    paths += [path for path in [f"{CHECKPOINTS}/minilm"] if CHECKPOINTS and os.path.isdir(path)]
    written = []
    for index, path in enumerate(paths):
        run = import_checkpoint(path, str(tmp_path / f"run{index}"))
        folder = write_public(run, str(tmp_path / f"out{index}"))
        vectors = tflm.load(run.workdir).embed(TEXTS)
        np.savez(f"{folder}/expected.npz", vectors=np.asarray(vectors, np.float32))
        tiny.write_json(folder, "texts.json", TEXTS)
        written.append(folder)
    done = subprocess.run(
        [PYTHON, str(MAKE), "vectors", *written],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count(" ok") == len(paths)


def test_adapters_that_cannot_be_written_alone(run, tmp_path, capsys):
    arguments = ["export", f"--workdir={run.workdir}", f"--output={tmp_path}/out", "--format=peft"]
    assert export.run(arguments) == 1
    assert (
        "has no low-rank adapters: its fine_tuning.lora_rank is 0. Write all weights"
        in capsys.readouterr().err
    )

    def begun_with(folder):
        config = dataclasses.replace(run.config, init_from=folder, fine_tuning=FineTuningConfig(lora_rank=2))
        return Experiment(config, str(tmp_path))

    with pytest.raises(
        UserError, match=r"belong to the weights of 'runs/tuned', which is not an imported checkpoint"
    ):
        write_adapter(begun_with("runs/tuned"), str(tmp_path / "out"))
    for name, config in (("hf://a/b/c.gguf@main", {}), ("hf://a/b", {"text_config": {}})):
        source = {"checkpoint": name, "family": "qwen2", "config": config}
        tiny.write_json(tmp_path, "source.json", source)
        with pytest.raises(UserError, match=f"belong to '{name}', which PEFT does not load as this model"):
            write_adapter(begun_with(str(tmp_path)), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_gguf_file_has_no_files_of_the_tokenizer(tmp_path):
    pytest.importorskip("gguf", reason='to test GGUF: pip install "tflm[gguf]"')
    run = import_checkpoint(tiny.gguf_file(tmp_path / "tiny.gguf"), str(tmp_path / "run"))
    with pytest.raises(
        UserError, match=r"tiny\.gguf', whose tokenizer has no file that transformers reads\. Begin"
    ):
        write_public(run, str(tmp_path / "out"))


@pytest.mark.parametrize(
    "checkpoint, expected",
    [
        ("hf://owner/name@v1", ("owner/name", "v1")),
        ("modelscope://owner/name", ("owner/name", "")),
        ("models/a@b", ("models/a@b", "")),
    ],
)
def test_the_checkpoint_that_adapters_belong_to(checkpoint, expected):
    assert _name_and_revision(checkpoint) == expected
