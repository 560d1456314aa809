"""Pretrain, then fine-tune: what is taken from a run or an export, what is new, what is refused, and going on."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import tflm.export.write
from tflm.config import override
from tflm.data import DataConfig
from tflm.errors import UserError
from tflm.experiments import Experiment, ExperimentConfig
from tflm.experiments.export_run import publish
from tflm.experiments.warm_start import check_fits, load_body, open_source
from tflm.generation import DecodingConfig
from tflm.layers import PooledHead
from tflm.models import HeadModel, LSTMConfig, TransformerDecoderConfig, TransformerEncoderConfig, build_model
from tflm.tasks import ClassificationConfig, PairsConfig
from tflm.text import TokenizerConfig, load_tokenizer
from tflm.text.word_vectors import write_word_vectors
from tflm.training import FineTuningConfig, TrainingConfig

LINES = [f"{mood} line {n} of a poem, 第{n}行诗" for n in range(20) for mood in ("good", "bad")]
BODY = TransformerDecoderConfig(
    num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=12, max_length=24, activation="relu"
)
UNTIED = dataclasses.replace(BODY, tied_output=False)
TRAINING = TrainingConfig(num_steps=4, global_batch_size=4, warmup_steps=1, log_every=2, checkpoint_every=2)


def trained(config, workdir, stop_at=None, notes=None):
    """The run in `workdir`, created or resumed, and trained."""
    experiment = Experiment.create(config, str(workdir))
    trainer = experiment.trainer(note_fn=None if notes is None else notes.append)
    trainer.train(experiment.batches("train", training=True), None, stop_at=stop_at)
    return experiment, trainer


def values(model):
    return {variable.path: np.array(variable) for variable in model.weights}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """`poem`: a config of plain text. `moods`: the same lines with a label. `pairs`: two columns."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "poem.txt").write_text("\n".join(LINES), encoding="utf-8")
    rows = [f"{line.split(' ', 1)[0]}\t{line}" for line in LINES]
    (folder / "moods.tsv").write_text("\n".join(["mood\ttext", *rows]), encoding="utf-8")
    table = {"source": "tsv", "path": f"{folder}/moods.tsv", "eval_fraction": 0.0}
    return {
        "poem": DataConfig(path=f"{folder}/poem.txt", eval_fraction=0.0),
        "moods": DataConfig(**table, text_column="text", label_column="mood"),
        "pairs": DataConfig(**table, source_column="mood", target_column="text"),
    }


@pytest.fixture(scope="module")
def make(data):
    """make("moods", **fields): the config of an experiment on that data."""
    tasks = {
        "moods": ClassificationConfig(dropout=0.0),
        "pairs": PairsConfig(max_source_length=6, max_target_length=12),
    }

    def make(name, **fields):
        task = {"task": tasks[name]} if name in tasks else {}
        defaults = {"tokenizer": TokenizerConfig(kind="byte"), "model": BODY, "training": TRAINING, **task}
        decoding = DecodingConfig(max_new_tokens=2)
        return ExperimentConfig(name=name, data=data[name], decoding=decoding, **{**defaults, **fields})

    return make


@pytest.fixture(scope="module", autouse=True)
def no_verification():
    """tests/apps exports in earnest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflm.export.write, "verify_export", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def pretrained(make, tmp_path_factory):
    """A language model with an output layer of its own: its run, its export (the newest of two versions), and its
    weights."""
    folder = tmp_path_factory.mktemp("pretrained")
    experiment, trainer = trained(make("poem", model=UNTIED), folder / "run")
    publish(experiment, str(folder / "models/poet/2"), only=["score"])
    shutil.copytree(folder / "models/poet/2", folder / "models/poet/1")
    shutil.rmtree(folder / "models/poet/1/variables")
    return {
        "run": str(folder / "run"),
        "export": str(folder / "models/poet"),
        "version": str(folder / "models/poet/2"),
        "weights": values(trainer.model),
    }


@pytest.fixture(scope="module")
def classifier(make, pretrained, tmp_path_factory):
    """The pretrained body under a classification head, trained; its run and its export."""
    folder = tmp_path_factory.mktemp("classifier")
    experiment, _ = trained(make("moods", init_from=pretrained["run"]), folder / "run")
    publish(experiment, str(folder / "models/moods"))
    return {"run": str(folder / "run"), "export": str(folder / "models/moods")}


@pytest.mark.parametrize("source", ["run", "export", "version"])
def test_from_a_language_model_to_a_classifier(make, pretrained, tmp_path, source):
    notes = []
    experiment = Experiment.create(make("moods", init_from=pretrained[source]), str(tmp_path / "run"))
    model = experiment.trainer(note_fn=notes.append).model
    fresh = values(Experiment(make("moods"), experiment.workdir).trainer().model)
    matched = 0
    for path, value in values(model).items():
        if path.startswith("transformer_decoder/"):
            np.testing.assert_array_equal(value, pretrained["weights"][path], err_msg=path)
            matched += 1
        else:
            np.testing.assert_array_equal(value, fresh[path], err_msg=path)
    assert matched == len(pretrained["weights"]) - 1
    (head,) = {p.rpartition("/")[0] for p in fresh if p.endswith("output/bias")}
    assert notes == [
        f"initial weights from {pretrained[source]}: {matched} matched, 2 new ({head}), "
        "1 left (transformer_decoder/head)"
    ]


@pytest.mark.parametrize("source", ["run", "export"])
@pytest.mark.parametrize("task, model, new", [("moods", BODY, 2), ("poem", BODY, 0), ("pairs", UNTIED, 1)])
def test_from_a_classifier_its_head_is_left(make, classifier, tmp_path, source, task, model, new):
    """Even where the new task has a head of the same name and shape."""
    notes = []
    config = make(task, model=model, init_from=classifier[source])
    found = values(Experiment.create(config, str(tmp_path / "run")).trainer(note_fn=notes.append).model)
    expected = values(Experiment.open(classifier["run"]).trained_model()[0])
    same = [path for path in expected if path in found and np.array_equal(found[path], expected[path])]
    assert all(path in same for path in expected if path.startswith("transformer_decoder/"))
    assert not [path for path in same if path.endswith("output/kernel") and path.startswith("classification")]
    assert f" {new} new" in notes[0] and " 2 left (classification_head/" in notes[0]


def test_between_language_models_the_output_layer_goes_along(make, pretrained, tmp_path):
    notes = []
    experiment = Experiment.create(
        make("pairs", model=UNTIED, init_from=pretrained["export"]), str(tmp_path / "run")
    )
    assert_equal(values(experiment.trainer(note_fn=notes.append).model), pretrained["weights"])
    assert notes == [f"initial weights from {pretrained['export']}: 11 matched, 0 new, 0 left"]


def test_the_vocabulary_is_that_of_the_source(make, pretrained, tmp_path):
    """The recipe's own is not trained; that is said."""
    notes = []
    config = make("moods", tokenizer=TokenizerConfig(vocab_size=300), init_from=pretrained["version"])
    experiment = Experiment.create(config, str(tmp_path / "run"))
    experiment.trainer(note_fn=notes.append)
    assert notes[0].splitlines()[1:] == [
        "the vocabulary is theirs (byte, 261 tokens, special ones: separator), not that of the recipe."
    ]
    kept = load_tokenizer(f"{experiment.workdir}/tokenizer")
    assert kept.config == load_tokenizer(f"{pretrained['run']}/tokenizer").config
    assert kept.tokenize(["诗"]).to_list() == experiment.tokenizer.tokenize(["诗"]).to_list()


def test_a_special_token_that_the_task_needs_and_the_vocabulary_lacks(make, tmp_path):
    bare = make("poem", tokenizer=TokenizerConfig(kind="byte", special_tokens=()))
    assert Experiment.create(bare, str(tmp_path / "bare")).tokenizer.special_tokens == {}
    experiment = Experiment.create(make("pairs", init_from=f"{tmp_path}/bare"), str(tmp_path / "pairs"))
    with pytest.raises(UserError, match=r"the special token 'separator'; it has \[\]"):
        experiment.trainer()


def test_the_weights_are_loaded_once_and_the_source_is_not_needed_again(
    make, pretrained, classifier, tmp_path
):
    """To the last bit what an uninterrupted run gives."""
    shutil.copytree(pretrained["run"], tmp_path / "source")
    config = make("moods", init_from=f"{tmp_path}/source")
    trained(config, tmp_path / "parts", stop_at=2)
    shutil.rmtree(tmp_path / "source")
    notes = []
    _, parts = trained(config, tmp_path / "parts", notes=notes)
    assert notes == []
    assert_equal(values(parts.model), values(Experiment.open(classifier["run"]).trained_model()[0]))


def test_before_its_first_checkpoint_a_run_begins_with_them_again(make, pretrained, tmp_path):
    config = make("poem", model=UNTIED, init_from=pretrained["run"])
    Experiment.create(config, str(tmp_path / "run"))
    again = Experiment.create(config, str(tmp_path / "run"))
    assert_equal(values(again.trainer().model), pretrained["weights"])


def test_adapters_are_merged_into_a_plain_model(make, pretrained, tmp_path):
    """In `trained_model`, in an export, and in what begins with that export."""
    tuning = FineTuningConfig(lora_rank=2, lora_alpha=4.0)
    training = dataclasses.replace(TRAINING, peak_learning_rate=0.05)
    config = make("moods", init_from=pretrained["run"], fine_tuning=tuning, training=training)
    notes = []
    experiment, trainer = trained(config, tmp_path / "run", notes=notes)
    assert "new (adapters" in notes[0]
    merged, step = experiment.trained_model()
    assert step == 4 and merged.num_parameters() > trainer.model.num_parameters()
    frozen = values(trainer.model)
    assert not [path for path in values(merged) if "lora" in path]
    kernel = "transformer_decoder/decoder/block_0/attention/query/kernel"
    np.testing.assert_array_equal(frozen[kernel], pretrained["weights"][kernel])
    assert np.abs(values(merged)[kernel] - frozen[kernel]).max() > 1e-3
    tokens = np.array([[1, 70, 71, 200], [1, 90, 0, 0]], np.int32)
    expected = trainer.model(tokens).numpy()
    assert np.abs(merged(tokens).numpy() - expected).max() < 1e-5 * np.abs(expected).max()

    path = publish(experiment, str(tmp_path / "models/tuned"))
    with open(f"{path}/assets.extra/weights.json", encoding="utf-8") as file:
        names = json.load(file)
    assert len(tf.train.list_variables(f"{path}/variables/variables")) == len(names) + 1  # the object graph
    assert not [name for name in names if "lora" in name]
    again = Experiment.create(make("poem", init_from=str(tmp_path / "models/tuned")), str(tmp_path / "again"))
    np.testing.assert_array_equal(values(again.trainer().model)[kernel], values(merged)[kernel])
    third = Experiment.create(make("poem", init_from=str(tmp_path / "run")), str(tmp_path / "third"))
    np.testing.assert_array_equal(values(third.trainer().model)[kernel], values(merged)[kernel])


def test_what_is_frozen_is_a_part_of_the_config(make, pretrained, tmp_path):
    config = make("moods", init_from=pretrained["export"], fine_tuning=FineTuningConfig(freeze="body"))
    trainer = Experiment.create(config, str(tmp_path / "run")).trainer()
    assert [v.path.rpartition("/")[2] for v in trainer.model.trainable_variables] == ["kernel", "bias"]
    assert trainer.num_frozen == sum(v.size for p, v in pretrained["weights"].items() if "/head/" not in p)


def test_another_source_or_tuning_is_another_config(make, pretrained, tmp_path):
    config = make("moods", init_from=pretrained["run"])
    checkpoints = Experiment.create(config, str(tmp_path)).trainer().checkpoints
    checkpoints.save(1)
    checkpoints.wait()
    for assignment, words in (
        ("init_from=other", "init_from was '.*', is 'other'"),
        ("fine_tuning.freeze=body", "fine_tuning.freeze was 'none', is 'body'"),
    ):
        with pytest.raises(UserError, match=words):
            Experiment.create(override(config, [assignment]), str(tmp_path))


REFUSED = {
    "other sizes": (
        dataclasses.replace(BODY, num_layers=3, hidden_dim=16, qk_norm=True),
        r"does not fit: model.hidden_dim is 8 there and 16 here; model.num_layers is 1 there and 3 here; "
        r"model.qk_norm is False there and True here. To take it: --set model.hidden_dim=8 --set model.num_layers=1 "
        r"--set model.qk_norm=false",
    ),
    "the same shapes with another meaning": (
        dataclasses.replace(BODY, num_heads=4, activation="gelu"),
        r"model.num_heads is 2 there and 4 here; model.activation is 'relu' there and 'gelu' here. To take it: --set "
        r"model.num_heads=2 --set model.activation=relu",
    ),
    "another kind": (
        LSTMConfig(hidden_dim=8, num_layers=1),
        r"is a model of the kind 'transformer_decoder'; model.kind is 'lstm' here. Choose a preset with the same kind",
    ),
}


@pytest.mark.parametrize("source", ["run", "export"])
@pytest.mark.parametrize("model, words", REFUSED.values(), ids=REFUSED)
def test_a_body_that_does_not_fit_is_refused_before_anything_is_written(
    make, pretrained, tmp_path, source, model, words
):
    with pytest.raises(UserError, match=words):
        Experiment.create(make("poem", model=model, init_from=pretrained[source]), str(tmp_path / "run"))
    assert not os.path.exists(tmp_path / "run")


def test_what_need_not_agree(make, pretrained):
    free = dataclasses.replace(
        BODY, max_length=99, dropout=0.3, attention_dropout=0.1, initializer_range=1.0, zero_residual=True
    )
    check_fits(open_source(pretrained["run"]), free)
    learned = open_source(pretrained["run"])
    learned.model["positions"] = "learned"
    with pytest.raises(UserError, match=r"model.max_length is 24 there and 99 here"):
        check_fits(learned, dataclasses.replace(free, positions="learned"))


def test_nothing_to_begin_with(make, pretrained, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in ("nowhere", "empty"):
        with pytest.raises(
            UserError, match=rf"init_from='.*{path}' holds no weights to begin with: .* of an export"
        ):
            Experiment.create(make("poem", init_from=f"{tmp_path}/{path}"), str(tmp_path / "run"))
    untrained = Experiment.create(make("poem"), str(tmp_path / "untrained"))
    with pytest.raises(UserError, match=r"has no vocabulary: no folder '.*/tokenizer'. Train it first."):
        open_source(untrained.workdir)
    assert untrained.tokenizer
    experiment = Experiment.create(make("moods", init_from=untrained.workdir), str(tmp_path / "run"))
    with pytest.raises(UserError, match="untrained' has no checkpoint yet"):
        experiment.trainer()


def test_an_export_of_an_older_tflm(make, pretrained, tmp_path):
    shutil.copytree(pretrained["version"], tmp_path / "old")
    shutil.rmtree(tmp_path / "old/assets.extra/tokenizer")
    with pytest.raises(UserError, match=r"It was exported by an older tflm: export its run again."):
        open_source(str(tmp_path / "old"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_cannot_begin_with_what_it_would_remove(make, pretrained, tmp_path, overwrite):
    shutil.copytree(pretrained["run"], tmp_path / "runs/first")
    for workdir in ("runs", "runs/first") if overwrite else ("runs",):
        with pytest.raises(UserError, match=r"is in the run's own folder. Give another --workdir."):
            config = make("poem", init_from=f"{tmp_path}/runs/first")
            Experiment.create(config, f"{tmp_path}/{workdir}", overwrite=overwrite)
    assert os.path.exists(tmp_path / "runs/first/config.json")


ENCODER = TransformerEncoderConfig(vocab_size=9, num_layers=2, hidden_dim=8, num_heads=2, positions="learned")


@pytest.mark.parametrize(
    "fields, words",
    [
        (
            {"vocab_size": 11},
            r"token_embedding/embeddings is \[9, 8\] there and \[11, 8\] here \(model.vocab_size\)",
        ),
        ({"hidden_dim": 4}, r"there and \[.*4.*\] here"),
        ({"num_layers": 3}, r"encoder/block_2/.* is absent there and \[8, 8\] here \(model.num_layers\)"),
        ({"num_layers": 1}, r"encoder/block_1/.* is \[8, 8\] there and absent here \(model.num_layers\)"),
        (
            {"max_length": 32},
            r"position_embedding/embeddings is \[256, 8\] there and \[32, 8\] here \(model.max_length\)",
        ),
        ({"num_segments": 0}, r"segment_embedding/embeddings is \[2, 8\] there and absent here"),
    ],
)
def test_shapes_are_compared_variable_by_variable(fields, words):
    """Whatever the configs said. A model that is refused keeps its values."""
    model = build_model(dataclasses.replace(ENCODER, **fields))
    before = values(model)
    with pytest.raises(
        UserError, match=f"the weights of init_from='runs/a' do not fit this model: .*{words}"
    ):
        load_body(model, "runs/a", values(build_model(ENCODER)))
    assert_equal(values(model), before)


def test_an_encoders_transform_goes_along_under_another_head():
    """It is not trained there, and is written with the body for transformers."""
    source = build_model(ENCODER)
    model = HeadModel(build_model(ENCODER), PooledHead(2, name="classification_head"))
    line = load_body(model, "runs/bert", values(source))
    assert line.endswith(" 2 new (classification_head/output), 0 left")
    assert_equal(
        {path: value for path, value in values(model).items() if "/head_" in path},
        {path: value for path, value in values(source).items() if "/head_" in path},
    )
    # And an export of that classifier, which lacks them, fits a model that has them.
    exported = {path: value for path, value in values(model).items() if "/head_" not in path}
    line = load_body(build_model(ENCODER), "runs/classifier", exported)
    assert " 3 new (transformer_encoder/head_norm, transformer_encoder/head_transform), 2 left " in line


@pytest.mark.parametrize("binary", [False, True])
def test_an_embedding_begins_with_word_vectors(make, tmp_path, binary):
    tokenizer = TokenizerConfig(kind="character", vocab_size=300)
    rows = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    path = str(tmp_path / "vectors")
    write_word_vectors(path, ["第", "诗", "猫"], rows, binary)
    config = make("poem", tokenizer=tokenizer, word_vectors=path)
    experiment, notes = Experiment.create(config, str(tmp_path / "run")), []
    trainer = experiment.trainer(note_fn=notes.append)
    embedding = np.asarray(trainer.model.embedding.embeddings)
    ids = [int(experiment.tokenizer.tokenize(tf.constant([text])).flat_values[0]) for text in ("第", "诗")]
    np.testing.assert_array_equal(embedding[ids], rows[:2])
    vocab_size = experiment.tokenizer.vocab_size
    assert notes == [f"word vectors from {path}: 2 of {vocab_size} tokens have theirs"]
    others = np.delete(embedding, ids, axis=0)
    assert 0.5 < others.std() / rows[:2].std() < 2.0  # as wide as the file's
    # Once there is a checkpoint, the file is not needed any more.
    trainer.train(experiment.batches("train", training=True), None, stop_at=2)
    os.remove(path)
    again = Experiment.create(config, str(tmp_path / "run")).trainer()
    assert again.checkpoints.restore() == 2


def test_word_vectors_of_another_width(make, tmp_path):
    path = str(tmp_path / "vectors")
    write_word_vectors(path, ["第"], np.ones([1, 3], np.float32))
    config = make("poem", tokenizer=TokenizerConfig(kind="character", vocab_size=300), word_vectors=path)
    with pytest.raises(UserError, match=r"have 3 numbers each.* has 8\. Set model\.hidden_dim=3"):
        Experiment.create(config, str(tmp_path / "run")).trainer()


def test_word_vectors_that_are_not_there_or_beside_weights(make, pretrained, tmp_path):
    with pytest.raises(UserError, match="word_vectors='nowhere' is no file"):
        Experiment.create(make("poem", word_vectors="nowhere"), str(tmp_path / "run"))
    with pytest.raises(UserError, match="both say what the embedding begins with"):
        Experiment.create(
            make("poem", init_from=pretrained["run"], word_vectors="a.txt"), str(tmp_path / "run")
        )
    assert not (tmp_path / "run").exists()
