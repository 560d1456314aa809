"""No task takes 0 for padding: with the same vocabulary in another order, in which 0 is a byte of text and the pad id
the 256th, every batch, loss and output is the same."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tflm.data import DataConfig
from tflm.experiments import Experiment
from tflm.recipes import load_preset
from tflm.tasks.signatures.writer import call_by_name
from tflm.text.byte_tokenizer import ByteTokenizer
from tflm.text.tokenizer import Tokenizer
from tflm.text.tokenizer_config import TOKENIZERS

RECIPES = (
    "tiny_bert",
    "tiny_bert_classifier",
    "tiny_chat",
    "tiny_decoder",
    "tiny_lstm_classifier",
    "tiny_lstm_seq2seq",
    "tiny_pairs",
    "tiny_question_answering",
    "tiny_similarity",
    "tiny_t5",
    "tiny_tagger",
    "tiny_transformer",
)
IDS = ("token_ids", "source_ids", "targets")
SIGNATURES = ("fill", "embed", "classify", "score", "answer", "tag", "tokenize")
GENERATES = ("tiny_lstm_seq2seq",)
"""Recipes whose greedy text is compared, too."""


class BytesFirstTokenizer(ByteTokenizer):
    """The ids of `ByteTokenizer` turned round: bytes are 0 to 255, then pad, start, end and the others."""

    def __init__(self, config, asset=b""):
        names = ("pad", "start", "end", "unk", *config.special_tokens)
        self.first_byte_id = 0
        Tokenizer.__init__(
            self, config, asset, 256 + len(names), {name: 256 + i for i, name in enumerate(names)}
        )
        pieces = [bytes([value]) for value in range(256)] + [b""] * len(names)
        pieces[self.unk_id] = "\ufffd".encode()
        self._pieces = tf.constant(pieces)


def turned(ids, tokenizer):
    """Ids of a byte tokenizer as `BytesFirstTokenizer` has them; -1 stays."""
    ids = np.asarray(ids)
    return np.where(ids < 0, ids, (ids - tokenizer.config.num_special_tokens) % tokenizer.vocab_size)


def paragraph(index):
    """One of SQuAD, with a question that it answers and one that it does not."""
    filler = f"{index} 今天天气很好, and more of it. " * 8
    name, other = ("Anna", "李") if index % 2 else ("王", "Bo")
    context = f"{filler}{name} 在北京. {filler}"
    answers = [{"text": name, "answer_start": len(filler)}]
    return {
        "context": context,
        "qas": [
            {"question": "谁在北京？", "answers": answers},
            {"question": f"Where is {other}?", "answers": [], "is_impossible": True},
        ],
    }


@pytest.fixture(name="runs", scope="module", params=RECIPES)
def runs_fixture(request, tmp_path_factory):
    """A run with each tokenizer."""
    TOKENIZERS.add("bytes_first", BytesFirstTokenizer)
    request.addfinalizer(lambda: TOKENIZERS.remove("bytes_first"))
    folder = tmp_path_factory.mktemp(request.param)
    recipe = load_preset(request.param)
    data = recipe.data
    if request.param == "tiny_tagger":
        rows = [
            json.dumps({"text": f"{index} 我在北京, Anna", "spans": [[4, 6, "LOC"]]}) for index in range(60)
        ]
        (folder / "data.jsonl").write_text("\n".join(rows), encoding="utf-8")
        data = dataclasses.replace(data, path=str(folder / "data.jsonl"))
    if request.param == "tiny_question_answering":  # contexts of several windows; the recipe's own are many
        paragraphs = [paragraph(index) for index in range(60)]
        (folder / "data.json").write_text(
            json.dumps({"data": [{"paragraphs": paragraphs}]}, ensure_ascii=False), encoding="utf-8"
        )
        data = DataConfig(source="squad", path=str(folder / "data.json"), eval_fraction=0.1)
    runs = []
    for kind in ("byte", "bytes_first"):
        tokenizer = dataclasses.replace(recipe.tokenizer, kind=kind, normalization="none", case_fold=False)
        training = dataclasses.replace(recipe.training, global_batch_size=8)
        config = dataclasses.replace(recipe, data=data, tokenizer=tokenizer, training=training)
        runs.append(Experiment.create(config, str(folder / kind)))
    return runs


@pytest.fixture(name="models", scope="module")
def models_fixture(runs):
    """Two models that differ in the order of their vocabulary alone."""
    first, second = (run.make_model() for run in runs)
    tokenizer = runs[0].tokenizer
    order = np.argsort(turned(np.arange(tokenizer.vocab_size), tokenizer))
    rng = np.random.default_rng(1)
    for one, other in zip(first.variables, second.variables, strict=True):
        if "seed" in one.path:
            continue
        value = rng.normal(0.0, 0.3, one.shape).astype(np.float32)
        one.assign(value)
        axes = [axis for axis, size in enumerate(one.shape) if size == tokenizer.vocab_size]
        for axis in axes:
            value = np.take(value, order, axis)
        other.assign(value)
    return first, second


def test_the_tokenizer_has_text_where_others_have_padding(runs):
    tokenizer = runs[1].tokenizer
    assert tokenizer.pad_id == 256 and tokenizer.tokenize(["\0a"]).to_list() == [[0, 97]]
    assert tokenizer.detokenize([[0, 97, 256]]).numpy().tolist() == [b"\0a"]


def test_batches_are_the_same(runs):
    tokenizer = runs[0].tokenizer
    batches = [run.batches("train", training=True) for run in runs]
    for index in range(2):
        one, other = (each._shaped_batch(tf.constant(index, tf.int64)) for each in batches)
        for name, value in one.items():
            expected = turned(value, tokenizer) if name in IDS else value
            if name == "targets" and value.dtype == tf.int32:
                # What does not count may differ.
                counted = one["loss_weights"].numpy() > 0
                expected, found = expected[counted], other[name].numpy()[counted]
            else:
                found = other[name].numpy()
            np.testing.assert_array_equal(found, expected, name)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_losses_are_the_same(runs, models, split):
    losses = []
    for run, model in zip(runs, models, strict=True):
        batch = next(iter(run.batches(split, training=split == "train").dataset()))
        losses.append([float(value) for value in run.task.loss(model, batch, training=False)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_outputs_are_the_same(runs, models, eagerly):
    with eagerly():
        check_outputs(runs, models)


def check_outputs(runs, models):
    tokenizer = runs[0].tokenizer
    signatures = [run.task.signatures(model) for run, model in zip(runs, models, strict=True)]
    requests = runs[0].task.example_requests()
    named = (*SIGNATURES, "serving_default") if runs[0].config.name in GENERATES else SIGNATURES
    asked = [name for name in named if name in signatures[0] and name in requests]
    assert asked
    for name in asked:
        # A greedy text: a sampled one depends on the order of the vocabulary.
        request = {**requests[name][-1]}
        if "temperature" in request:
            request["temperature"] = [0.0] * len(request["temperature"])
        inputs = [
            {spec.name: tf.constant(request[spec.name], spec.dtype) for spec in each[name].input_signature}
            for each in signatures
        ]
        one, other = (call_by_name(each[name], given) for each, given in zip(signatures, inputs, strict=True))
        for key, value in one.items():
            found, expected = other[key].numpy(), value.numpy()
            if key.endswith("token_ids"):
                expected = turned(expected, tokenizer)
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4, err_msg=f"{name}: {key}")
            else:
                np.testing.assert_array_equal(found, expected, f"{name}: {key}")
