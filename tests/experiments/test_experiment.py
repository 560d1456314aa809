"""One run in a folder: created, resumed, refused, created again; each part is made once."""

import json
import os
import shutil

import numpy as np
import pytest

from tflm.config import load_json, override
from tflm.errors import UserError
from tflm.experiments import Experiment, ExperimentConfig
from tflm.models import TransformerDecoderConfig
from tflm.recipes import load_preset
from tflm.tasks import LanguageModeling, Pairs


def files_in(folder):
    return sorted(
        os.path.relpath(os.path.join(root, name), folder)
        for root, _, names in os.walk(folder)
        for name in names
    )


def test_create_writes_the_resolved_config_and_nothing_else(experiment, config):
    assert files_in(experiment.workdir) == ["config.json"]
    assert load_json(ExperimentConfig, f"{experiment.workdir}/config.json") == config
    assert Experiment.open(experiment.workdir).config == config


def test_the_same_config_takes_a_run_up(trained, config):
    before = files_in(trained.workdir)
    again = Experiment.create(config, trained.workdir)
    assert files_in(again.workdir) == before
    assert again.trained_model()[1] == 2


def test_a_run_of_an_earlier_version_keeps_its_masks(trained, config, tmp_path):
    """Its config.json has no field for them; the recipe of today says per_example."""
    workdir = str(tmp_path / "earlier")
    shutil.copytree(trained.workdir, workdir)
    path = os.path.join(workdir, "config.json")
    with open(path, encoding="utf-8") as file:
        written = json.load(file)
    assert written["training"].pop("dropout_masks") == config.training.dropout_masks == "per_example"
    with open(path, "w", encoding="utf-8") as file:
        json.dump(written, file)
    assert Experiment.open(workdir).config.training.dropout_masks == "per_device"
    assert Experiment.create(config, workdir).config.training.dropout_masks == "per_device"
    assert Experiment.open(workdir).config.training.dropout_masks == "per_device", "now it is written"


def test_another_worker_joins_the_run_with_the_same_config(trained, config, tmp_path):
    assert Experiment.join(config, trained.workdir).config == trained.config
    with pytest.raises(UserError, match=r"holds a run with another config: training.seed was 0, is 7"):
        Experiment.join(override(config, ["training.seed=7"]), trained.workdir)
    with pytest.raises(UserError, match=r"worker 0 has begun the run, and .* holds none here"):
        Experiment.join(config, str(tmp_path))


@pytest.mark.parametrize(
    "assignment",
    [
        "training.log_every=1",
        "training.keep_checkpoints=9",
        "decoding.temperature=0.1",
        "training.eval_every=7",
    ],
)
def test_what_does_not_enter_the_result_may_change(trained, config, assignment):
    changed = override(config, [assignment])
    again = Experiment.create(changed, trained.workdir)
    assert Experiment.open(trained.workdir).config == changed
    assert again.trained_model()[1] == 2


@pytest.mark.parametrize(
    "assignments, words",
    [
        (
            ["training.num_steps=3"],
            r"another config: training.num_steps was 2, is 3. Give another --workdir, or",
        ),
        (
            ["model.num_layers=2", "data.max_bad_rows=5", "training.seed=1"],
            r"data.max_bad_rows was 0.01, is 5.0; model.num_layers was 1, is 2; training.seed was 0, is 1. Give",
        ),
        (["name=other"], "name was 'tiny_lstm', is 'other'"),
    ],
)
def test_another_config_is_refused_and_the_fields_are_named(trained, config, assignments, words):
    before = files_in(trained.workdir)
    with pytest.raises(UserError, match=words):
        Experiment.create(override(config, assignments), trained.workdir)
    assert files_in(trained.workdir) == before
    assert Experiment.open(trained.workdir).config == config


def test_a_try_that_failed_at_its_data_binds_nobody(config, tmp_path):
    wrong = override(config, [f"data.path={tmp_path}/nowhere.txt"])
    with pytest.raises(UserError, match="nowhere"):
        Experiment.create(wrong, str(tmp_path / "run")).store("train")
    assert Experiment.create(config, str(tmp_path / "run")).store("train").num_rows > 0


def test_a_try_that_failed_at_an_empty_side_binds_nobody(config, tmp_path):
    """The training side was tokenised, and the vocabulary learned, when the empty held-out side was found."""
    (tmp_path / "short.txt").write_text("春眠不觉晓\n处处闻啼鸟\nA line of English\n", encoding="utf-8")
    workdir = str(tmp_path / "run")
    short = override(
        config, [f"data.path={tmp_path}/short.txt", "data.eval_fraction=0.0001", "training.seed=4"]
    )
    first = Experiment.create(short, workdir)
    first.trainer()
    assert first.store("train").num_rows == 3
    with pytest.raises(UserError, match="is empty: none of 3 rows is in it"):
        first.store("eval")
    again = Experiment.create(override(short, ["data.eval_fraction=0.9", "model.hidden_dim=8"]), workdir)
    assert files_in(workdir) == ["config.json"]
    assert again.config.model.hidden_dim == 8 and again.store("eval").num_rows > 0


def test_a_try_that_wrote_no_checkpoint_binds_nobody(trained, config):
    """Its log and half a checkpoint are removed, too."""
    checkpoints = os.path.join(trained.workdir, "checkpoints")
    (name,) = os.listdir(checkpoints)
    os.rename(f"{checkpoints}/{name}", f"{checkpoints}/{name}.tmp")
    changed = override(config, ["training.num_steps=3"])
    assert files_in(Experiment.create(changed, trained.workdir).workdir) == ["config.json"]


def test_data_that_was_corrected_after_a_failed_try_is_read_again(config, tmp_path):
    workdir, data = str(tmp_path / "run"), tmp_path / "poem.txt"
    data.write_text("一二三四\n" * 4, encoding="utf-8")
    config = override(config, [f"data.path={data}", "data.eval_fraction=0.0"])
    first = Experiment.create(config, workdir)
    assert first.store("train").num_rows == 4
    (tmp_path / "new.txt").write_text("床前明月光\n疑是地上霜\n", encoding="utf-8")
    os.utime(tmp_path / "new.txt", (1, 1))
    os.replace(tmp_path / "new.txt", data)  # an older file takes its place
    assert Experiment.create(config, workdir).store("train").num_rows == 2


def test_data_in_the_run_s_own_folder_is_never_removed(config, tmp_path):
    workdir, data = str(tmp_path / "run"), tmp_path / "run" / "data" / "poem.txt"
    config = override(config, [f"data.path={data}"])
    Experiment.create(config, workdir)
    data.parent.mkdir()
    data.write_text("举头望明月\nlow my head\n", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"poem.txt' is in the run's own folder.* Move it elsewhere"):
            Experiment.create(override(config, ["training.seed=9"]), workdir, overwrite=overwrite)
    assert data.read_text(encoding="utf-8").startswith("举头")


def test_what_is_not_a_beginning_stays(config, tmp_path):
    """Neither the config of another program nor a file of the user's in a run's folder is removed."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/config.json").write_text('{"architectures": ["BertModel"]}', encoding="utf-8")
    Experiment.create(config, str(tmp_path / "ours"))
    for name in ("theirs", "ours"):
        (tmp_path / name / "notes.txt").write_text("mine", encoding="utf-8")
    changed = override(config, ["training.seed=9"])
    with pytest.raises(UserError):
        Experiment.create(changed, str(tmp_path / "theirs"))
    assert files_in(tmp_path / "theirs") == ["config.json", "notes.txt"]
    assert Experiment.create(changed, str(tmp_path / "ours")).config == changed
    assert files_in(tmp_path / "ours") == ["config.json", "notes.txt"]


def test_a_disk_without_space_for_the_beginnings(config, tmp_path, largest_file):
    """The config, the vocabulary and the labels: one sentence each, and nothing half-written."""
    workdir = str(tmp_path / "run")
    with (
        pytest.raises(UserError, match=r"cannot write the run's config .*: File too large"),
        largest_file(100),
    ):
        Experiment.create(config, workdir)
    assert files_in(workdir) == []
    experiment = Experiment.create(config, workdir)
    with pytest.raises(UserError, match=r"cannot write the vocabulary .*: File too large"), largest_file(10):
        _ = experiment.tokenizer
    assert files_in(workdir) == ["config.json"] and "tokenizer.tmp" not in os.listdir(workdir)
    assert Experiment.create(config, workdir).tokenizer.vocab_size > 0


def test_damaged_labels_are_named(config, tmp_path):
    (tmp_path / "labels.json").write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match=r"labels.json' is damaged: .* Remove it, and it is made again"):
        _ = Experiment(config, str(tmp_path)).labels


def test_another_kind_of_model_is_refused(trained, config):
    other = ExperimentConfig(**{**vars(config), "model": TransformerDecoderConfig()})
    with pytest.raises(UserError, match=r"model.kind was 'lstm', is 'transformer_decoder'"):
        Experiment.create(other, trained.workdir)


def test_overwrite_begins_again(trained, config):
    other = override(config, ["training.num_steps=3"])
    again = Experiment.create(other, trained.workdir, overwrite=True)
    assert files_in(again.workdir) == ["config.json"]
    with pytest.raises(UserError, match=r"has no checkpoint yet. `tflm train --workdir=.*` first."):
        again.trained_model()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_holds_no_run_is_refused_and_left_alone(config, tmp_path, overwrite):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UserError, match=r"is not empty and holds no run. Give a folder of its own."):
        Experiment.create(config, str(tmp_path / "home"), overwrite=overwrite)
    assert files_in(tmp_path / "home") == ["thesis.txt"]


def test_an_empty_folder_is_as_good_as_none(config, tmp_path):
    (tmp_path / "empty").mkdir()
    assert files_in(Experiment.create(config, str(tmp_path / "empty")).workdir) == ["config.json"]


def test_a_file_in_place_of_the_folder(config, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot make the folder .*/file': File exists\."):
        Experiment.create(config, str(tmp_path / "file"))


def test_open_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no run: there is no config.json. `tflm train` makes one."):
        Experiment.open(str(tmp_path))


def test_a_damaged_config(experiment):
    with open(f"{experiment.workdir}/config.json", "w", encoding="utf-8") as file:
        file.write("{")
    with pytest.raises(UserError, match=r"config.json' is not JSON"):
        Experiment.open(experiment.workdir)


def test_the_tokenizer_is_trained_once_on_the_training_side(config, tmp_path, monkeypatch):
    (tmp_path / "numbers.txt").write_text("一二三四\n" * 8 + "五六\n" * 2, encoding="utf-8")
    changes = ["tokenizer.kind=character", "tokenizer.byte_fallback=false", "data.split=tail"]
    characters = override(config, [*changes, f"data.path={tmp_path}/numbers.txt"])
    experiment = Experiment.create(characters, str(tmp_path / "characters"))
    tokenizer = experiment.tokenizer
    assert tokenizer.tokenize(["一五"]).to_list()[0][1] == tokenizer.unk_id, (
        "五 is on the held-out side alone"
    )
    monkeypatch.setattr("tflm.experiments.run.train_tokenizer", None)
    found = Experiment.open(experiment.workdir).tokenizer
    assert found.tokenize(["二四一"]).to_list() == tokenizer.tokenize(["二四一"]).to_list()


def test_vocabulary_and_labels_are_those_of_the_whole_side_whatever_part_trains(tmp_path):
    rows = [f"{name} text 第{n}行\t{name}" for n in range(30) for name in ("甲", "乙", "丙")]
    rows += ["rare ж text\trare"]
    (tmp_path / "rows.tsv").write_text("\n".join(rows), encoding="utf-8")
    data = [f"data.path={tmp_path}/rows.tsv", "data.source=tsv", "data.text_column=0", "data.label_column=1"]
    settings = [*data, "data.eval_fraction=0", "tokenizer.kind=character", "tokenizer.vocab_size=500"]
    config = override(load_preset("tiny_bert_classifier"), settings)
    whole = Experiment.create(config, str(tmp_path / "whole"))
    part = Experiment.create(override(config, ["data.train_fraction=0.2"]), str(tmp_path / "part"))
    assert part.labels == whole.labels == ("rare", "丙", "乙", "甲")
    assert part.tokenizer.vocab_size == whole.tokenizer.vocab_size
    assert 0 < part.store("train").num_rows < whole.store("train").num_rows == 91


def test_the_task_is_what_the_config_says(config, tmp_path):
    assert isinstance(Experiment.create(config, str(tmp_path / "lm")).task, LanguageModeling)
    (tmp_path / "pairs.csv").write_text("q,a\n" + "hello there,你好\n" * 9, encoding="utf-8")
    pairs = override(
        load_preset("tiny_pairs"),
        [
            "data.source=csv",
            f"data.path={tmp_path}/pairs.csv",
            "data.source_column=q",
            "data.target_column=a",
            "tokenizer.kind=byte",
        ],
    )
    experiment = Experiment.create(pairs, str(tmp_path / "pairs"))
    assert isinstance(experiment.task, Pairs)
    assert experiment.task.max_length == 64


def store_values(config, workdir):
    return np.asarray(Experiment(config, str(workdir)).store("train").values("token_ids"))


def test_a_store_is_used_again_while_nothing_it_depends_on_changes(experiment, config, monkeypatch):
    first = store_values(config, experiment.workdir)
    monkeypatch.setattr("tflm.tasks.LanguageModeling.encode", None)
    same = override(config, ["training.seed=3", "model.num_layers=2", "decoding.top_k=5"])
    np.testing.assert_array_equal(store_values(same, experiment.workdir), first)


@pytest.mark.parametrize(
    "assignment", ["data.eval_fraction=0.5", "task.mark_documents=false", "model.max_length=24"]
)
def test_a_store_is_built_again_when_something_it_depends_on_changes(experiment, config, assignment):
    first = store_values(config, experiment.workdir)
    os.utime(f"{experiment.workdir}/data/train/store.json", ns=(0, 0))  # a file system may tell whole seconds
    changed = store_values(override(config, [assignment]), experiment.workdir)
    assert os.stat(f"{experiment.workdir}/data/train/store.json").st_mtime_ns > 0
    assert len(first) != len(changed) or assignment.startswith("model")


def test_a_store_is_built_again_for_another_vocabulary(experiment, config):
    store_values(config, experiment.workdir)
    os.utime(f"{experiment.workdir}/data/train/store.json", ns=(0, 0))  # a file system may tell whole seconds
    with open(f"{experiment.workdir}/tokenizer/tokenizer.json", "a", encoding="utf-8") as file:
        file.write(" ")
    store_values(config, experiment.workdir)
    assert os.stat(f"{experiment.workdir}/data/train/store.json").st_mtime_ns > 0


def test_train_and_eval_are_stores_of_their_own(experiment):
    texts = set()
    for split in ("train", "eval"):
        store = experiment.store(split)
        decoded = experiment.tokenizer.detokenize([store.values("token_ids")]).numpy()[0].decode()
        texts.add(decoded)
        assert "第" in decoded
    assert len(texts) == 2
    assert experiment.config.data.has_eval
    assert not override(experiment.config, ["data.eval_fraction=0"]).data.has_eval


def test_trained_model_is_that_of_the_checkpoint_in_float32(trained):
    model, step = trained.trained_model()
    assert step == 2 and {variable.dtype for variable in model.trainable_variables} == {"float32"}
    trainer = trained.trainer()
    assert trainer.train(trained.batches("train", training=True), None) == {}, "nothing left to do"
    for ours, theirs in zip(model.trainable_variables, trainer.model.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_checkpoint_that_is_not_there(trained):
    with pytest.raises(UserError, match=r"no checkpoint of step 1 in .*; available steps: 2."):
        trained.trained_model(1)
