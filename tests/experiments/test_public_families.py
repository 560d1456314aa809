"""Each family the whole way, on a tiny checkpoint: imported, fine-tuned with and without adapters, exported, written
for transformers and imported again."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.experiments import tiny_checkpoints as tiny
from tflm.experiments import Experiment, automatic
from tflm.experiments.import_run import import_checkpoint
from tflm.experiments.public_export import write_adapter, write_public

FAMILIES = ("roberta", "xlm_roberta", *tiny.ENCODERS, "gpt2", *tiny.DECODERS, "t5", "mt5")
FEW = ("num_steps=2", "warmup_steps=1", "global_batch_size=2", "peak_learning_rate=0.01", "eval_every=2")
TASKS = {
    "masked_language_modeling": ("classification", "films.tsv", "serving_default"),
    "similarity": ("classification", "films.tsv", "serving_default"),
    "language_modeling": ("language_modeling", "lines.txt", "score"),
    "chat": ("chat", "talk.jsonl", "score"),
    "pairs": ("pairs", "pairs.tsv", "score"),
}
"""Of an imported run: what it is tuned for, on which data, and the signature that is exported."""


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory):
    """A folder with a few lines for each task."""
    folder = tmp_path_factory.mktemp("data")
    talk = [
        {
            "messages": [
                {"role": "user", "content": f"你好 {n}"},
                {"role": "assistant", "content": "Hello!"},
            ]
        }
        for n in range(8)
    ]
    files = {
        "films.tsv": [
            "text\tlabel",
            *(f"film {n} is {mood}" for n in range(4) for mood in ("good\t好", "bad\t坏")),
        ],
        "lines.txt": [f"Hello there {n}, 你好！" for n in range(40)],
        "pairs.tsv": ["source\ttarget", *(f"the good {n}\t你好 {n}" for n in range(8))],
        "talk.jsonl": [json.dumps(row, ensure_ascii=False) for row in talk],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def body_weights(run):
    """Path to value of the body, with adapters merged."""
    model = run.trained_model()[0]
    body = getattr(model, "body", model)
    return {variable.path: np.array(variable) for variable in body.weights}


def check_gradients(run):
    """Every variable that is trained has a gradient in one batch."""
    model = run.trainer().model
    dataset = run.batches("train", training=True).dataset()
    batch = next(iter(dataset))
    with tf.GradientTape() as tape:
        loss, _ = run.task.loss(model, batch, training=True)
    variables = [variable.value for variable in model.trainable_variables]
    for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None, variable.path
        found = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(found).all() and np.abs(found).max() > 0, variable.path


@pytest.mark.filterwarnings("ignore:.*run_functions_eagerly:UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_way(family, data, tmp_path):
    path = tiny.of_family(tmp_path / "folder", family)
    imported = import_checkpoint(path, str(tmp_path / "imported"))
    kind, name, signature = TASKS[imported.config.task.kind]
    assert kind == "chat" or family not in tiny.DECODERS
    few = [f"training.{setting}" for setting in FEW]

    config = automatic(kind, str(data / name), "", few, imported.workdir)
    check_gradients(Experiment.create(config, str(tmp_path / "whole")))

    config = automatic(kind, str(data / name), "", [*few, "fine_tuning.lora_rank=2"], imported.workdir)
    run = Experiment.create(config, str(tmp_path / "tuned"))
    tf.config.run_functions_eagerly(True)  # two steps are faster than their graph
    try:
        run.trainer().train(run.batches("train", training=True), None)
    finally:
        tf.config.run_functions_eagerly(False)
    before, after = body_weights(imported), body_weights(run)
    changed = {name for name, value in before.items() if not np.array_equal(value, after[name])}
    adapted = run.adapted_model()[0]
    layers = {f"{layer.path}/kernel" for layer in getattr(adapted, "body", adapted).adapted_layers()}
    assert changed == layers

    if family != "gpt2":  # whose adapters PEFT cannot express: tests/models/checkpoints/test_peft_adapter.py
        folder = write_adapter(run, str(tmp_path / "adapter"))
        with open(f"{folder}/adapter_config.json", encoding="utf-8") as file:
            assert json.load(file)["base_model_name_or_path"] == path

    run.export(str(tmp_path / "exported"), only=[signature])  # compares its answers with those in memory
    again = import_checkpoint(write_public(run, str(tmp_path / "written")), str(tmp_path / "again"))
    assert (again.config.task, again.config.model) == (imported.config.task, imported.config.model)
    assert again.tokenizer.vocab_size == imported.tokenizer.vocab_size
    for name, value in body_weights(again).items():
        np.testing.assert_allclose(value, after[name], atol=1e-6, err_msg=name)
