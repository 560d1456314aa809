"""Pieces joined are the text that comes at once, for every kind of tokenizer and model, in any steps."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tflm.generation import DecodingConfig, settings_specs
from tflm.models import TransformerEncoderDecoderConfig, build_model
from tflm.tasks import PairsConfig, SequenceToSequence
from tflm.tasks.signatures.streaming import decode_request, stable_prefix

PROMPTS = ["Hello", "你好，", "", "the words of 这"]


def run(function, inputs):
    """Outputs in NumPy of a signature whose inputs are named."""
    arguments = (tf.constant(inputs[spec.name], spec.dtype) for spec in function.input_signature)
    return {name: value.numpy() for name, value in function(*arguments).items()}


def stream(signatures, request, step):
    """The pieces of each row, and what came last."""
    outputs = run(signatures["prefill"], request)
    pieces = [[piece] for piece in outputs["piece"]]
    for _ in range(100):
        if outputs["finished"].all():
            return pieces, outputs
        outputs = run(signatures["decode"], decode_request(outputs, step))
        for row, piece in zip(pieces, outputs["piece"], strict=True):
            row.append(piece)
    raise AssertionError("it never ends")


def request_of(request_settings, texts=PROMPTS, **changes):
    count = len(texts)
    settings = request_settings(
        count,
        seed=range(count),
        temperature=[0.0, 1.0, 1.3, 0.7][:count],
        repetition_penalty=[1.0, 1.5, 1.0, 1.2][:count],
        max_new_tokens=[24, 11, 17, 0][:count],
    )
    return {"text": texts, **dict(zip(settings_specs(), settings.values(), strict=True)), **changes}


def check_pieces(signatures, request):
    """In steps of several sizes."""
    whole = run(signatures["generate"], request)
    for step in (1, 5):
        pieces, last = stream(signatures, request, step)
        assert [b"".join(row) for row in pieces] == whole["text"].tolist()
        for row in pieces:
            for piece in row:
                piece.decode("utf-8")  # no character is cut
        assert last["num_tokens"].tolist() == whole["num_tokens"].tolist()
        np.testing.assert_array_equal(last["log_probability"], whole["log_probability"])
    assert len({len(row) for row in pieces}) == 1 and len(pieces[0]) > 3


@pytest.fixture(name="make_signatures", scope="module")
def make_signatures_fixture(language_modeling, tokenizers, make_model):
    """make_signatures(tokenizer, kind of model), each once."""

    @functools.cache
    def make(name, kind="transformer_decoder"):
        task = language_modeling(tokenizers[name])
        return task.signatures(make_model(tokenizers[name].vocab_size, task.max_length, kind))

    return make


def test_pieces_joined_are_the_text(make_signatures, request_settings):
    """Of WordPiece, which is not lossless; test_generate.py has others."""
    check_pieces(make_signatures("wordpiece"), request_of(request_settings))


@pytest.mark.parametrize("name", ["byte", "sentencepiece", "wordpiece", "character"])
def test_what_was_given_out_stays(tokenizers, name):
    """For any tokens."""
    rng, tokenizer = np.random.default_rng(5), tokenizers[name]
    token_ids = tf.constant(rng.integers(0, tokenizer.vocab_size, [30, 24]), tf.int32)
    whole, before = tokenizer.detokenize(token_ids).numpy(), [b""] * 30
    for count in range(25):
        texts = stable_prefix(tokenizer.detokenize(token_ids[:, :count]), tf.fill([30], False)).numpy()
        for text, earlier, later in zip(texts, before, whole, strict=True):
            assert text.startswith(earlier) and later.startswith(text)
        before = texts
    assert max(map(len, before)) > 20


@pytest.mark.parametrize(
    ("tokenizer", "kind"), [("byte", "lstm"), ("wordpiece", "transformer_decoder")], ids=lambda each: each
)
def test_rows_can_be_parted_on_their_way(make_signatures, request_settings, tokenizer, kind):
    """A server may answer two rows of one batch in two requests, and each in steps of its own."""
    signatures = make_signatures(tokenizer, kind)
    request = request_of(request_settings)
    whole = run(signatures["generate"], request)["text"]
    first = run(signatures["prefill"], request)
    for row in (0, 1):
        outputs, text = {name: value[row : row + 1] for name, value in first.items()}, first["piece"][row]
        while not outputs["finished"][0]:
            outputs = run(signatures["decode"], decode_request(outputs, 2 + row))
            text += outputs["piece"][0]
        assert text == whole[row]


def test_the_state_is_named_and_comes_by_rows(make_signatures, request_settings):
    signatures = make_signatures("wordpiece")
    outputs = run(signatures["prefill"], request_of(request_settings))
    assert {"state_model_state_keys_0", "state_model_state_cache_index", "state_settings_seed"} <= set(
        outputs
    )
    assert {len(value) for value in outputs.values()} == {len(PROMPTS)}
    assert {spec.name for spec in signatures["decode"].input_signature} == {"num_tokens"} | {
        name for name in outputs if name.startswith("state_")
    }


def test_after_the_end_nothing_comes(make_signatures, request_settings):
    signatures = make_signatures("wordpiece")
    request = request_of(request_settings, max_new_tokens=[2, 1, 0, 2])
    _, last = stream(signatures, request, 3)
    again = run(signatures["decode"], decode_request(last, 5))
    assert again["piece"].tolist() == [b""] * 4 and again["finished"].all()
    assert again["num_tokens"].tolist() == last["num_tokens"].tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab", "ab"),
        ("ab\ufffd", "ab"),
        ("ab\ufffd\ufffd\ufffd", "ab"),
        ("\ufffdab", "\ufffdab"),
        ("你好", "你好"),
        ("x\u1100\u1161", "x"),  # letters of a Hangul syllable that are still apart
        ("한국", "한"),  # a last letter may join the syllable
        ("ok 😀", "ok 😀"),
        ("two\nlines\ufffd", "two\nlines"),
    ],
)
def test_what_a_later_token_may_change_is_held_back(text, expected):
    texts = tf.constant([text, text])
    assert [value.decode() for value in stable_prefix(texts, tf.constant([False, True])).numpy()] == [
        expected,
        text,
    ]


def test_encoder_decoders_stream(tokenizers, request_settings):
    tokenizer = tokenizers["byte"]
    config = TransformerEncoderDecoderConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=32
    )
    keras.utils.set_random_seed(2)
    pairs = PairsConfig(max_source_length=20, max_target_length=24)
    signatures = SequenceToSequence(pairs, tokenizer, 32, DecodingConfig()).signatures(build_model(config))
    request = request_of(request_settings)
    pieces, _ = stream(signatures, request, 3)
    assert [b"".join(row) for row in pieces] == run(signatures["generate"], request)["text"].tolist()
