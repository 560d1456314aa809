"""Beams of real models with random weights: the cached search equals one that reads every text again at each step, and
XLA's equals both."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.generation.beams_slowly import beams_slowly
from tflm.generation import DecodingConfig
from tflm.generation.beam_search import _reorder, beam_search
from tflm.generation.config import BeamConfig
from tflm.generation.settings import beam_settings_specs, beam_settings_tensors
from tflm.models import LSTMConfig, TransformerDecoderConfig, TransformerEncoderDecoderConfig, build_model

VOCAB_SIZE, END, PAD = 12, 2, 0
PROMPTS = [[1, 7, 8, 5], [1], [1, 9, 3]]
SOURCES = np.array([[4, 5, 6, 7], [8, 9, 0, 0], [3, 0, 0, 0]], np.int32)
BEAMS = [BeamConfig(3), BeamConfig(2, length_penalty=0.6, length_offset=5.0), BeamConfig(4, 2, 0.5, 2.0)]
SIZES = {"vocab_size": VOCAB_SIZE, "num_layers": 1, "hidden_dim": 16, "max_length": 24}
CONFIGS = {
    "lstm": LSTMConfig(**SIZES),
    "decoder": TransformerDecoderConfig(**SIZES, num_heads=2),
    "encoder_decoder": TransformerEncoderDecoderConfig(**SIZES, num_heads=2),
}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    keras.utils.set_random_seed(2)
    model = build_model(CONFIGS[request.param])
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0.0, 0.5, variable.shape))
    return model


def make_graph(model, compiled=False):
    specs = [
        tf.RaggedTensorSpec([None, None], tf.int32),
        beam_settings_specs(),
        tf.TensorSpec([None, None], tf.int32),
    ]

    @tf.function(input_signature=specs, autograph=False)
    def graph(prompts, settings, source_ids):
        context = model.encode(source_ids) if model.has_encoder else None
        ids = {"end_id": END, "pad_id": PAD}
        return beam_search(
            model, prompts, settings, context=context, segment_length=4, compiled=compiled, **ids
        )

    return graph


@pytest.fixture(scope="module")
def graph(model):
    return make_graph(model)


def search(graph, rows=(0, 1, 2)):
    parts = [beam_settings_tensors(BEAMS[row], DecodingConfig(max_new_tokens=5), 1) for row in rows]
    settings = {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}
    prompts = tf.ragged.constant([PROMPTS[row] for row in rows], tf.int32)
    return graph(prompts, settings, tf.constant(SOURCES[list(rows)]))


def test_it_equals_a_search_without_a_cache(model, graph):
    """Each text's log-probability is that of a forward pass over the whole text, too."""
    found = search(graph)

    @tf.function(autograph=False)
    def forward(padded, source_ids):
        return model(padded, **({"source_ids": source_ids} if model.has_encoder else {}))

    for row, beams in enumerate(BEAMS):

        def logits_fn(text, row=row):
            # Of one length, so that it is traced once; what stands behind is not seen.
            padded = tf.constant([text + [PAD] * (10 - len(text))])
            return forward(padded, tf.constant(SOURCES[row : row + 1]))[0, len(text) - 1].numpy()

        def change_fn(scores, text):
            return np.where(np.arange(VOCAB_SIZE) == PAD, -np.inf, scores)

        expected = beams_slowly(logits_fn, PROMPTS[row], END, 5, vars(beams), change_fn)
        count = len(expected)
        assert (found.score[row].numpy() > -np.inf).sum() == count
        numbers = [[each[i] for each in expected] for i in range(2)]
        np.testing.assert_allclose(found.score[row, :count], numbers[0], atol=1e-4)
        np.testing.assert_allclose(found.log_probability[row, :count], numbers[1], atol=1e-4)
        texts = [
            ids[:n].tolist() for ids, n in zip(found.token_ids[row].numpy(), found.num_tokens[row].numpy())
        ]
        assert texts[:count] == [text for _, _, text in expected]


def test_a_row_alone_is_the_same(graph):
    together, alone = search(graph), search(graph, rows=[1])
    width, length = alone.token_ids.shape[1:]
    np.testing.assert_array_equal(together.token_ids[1, :width, :length], alone.token_ids[0])
    np.testing.assert_allclose(together.score[1, :width], alone.score[0], atol=1e-5)


@pytest.mark.parametrize("model", ["decoder"], indirect=True)
def test_compiled_by_xla_it_is_the_same(model, graph):
    plain, compiled = search(graph), search(make_graph(model, compiled=True))
    np.testing.assert_array_equal(plain.token_ids, compiled.token_ids)
    np.testing.assert_array_equal(plain.num_tokens, compiled.num_tokens)
    np.testing.assert_allclose(plain.score, compiled.score, atol=1e-5)
    np.testing.assert_allclose(plain.log_probability, compiled.log_probability, atol=1e-5)


def test_what_beams_have_in_common_is_not_copied(model):
    """Of an encoder-decoder the memory, which is most of its state."""
    context = model.encode(tf.constant(SOURCES)) if model.has_encoder else None
    before = model.initial_state(3, 4, num_padding=tf.zeros([3], tf.int32), context=context)
    _, after = model.step(tf.constant([[3], [4], [5]]), before, last_only=True)
    followed = _reorder(before, after, tf.constant([[2, 0, 0]]))
    shared = {"memory_keys", "memory_values", "memory_mask", "num_padding", "cache_index"}
    for name in after:
        pairs = zip(tf.nest.flatten(followed[name]), tf.nest.flatten(after[name]), strict=True)
        for new, old in pairs:
            assert (new is old) == (name in shared)
            if name not in shared:
                np.testing.assert_array_equal(new, tf.gather(old, [2, 0, 0]))
    same = _reorder(before, after, tf.constant([[0, 1, 2]]))
    assert all(new is old for new, old in zip(tf.nest.flatten(same), tf.nest.flatten(after), strict=True))
