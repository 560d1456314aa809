"""The `beam` signature: its texts are those that `score` and `generate` know, in English and Chinese."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation import DecodingConfig, cut_at_stop
from tflm.generation.config import BeamConfig, beam_settings_lists
from tflm.models import TransformerEncoderDecoderConfig, build_model
from tflm.tasks import PairsConfig, SequenceToSequence
from tflm.tasks.signatures.beam import beam_requests, beam_signature
from tflm.tasks.signatures.generate import choose_signature
from tflm.tasks.signatures.score import score_texts
from tflm.tasks.signatures.writer import Writer

TEXT = ["Hello", "你好，世界", "", "x" * 50]


def request(function, text, config, decoding, **changes):
    lists = {"stop": [[""]] * len(text), "choices": [[""]] * len(text)}
    inputs = {"text": text, **beam_settings_lists(config, decoding, len(text)), **lists, **changes}
    specs = function.input_signature
    assert {spec.name for spec in specs} == set(inputs)
    outputs = function(*(tf.constant(inputs[spec.name], spec.dtype) for spec in specs))
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture(scope="module")
def served(tokenizers, language_modeling, make_model):
    """(task, its writer, the signature)."""
    tokenizer = tokenizers["byte"]
    task = language_modeling(tokenizer, max_length=24)
    model = make_model(tokenizer.vocab_size, 24)
    writer = Writer(task, model)
    return task, writer, beam_signature(writer)


def test_inputs_and_outputs(served):
    _, _, beam = served
    names = [spec.name for spec in beam.input_signature]
    assert names[:6] == [
        "text",
        "beam_size",
        "num_groups",
        "diversity_penalty",
        "length_penalty",
        "length_offset",
    ]
    assert names[-2:] == ["stop", "choices"] and all(spec.shape[0] is None for spec in beam.input_signature)
    found = request(beam, TEXT, BeamConfig(3), DecodingConfig(max_new_tokens=4))
    assert found["text"].shape == found["score"].shape == found["num_tokens"].shape == (4, 3)
    assert found["truncated"].tolist() == [False, False, False, True]
    assert (np.diff(found["score"]) <= 0).all() and np.isfinite(found["score"]).all()
    for value in found["text"].ravel():
        value.decode("utf-8")


def test_a_row_of_fewer_texts_is_filled_up(served):
    found = request(served[2], TEXT[:2], BeamConfig(), DecodingConfig(max_new_tokens=3), beam_size=[1, 3])
    assert np.isfinite(found["score"]).tolist() == [[True, False, False], [True] * 3]
    assert found["text"][0, 1:].tolist() == [b"", b""]
    assert np.isneginf(found["log_probability"][0, 1:]).all()


def test_stop_texts_cut_the_answer_alone(served):
    decoding = DecodingConfig(max_new_tokens=5)
    whole = request(served[2], TEXT, BeamConfig(2), decoding)
    stops = [[text[0].decode()[1:2] or "?"] for text in whole["text"]]
    cut = request(served[2], TEXT, BeamConfig(2), decoding, stop=stops)
    np.testing.assert_array_equal(cut["text"], cut_at_stop(whole["text"], tf.constant(stops)))
    assert (cut["text"] != whole["text"]).any()
    for name in ("score", "num_tokens"):
        np.testing.assert_array_equal(cut[name], whole[name])


def test_choices_come_best_first(served):
    """Only choices are written, and the order is that of `choose`."""
    _, writer, beam = served
    choices = [["good", "不好", "go"]] * 2
    found = request(
        beam, TEXT[:2], BeamConfig(4, length_penalty=0.0), DecodingConfig(max_new_tokens=12), choices=choices
    )
    expected = choose_signature(writer)(tf.constant(TEXT[:2]), tf.constant(choices))[
        "log_probabilities"
    ].numpy()
    for row in range(2):
        order = np.argsort(-expected[row])
        assert [text.decode() for text in found["text"][row, :3]] == [choices[row][i] for i in order]
        np.testing.assert_allclose(found["log_probability"][row, :3], expected[row][order], atol=1e-3)
        assert found["text"][row, 3] == b"" and found["score"][row, 3] == -np.inf


def test_an_encoder_decoder_writes_what_it_scores(tokenizers):
    tokenizer = tokenizers["byte"]
    config = PairsConfig(max_source_length=12, max_target_length=10)
    task = SequenceToSequence(config, tokenizer, 16, DecodingConfig())
    model = build_model(
        TransformerEncoderDecoderConfig(
            vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=16
        )
    )
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, 0.3, variable.shape))
    allowed = {*tokenizer.tokenize(tf.constant(["abc"])).to_list()[0], tokenizer.end_id}
    banned = [token for token in range(tokenizer.vocab_size) if token not in allowed]
    found = request(
        beam_signature(Writer(task, model)),
        TEXT,
        BeamConfig(2, length_penalty=0.0),
        DecodingConfig(max_new_tokens=9, banned_ids=tuple(banned)),
    )
    has_ended = found["num_tokens"] < 9  # `score` counts the end of every text
    assert has_ended.sum() >= 3 and (found["num_tokens"] > 0).any()
    for beam in range(2):
        inputs = {"text": tf.constant(TEXT), "target": tf.constant(found["text"][:, beam])}
        score = score_texts(task, model, inputs)["log_probability"]
        difference = np.abs(score - found["log_probability"][:, beam])
        assert (difference[has_ended[:, beam]] < 1e-3).all()


def test_the_example_requests_are_answered(served):
    beam = served[2]
    for batch in beam_requests([["What is a language model?"], ["你好", "", "def main():", "mixed 😀"]]):
        specs = beam.input_signature
        assert list(batch) == [spec.name for spec in specs]
        outputs = beam(*(tf.constant(batch[spec.name], spec.dtype) for spec in specs))
        assert outputs["text"].shape == (len(batch["text"]), 4)
