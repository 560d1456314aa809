"""The signatures `speculative` and `contrastive`, what an export of them holds, and drafts that do not fit."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.export.weights import WEIGHTS_FILE, write_weight_names
from tflm.export.write import module_to_save
from tflm.generation import DecodingConfig, settings_lists
from tflm.models import TransformerEncoderDecoderConfig, build_model
from tflm.tasks.signatures.contrastive import contrastive_requests, contrastive_signature
from tflm.tasks.signatures.speculative import check_draft, speculative_requests, speculative_signature
from tflm.tasks.signatures.writer import Writer

TEXTS = ["def f(", "你好，世界", ""]


def request(rows, **changes):
    config = DecodingConfig(**{"temperature": 0.0, "max_new_tokens": 9, **changes})
    return {"text": TEXTS[:rows], **settings_lists(config, rows)}


@pytest.fixture(scope="module")
def writer(language_modeling, tokenizers, make_model):
    task = language_modeling(tokenizers["byte"], max_new_tokens=5)
    return Writer(task, make_model(tokenizers["byte"].vocab_size, task.max_length))


@pytest.fixture(scope="module")
def draft(writer, make_model):
    return make_model(writer.model.config.vocab_size, 32, scale=0.15)


@pytest.fixture(scope="module")
def signatures(writer, draft):
    return {
        "speculative": speculative_signature(writer, draft),
        "contrastive": contrastive_signature(writer),
    }


@pytest.fixture(scope="module")
def predict(signatures):
    """predict(name, inputs) -> the outputs in NumPy."""

    def call(name, inputs):
        specs = signatures[name].input_signature
        outputs = signatures[name](*(tf.constant(inputs[spec.name], spec.dtype) for spec in specs))
        return {name: value.numpy() for name, value in outputs.items()}

    return call


def test_greedy_the_answer_does_not_depend_on_the_draft(predict):
    """Without drafted tokens it is that of `generate`; tests/generation shows so."""
    inputs = request(3, stop=("\n",), min_new_tokens=4)
    expected = predict("speculative", {**inputs, "num_draft_tokens": [0, 0, 0]})
    for counts in ([4, 4, 4], [0, 1, 9]):
        found = predict("speculative", {**inputs, "num_draft_tokens": counts})
        for name in ("text", "num_tokens", "finish_reason", "truncated"):
            assert found[name].tolist() == expected[name].tolist()
        np.testing.assert_allclose(found["log_probability"], expected["log_probability"], atol=1e-3)
        assert (found["num_accepted"] <= found["num_drafted"]).all()
        assert (found["num_drafted"] > 0).tolist() == [count > 0 for count in counts]
    assert expected["text"][0] and not expected["num_drafted"].any()


def test_contrastive_without_a_penalty_is_greedy(predict):
    greedy = predict("speculative", {**request(3), "num_draft_tokens": [3, 3, 3]})
    settings = {"top_k": [5] * 3, "min_new_tokens": [0] * 3, "max_new_tokens": [9] * 3}
    plain = predict("contrastive", {"text": TEXTS, "penalty_alpha": [0.0] * 3, **settings})
    for name in ("text", "num_tokens", "finish_reason", "truncated"):
        assert plain[name].tolist() == greedy[name].tolist()
    other = predict("contrastive", {"text": TEXTS, "penalty_alpha": [0.9] * 3, **settings})
    assert other["text"].tolist() != greedy["text"].tolist()


def test_requests_to_check_an_export_with(predict):
    for name, requests in (
        ("speculative", speculative_requests([request(1), request(3, seed=7, temperature=0.8)])),
        ("contrastive", contrastive_requests()),
    ):
        for inputs in requests:
            outputs = predict(name, inputs)
            assert {len(value) for value in outputs.values()} == {len(inputs["text"])}


def test_an_export_holds_the_draft_and_names_the_large_models_weights(signatures, writer, draft, tmp_path):
    """A run that begins with the export takes the large model's, though both models' layers have the same names."""
    tracked = [writer.model, writer.task.tokenizer, *(variable.value for variable in draft.variables)]
    module = module_to_save({"speculative": signatures["speculative"]}, tracked)
    assert {id(variable.value) for variable in draft.trainable_variables} <= {id(v) for v in module.weights}
    write_weight_names(str(tmp_path), module, tracked)
    names = json.loads((tmp_path / WEIGHTS_FILE).read_text(encoding="utf-8"))
    for variable in writer.model.trainable_variables:
        place = int(names[variable.path].split("/")[1])
        assert module.weights[place] is variable.value


def test_drafts_that_do_not_fit(writer, make_model):
    size = writer.model.config.vocab_size
    with pytest.raises(UserError, match="the draft is a lstm, which cannot take back what it has read"):
        speculative_signature(writer, make_model(size, kind="lstm"))
    with pytest.raises(UserError, match="the model is a lstm, which cannot take back"):
        check_draft(make_model(size, kind="lstm"), writer.model)
    with pytest.raises(
        UserError, match=f"the model has {size} tokens, the draft 17. Train the draft on the same data"
    ):
        check_draft(writer.model, make_model(17))
    given = dataclasses.asdict(writer.model.config)
    names = {field.name for field in dataclasses.fields(TransformerEncoderDecoderConfig)} - {"kind"}
    base = {name: given[name] for name in names & set(given)}
    with pytest.raises(
        UserError, match="the draft is a transformer_encoder_decoder, and a draft goes with models without"
    ):
        check_draft(writer.model, build_model(TransformerEncoderDecoderConfig(**base)))
