"""Runs of models that read counted n-grams: counted once, kept in the checkpoint, exported, and asked for in vain."""

import numpy as np
import pytest
import tensorflow as tf

import tflm
from tflm.config import override, to_dict
from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.tasks import language_modeling

COUNTED = ["model.ngram_contexts=[1,2,4]", "model.ngram_cells=4096"]


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """Trained for two steps, with what was said, and how often n-grams were counted."""
    run = Experiment.create(config, str(tmp_path_factory.mktemp("counted") / "run"), settings=COUNTED)
    said = []
    run.train("one_device", said.append)
    return run, said


def test_ngrams_are_counted_once(run, monkeypatch):
    run, said = run
    assert any(line.startswith("n-grams: ") and "after 1, 2, 4 tokens counted" in line for line in said)
    table = np.array(run.trained_model()[0].ngram_embedding.table)
    assert np.count_nonzero(table) > 100

    def count(*arguments):
        raise AssertionError("counted again")

    monkeypatch.setattr(language_modeling, "count_ngrams", count)
    again = Experiment.open(run.workdir)
    trainer = again.trainer()
    assert trainer.restore() == 2
    np.testing.assert_array_equal(np.array(trainer.model.ngram_embedding.table), table)


def greedy(run, text, count):
    """What whole passes over ever longer texts give."""
    model, task = run.trained_model()[0], run.task
    never = [task.tokenizer.pad_id, *task.suppressed_ids()]
    (prompt,) = task.prompts(tf.constant([text]), tf.constant([count])).rows.to_list()
    written = []
    for _ in range(count):
        logits = np.array(model(np.array([prompt + written], np.int32)))[0, -1]
        logits[never] = -np.inf
        written.append(int(logits.argmax()))
        if written[-1] in task.tokenizer.end_ids:
            break
    return task.tokenizer.detokenize(tf.constant([written])).numpy()[0].decode()


def test_an_export_reads_the_same_ngrams(run, tmp_path):
    """Token by token, with the last ones in the state that goes from request to request."""
    run, _ = run
    run.export(str(tmp_path / "poet"), only=["prefill", "decode"])
    model = tflm.load(str(tmp_path / "poet"))
    for prompt in ("line 1 of", "第", ""):
        pieces = model.stream(prompt, temperature=0.0, max_new_tokens=5, tokens_per_piece=2)
        assert "".join(pieces) == greedy(run, prompt, 5)


def test_a_task_that_counts_none_needs_a_model_that_has_some(config, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "ab\tba\n" * 8, encoding="utf-8")
    settings = [
        "data.source=tsv",
        f"data.path={path}",
        "data.eval_fraction=0",
        "tokenizer.kind=byte",
        *COUNTED,
    ]
    settings += ["data.source_column=source", "data.target_column=target"]
    run = Experiment.create("tiny_pairs", str(tmp_path / "run"), settings=settings)
    with pytest.raises(
        UserError, match=r"model.ngram_contexts=\[1, 2, 4\], but only the task language_modeling"
    ):
        run.trainer()


def test_a_config_without_them_does_not_mention_them(config):
    assert not any(name.startswith("ngram") for name in to_dict(config)["model"])
    assert to_dict(override(config, COUNTED))["model"]["ngram_contexts"] == [1, 2, 4]
