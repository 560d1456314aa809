"""Students and pruned models as runs: exact resume, alpha 0, zeros that stay, what is refused."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from tflm.compression import DistillationConfig, PruningConfig
from tflm.compression.magnitude import prunable
from tflm.config import override
from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.compress_run import distilled, pruned, share_data
from tflm.experiments.first_weights import KEPT_FILE
from tflm.experiments.teaching import check_teacher
from tflm.export.weights import read_weights
from tflm.models import TransformerDecoderConfig
from tflm.text import TokenizerConfig

FEW = ("training.num_steps=4", "training.log_every=1", "training.checkpoint_every=2", "training.eval_every=4")


def train(run, *stops):
    """The whole training state after a training that is stopped and resumed at some steps."""
    notes = []
    for stop in (*stops, None):
        trainer = Experiment.open(run.workdir).trainer(note_fn=notes.append)
        trainer.train(run.batches("train", training=True), None, stop_at=stop, note_fn=notes.append)
    return {name: np.array(value) for name, value in trainer._state().items()}, trainer, notes


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.fixture(autouse=True, scope="module")
def known_peak():
    """That of this machine takes a second to measure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tflm.training.trainer.peak_flops", lambda dtype: 1e12)
        yield


@pytest.fixture(scope="module")
def teacher(trained_once):
    """An LSTM of the bytes of a poem in English and Chinese, after two steps."""
    return Experiment.open(trained_once)


@pytest.fixture(scope="module")
def small(teacher, tmp_path_factory):
    """A pruned student of half the width's teacher: its run, state and trainer, uninterrupted."""
    config = pruned(teacher, share=0.5, settings=[*FEW, "pruning.end=0.75"])
    config = distilled(teacher, settings=["distillation.hidden=0.1"], config=config)
    run = Experiment.create(config, str(tmp_path_factory.mktemp("small") / "run"))
    share_data(run, teacher)
    return (run, *train(run))


def test_the_vocabulary_and_the_data_are_the_teachers(small, teacher):
    run = small[0]
    assert run.config.distillation == DistillationConfig(teacher.workdir, "2", hidden=0.1)
    assert run.config.pruning == PruningConfig(teacher.workdir, "2", end=0.75)
    for folder, _, names in os.walk(f"{run.workdir}/tokenizer"):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as one, open(path.replace(run.workdir, teacher.workdir), "rb") as other:
                assert one.read() == other.read()
    assert os.listdir(f"{run.workdir}/data/train")


def test_a_resumed_run_is_the_uninterrupted_one(small, tmp_path):
    run, state, _, _ = small
    again = Experiment.create(run.config, str(tmp_path / "run"))
    found, _, _ = train(again, 2)
    assert_same(found, state)


def test_pruned_weights_are_zero_in_the_state_and_in_the_export(small, tmp_path):
    run, state, trainer, notes = small
    assert "step 3: " in "".join(notes) and "(50.0%)" in "".join(notes)
    path = run.export(str(tmp_path / "export"), only=["score"])
    exported = read_weights(path)
    for kernel in prunable(trainer.model):
        mask = state[f"pruning/{kernel.path}"]
        assert np.mean(mask) == pytest.approx(0.5, abs=1e-3)
        assert np.count_nonzero(state[f"model/{kernel.path}"][~mask]) == 0
        assert np.count_nonzero(np.asarray(exported[kernel.path])[~mask]) == 0
        assert np.count_nonzero(np.asarray(exported[kernel.path])[mask]) > 0.99 * np.count_nonzero(mask)


def test_with_alpha_0_training_is_the_plain_one_bit_for_bit(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(DistillationConfig, "reads_teacher", property(lambda config: config.is_on))
    config = distilled(
        teacher, settings=["training.num_steps=2", "distillation.alpha=0", "model.hidden_dim=8"]
    )
    plain = dataclasses.replace(config, distillation=DistillationConfig())
    states = []
    for name, each in (("student", config), ("plain", plain)):
        run = Experiment.create(each, str(tmp_path / name))
        shutil.copytree(f"{teacher.workdir}/tokenizer", f"{run.workdir}/tokenizer")
        states.append(train(run)[0])
    assert_same(*states)


def test_heads_and_layers_are_removed_and_the_run_goes_on(teacher, tmp_path):
    model = TransformerDecoderConfig(num_layers=2, hidden_dim=16, num_heads=4, max_length=16)
    config = override(dataclasses.replace(teacher.config, model=model), ["training.num_steps=1"])
    big = Experiment.create(config, str(tmp_path / "big"))
    train(big)
    structure = ("heads", "layers", "units")
    config = pruned(big, structure=structure, settings=["training.num_steps=1", "pruning.batches=2"])
    sizes = config.model
    assert (sizes.num_layers, sizes.num_heads, sizes.head_width, sizes.intermediate_dim) == (1, 2, 4, 24)
    run = Experiment.create(config, str(tmp_path / "small"))
    _, trainer, notes = train(run)
    assert "step 1, 10,912 parameters before and 5,888 after" in "".join(notes)
    assert trainer.model.num_parameters() == 5888
    with open(f"{run.workdir}/{KEPT_FILE}", encoding="utf-8") as file:
        (kept,) = json.load(file).values()
    assert len(kept["layers"]) == 1 and len(kept["heads"][0]) == 2 and len(kept["units"][0]) == 24
    assert Experiment.open(run.workdir).trained_model()[0].num_parameters() == trainer.model.num_parameters()


def test_what_is_refused(teacher, tmp_path):
    with pytest.raises(UserError, match=r"there is no teacher in 'runs/none'\. Give the folder of a run"):
        distilled(teacher, teacher="runs/none")
    with pytest.raises(UserError, match=r"1 layer, which cannot be halved"):
        distilled(teacher)
    with pytest.raises(UserError, match=r"ema_decay averages weights from before"):
        pruned(teacher, settings=["training.ema_decay=0.9"])
    with pytest.raises(UserError, match=r"structure=\['heads'\] is for Transformers"):
        pruned(teacher, structure=["heads"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"max_length": 32}}, "reads 32 tokens .* and the teacher .* 16. Set model.max_length=16"),
        ({"tokenizer": TokenizerConfig(kind="character")}, "has another vocabulary .byte, 261 tokens."),
    ],
)
def test_a_teacher_that_does_not_fit(teacher, tmp_path, changes, words):
    config = distilled(teacher, settings=["model.hidden_dim=8"])
    for name, own in changes.items():
        own = dataclasses.replace(getattr(config, name), **own) if isinstance(own, dict) else own
        config = dataclasses.replace(config, **{name: own})
    config = dataclasses.replace(config, distillation=dataclasses.replace(config.distillation, alpha=0.0))
    run = Experiment.create(config, str(tmp_path / "run"))  # with alpha 0, its vocabulary is its own
    with pytest.raises(UserError, match=words):
        check_teacher(run, teacher)
