"""Classifiers with n-grams from the file to the export: alone and with a network, in English and Chinese."""

import itertools
import os

import numpy as np
import pytest

import tflm
from tflm.errors import UserError
from tflm.experiments import Experiment
from tflm.experiments.auto_recipe import automatic
from tflm.tasks.features import ngram_fit

STEMS = {
    "english": ["the film", "this book", "a hotel", "the music", "that phone", "our guide", "my room"],
    "chinese": ["手机", "这本书", "酒店", "音乐", "衣服", "导游", "房间"],
}
GOOD = {"english": ["is great", "was fine", "I like it!"], "chinese": ["真不错", "很好", "喜欢！"]}
BAD = {"english": ["is awful", "was poor", "never again"], "chinese": ["真糟糕", "很差", "不再来"]}
SMALL = [
    "model.kind=skip_gram",  # the network that is traced soonest
    "model.hidden_dim=8",
    "training.num_steps=4",
    "training.warmup_steps=1",
    "training.eval_every=2",
]
ALONE = ["model.kind=ngram"]


def write(folder, language):
    rows = [
        f"{stem}{' ' * (language == 'english')}{end}\t{label}"
        for label, ends in (("good", GOOD[language]), ("bad", BAD[language]))
        for stem, end in itertools.product(STEMS[language], ends)
    ]
    path = folder / f"{language}.tsv"
    path.write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    return str(path)


def begin(folder, language, settings, name="run"):
    path = write(folder, language)
    settings = ["task.ngram_buckets=1024", "training.global_batch_size=8", *settings]
    return Experiment.create(automatic("classification", path, settings=settings), str(folder / name))


@pytest.mark.parametrize(
    "language, settings", [("chinese", ALONE), ("english", [*SMALL, "training.minutes=100"])]
)
def test_it_is_trained_evaluated_and_exported(tmp_path, language, settings):
    said = []
    run = begin(tmp_path, language, settings)
    assert run.config.task.ngrams == ("characters" if language == "chinese" else "words")
    run.train("one_device", said.append)
    assert any("training texts, a linear classifier in" in line for line in said)
    assert any("training texts that the network does not see" in line for line in said) == (
        settings is not ALONE
    )
    assert any("all 4 steps fit into 100 minutes" in line for line in said) == (settings is not ALONE)
    texts = [f"{STEMS[language][0]} {GOOD[language][0]}", BAD[language][2], "", "☃ 12345 ☃", "好" * 5000]
    inside = run.task.signatures(run.trained_model()[0])["classify"](np.array(texts))
    path = run.export(
        str(tmp_path / "export"), only=["classify", "serving_default"]
    )  # audited, and run elsewhere
    model = tflm.load(path)
    found = model.classify(texts)
    assert [each.label for each in found[:2]] == ["good", "bad"]
    for each, scores in zip(found, inside["scores"].numpy(), strict=True):
        np.testing.assert_allclose([each.scores[label] for label in ("bad", "good")], scores, atol=1e-5)
    assert model.classify("").label in ("bad", "good")


def test_a_resumed_run_is_the_same(tmp_path):
    whole, parts = (begin(tmp_path, "chinese", SMALL, name) for name in ("whole", "parts"))
    for run, ends in ((whole, [None]), (parts, [2, None])):
        for stop_at in ends:
            trainer = run.trainer()
            batches, held_out = run.batches("train", training=True), run.batches("eval", training=False)
            trainer.train(batches, held_out, stop_at=stop_at)
            if stop_at:
                os.unlink(f"{run.workdir}/data/train/{ngram_fit._LOGITS_FILE}")  # computed again
    for one, other in zip(whole.trained_model()[0].weights, parts.trained_model()[0].weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)


def test_several_labels_and_pairs(tmp_path):
    rows = [f"{stem} {end}\t{stem}\t{label}" for stem in STEMS["english"] for end, label in
            (("red round", "red|round"), ("red", "red"), ("round", "round"))]  # fmt: skip
    path = tmp_path / "several.tsv"
    path.write_text("\n".join(["text\ttext_pair\tlabel", *rows]) + "\n", encoding="utf-8")
    settings = ["task.label_separator=|", "task.ngram_buckets=1024", "data.eval_fraction=0", *ALONE]
    settings.append('tokenizer.special_tokens=["separator"]')
    run = Experiment.create(automatic("classification", str(path), settings=settings), str(tmp_path / "run"))
    run.train("one_device")
    classify = run.task.signatures(run.trained_model()[0])["classify"]
    found = classify(np.array(["a red round thing", "round"]), np.array(["the film", "a hotel"]))
    assert [label.decode() for label in found["label"].numpy()] == ["red|round", "round"]


def test_a_model_of_ngrams_needs_some(tmp_path):
    run = begin(tmp_path, "english", [*ALONE, "task.ngrams="])
    with pytest.raises(UserError, match=r"needs task.ngrams: words, or characters for Chinese"):
        run.train("one_device")


def test_steps_that_fit_into_minutes(tmp_path):
    said = []
    settings = [*SMALL[:2], "training.num_steps=100000", "training.minutes=0.001", "training.log_every=2"]
    run = begin(tmp_path, "english", settings)
    summary = run.train("one_device", said.append)
    assert any("10 of 100,000 steps fit into 0.001 minutes" in line for line in said)
    assert summary.step == run.config.training.num_steps == 10
    again = begin(tmp_path, "english", settings)
    assert again.config == run.config
    assert again.train("one_device", said.append).step == 10
