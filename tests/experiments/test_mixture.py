"""A run on several sources: exact on resumption, with losses by source, and augmented texts."""

import dataclasses
import json

import numpy as np
import pytest

from tflm.config import from_dict, override, to_dict
from tflm.data import DataConfig, read_examples
from tflm.data.config import MixtureConfig
from tflm.errors import UsageError, UserError
from tflm.evaluation import evaluate
from tflm.experiments import Experiment, ExperimentConfig, automatic
from tflm.recipes import load_preset
from tflm.training import read_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A poem as text, and news as JSON lines."""
    folder = tmp_path_factory.mktemp("sources")
    poem = "\n".join(f"第{number}行诗，春眠不觉晓" for number in range(60))
    (folder / "诗.txt").write_text(poem, encoding="utf-8")
    news = "\n".join(
        json.dumps({"body": f"News number {number} of the day.", "id": number}) for number in range(80)
    )
    (folder / "news.jsonl").write_text(news, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def mixed(config, folder):
    """The config of a run on both."""
    mixture = [
        {"path": f"{folder}/诗.txt", "weight": 3},
        {"path": f"{folder}/news.jsonl", "weight": 1, "source": "jsonl", "text_column": "body"},
    ]
    settings = ["data.path=", f"data.mixture={json.dumps(mixture)}", "training.eval_every=2"]
    # Both in one step: a path and a mixture exclude each other.
    data = dataclasses.replace(
        config.data, path="", mixture=tuple(MixtureConfig(**source) for source in mixture)
    )
    changed = dataclasses.replace(config, data=data)
    assert override(config, settings) == override(changed, settings)
    return override(
        changed,
        [
            "training.num_steps=4",
            "training.eval_every=2",
            "training.checkpoint_every=2",
            "training.keep_best=news_loss",
        ],
    )


def test_a_mixture_goes_through_json(mixed):
    written = json.loads(json.dumps(to_dict(mixed)))
    assert from_dict(ExperimentConfig, written) == mixed
    assert written["data"]["mixture"][0] == {"path": mixed.data.mixture[0].path, "weight": 3.0}
    assert "mixture" not in to_dict(load_preset("tiny_lstm"))["data"]


def test_examples_are_those_of_all_sources(mixed):
    texts = [example["text"] for split in ("train", "eval") for example in read_examples(mixed.data, split)]
    assert len(texts) == 140 and len(set(texts)) == 140
    assert sum("诗" in text for text in texts) == 60
    examples = read_examples(mixed.data, "train")
    assert len(list(examples)) == examples.report.num_examples


def test_a_resumed_run_is_the_uninterrupted_one(mixed, tmp_path):
    said = []
    whole = Experiment.create(mixed, str(tmp_path / "whole"))
    summary = whole.train("one_device", said.append)
    assert any(note.startswith("mixture: 诗 75.0% (") and ", news 25.0% (" in note for note in said)
    assert {"诗_loss", "news_loss"} <= set(summary.held_out)

    halves = Experiment.create(mixed, str(tmp_path / "halves"))
    halves.trainer().train(halves.batches("train", training=True), halves.eval_batches("eval"), stop_at=2)
    resumed = Experiment.open(halves.workdir)
    resumed.trainer().train(resumed.batches("train", training=True), resumed.eval_batches("eval"))
    for one, other in zip(whole.trained_model()[0].weights, resumed.trained_model()[0].weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    records = [[r for r in read_log(run.workdir) if "eval_loss" in r] for run in (whole, resumed)]
    assert [r["step"] for r in records[0]] == [2, 4]
    for one, other in zip(*records, strict=True):
        names = [name for name in one if name.startswith("eval_")]
        assert {"eval_诗_loss", "eval_news_loss"} <= set(names)
        assert [one[name] for name in names] == [other[name] for name in names]

    report = evaluate(resumed.task, resumed.trained_model()[0], resumed.eval_batches("eval"))
    sources = report["sources"]
    assert set(sources) == {"诗", "news"}
    tokens = {name: own["num_tokens"] for name, own in sources.items()}
    total = sum(own["loss"] * tokens[name] for name, own in sources.items())
    assert report["loss"] == pytest.approx(total / sum(tokens.values()))
    assert report["news_loss"] == sources["news"]["loss"]
    with open(f"{whole.workdir}/checkpoints/best.json", encoding="utf-8") as file:
        assert json.load(file)["measure"] == "news_loss"


def test_sources_are_cached_one_by_one(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv("TFLM_CACHE", str(tmp_path / "cache"))
    Experiment.create(mixed, str(tmp_path / "a")).store("train")
    monkeypatch.setattr("tflm.tasks.LanguageModeling.encode", None)
    weights = tuple(dataclasses.replace(source, weight=1.0) for source in mixed.data.mixture)
    other = dataclasses.replace(mixed, data=dataclasses.replace(mixed.data, mixture=weights))
    store = Experiment.create(other, str(tmp_path / "b")).store("train")
    assert store.mixture.weights == (0.5, 0.5) and len(list((tmp_path / "cache").iterdir())) == 2


def test_files_with_weights_are_a_mixture(folder):
    paths = [f"{folder}/诗.txt@0.7", f"{folder}/news.jsonl@0.3"]
    data = automatic(
        "language_modeling", paths, settings=["data.text_column=body", "data.eval_fraction=0.2"]
    ).data
    assert data.weights == {"诗": 0.7, "news": 0.3} and data.eval_fraction == 0.2
    assert [(each.source, each.text_column) for each in data.sources.values()] == [
        ("text", ""),
        ("jsonl", "body"),
    ]
    assert {each.eval_fraction for each in data.sources.values()} == {0.2}
    with pytest.raises(UsageError, match=r"news.jsonl: several files are a mixture, and each has a weight"):
        automatic("language_modeling", [paths[0], f"{folder}/news.jsonl"])
    with pytest.raises(UsageError, match=r"--eval_data=x goes with one --data"):
        automatic("language_modeling", paths, "x")


def test_what_is_no_mixture():
    def data(*sources, **fields):
        return DataConfig(mixture=tuple(MixtureConfig(**source) for source in sources), **fields)

    a = {"path": "a.txt", "weight": 1.0}
    with pytest.raises(UserError, match=r"path is 'b.txt', and mixture names files, too; give the files"):
        data(a, path="b.txt")
    with pytest.raises(
        UserError, match=r"two sources of the mixture are named 'a'; give each .*\"name\": \"a_2\""
    ):
        data(a, {"path": "x/a.txt", "weight": 1.0})
    with pytest.raises(UserError, match=r"two sources of the mixture are named 'a'"):
        data(a, {"path": "A.txt", "weight": 1.0})
    with pytest.raises(UserError, match=r"the weight of 'a.txt' is 0; it must be a number above 0"):
        data({"path": "a.txt", "weight": 0})
    with pytest.raises(UserError, match=r"has the name '\*'; give it a name of letters"):
        data({"path": "*.txt", "weight": 1.0})
    with pytest.raises(UserError, match=r"same parts of an example; found a: text; b: label, text"):
        data(a, {"path": "b.csv", "source": "csv", "text_column": "t", "label_column": "l", "weight": 1.0})
    with pytest.raises(UserError, match=r"a mixture needs split 'hash'"):
        data(a, split="tail")
    with pytest.raises(UserError, match=r"a mixture is of files; source 'chatterbot' reads none"):
        data(a, source="chatterbot")


@pytest.fixture(scope="module")
def reviews(folder):
    rows = [
        f"{text} {number}\t{label}"
        for number in range(30)
        for text, label in [("很好 看", "好"), ("not good", "bad")]
    ]
    (folder / "reviews.tsv").write_text("\n".join(["text\tlabel", *rows]), encoding="utf-8")
    (folder / "synonyms.tsv").write_text("good\tfine\n看\t瞧\n", encoding="utf-8")
    settings = [
        *(
            f"data.path={folder}/reviews.tsv",
            "data.source=tsv",
            "data.text_column=text",
            "data.label_column=label",
        ),
        *("tokenizer.kind=byte", "data.eval_fraction=0.2", "data.augment.copies=3"),
    ]
    return override(load_preset("tiny_bert_classifier"), settings)


def texts_of(run, split):
    store = run.store(split)
    values, offsets = store.values("token_ids"), store.offsets("token_ids")
    rows = np.split(values, offsets[1:-1])
    return [run.tokenizer.detokenize([row]).numpy()[0].decode() for row in rows]


def test_training_texts_are_augmented(reviews, folder, tmp_path):
    plain = Experiment.create(reviews, str(tmp_path / "plain"))
    assert not reviews.data.augment.is_on
    changes = [
        f"data.augment.synonyms={folder}/synonyms.tsv",
        "data.augment.synonym_rate=1",
        "data.augment.word_swap=0.5",
    ]
    run = Experiment.create(override(reviews, changes), str(tmp_path / "changed"))
    before, after = texts_of(plain, "train"), texts_of(run, "train")
    assert after[::3] == before and len(after) == 3 * len(before)
    assert sum("瞧" in text for text in after) == 2 * sum("看" in text for text in before) > 0
    assert np.array_equal(
        run.store("train").values("label_ids"), np.repeat(plain.store("train").values("label_ids"), 3)
    )
    assert texts_of(run, "eval") == texts_of(plain, "eval")
    (folder / "synonyms.tsv").write_text("good\tnice\n", encoding="utf-8")
    again = texts_of(Experiment.open(run.workdir), "train")
    assert any("nice" in text for text in again) and not any("瞧" in text for text in again)


def test_a_task_whose_targets_are_in_the_text_is_not_augmented(config, tmp_path):
    with pytest.raises(UserError, match=r"what the task language_modeling learns is in the text itself"):
        Experiment.create(override(config, ["data.augment.word_swap=0.1"]), str(tmp_path / "run"))
