"""Several end tokens: a text ends at whichever comes first, in every method."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.generation import (
    BeamConfig,
    DecodingConfig,
    Generator,
    beam_settings_tensors,
    generate,
    search_beams,
    settings_tensors,
)
from tflm.generation.constraints import forbid_early_end, is_end

END, OTHER = 2, 9
PROMPTS = [[1, 5], [8], [1, 3, 7, 4], [4, 4]]


def texts(model, other_end_ids, **settings):
    prompts = tf.ragged.constant(PROMPTS, tf.int32, ragged_rank=1)
    config = DecodingConfig(**{"max_new_tokens": 30, **settings})
    result = generate(
        model,
        prompts,
        settings_tensors(config, len(PROMPTS)),
        end_id=END,
        pad_id=0,
        other_end_ids=other_end_ids,
    )
    rows = zip(result.token_ids.numpy(), result.num_tokens.numpy(), strict=True)
    return [ids[:length].tolist() for ids, length in rows], result


def before(text, token):
    return text[: text.index(token)] if token in text else text


def test_the_example_of_is_end():
    assert is_end(tf.constant([7, 2, 9]), (2, 9)).numpy().tolist() == [False, True, True]


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 1.0, "seed": 3}])
def test_a_text_ends_at_the_first_of_them(toy, settings):
    model = toy.HashModel(seed=4)
    one, _ = texts(model, (), **settings)
    several, result = texts(model, (OTHER,), **settings)
    assert several == [before(text, OTHER) for text in one]
    assert any(OTHER in text for text in one)
    ended = np.array([OTHER in text or len(text) < 30 for text in one])
    assert result.is_complete.numpy().tolist() == ended.tolist()


def test_its_log_probability_is_that_of_the_token_that_ended_it(toy):
    _, result = texts(toy.CountingModel(), (OTHER,), temperature=0)
    likely = 8 - np.log(np.exp(8) + toy.VOCAB_SIZE - 1)
    # 5, then 6 7 8 and 9, which ends the text.
    np.testing.assert_allclose(result.log_probability[0], 4 * likely, rtol=1e-4)


def test_none_of_them_ends_a_text_early(toy):
    logits = forbid_early_end(tf.constant([[5.0, 6.0, 7.0]]), tf.constant([0]), tf.constant([1]), (0, 2))
    assert logits.numpy().tolist() == [[-np.inf, 6.0, -np.inf]]
    found, _ = texts(toy.HashModel(seed=4), (OTHER,), temperature=0, min_new_tokens=6)
    assert all(len(text) >= 6 and OTHER not in text for text in found)


def test_beams_end_at_the_likelier_of_them(toy):
    class TwoEnds(toy.HashModel):
        """After any token the text ends with 2 (0.3) or 9 (0.4), or goes on with 5 (0.3)."""

        def logits(self, token_ids, positions, last):
            chances = np.full(toy.VOCAB_SIZE, 1e-30, np.float32)
            chances[[END, OTHER, 5]] = [0.3, 0.4, 0.3]
            return tf.broadcast_to(tf.math.log(chances), [tf.shape(last)[0], toy.VOCAB_SIZE])

    generator = Generator(TwoEnds(), end_id=END, other_end_ids=(OTHER,), pad_id=0)
    beams = BeamConfig(beam_size=3, length_penalty=0.0)
    settings = beam_settings_tensors(beams, DecodingConfig(max_new_tokens=8), 1)
    result = search_beams(generator, tf.ragged.constant([[1]], tf.int32, ragged_rank=1), settings)
    assert result.num_tokens.numpy().tolist() == [[0, 1, 2]]
    assert not (result.token_ids.numpy() == OTHER).any()
    np.testing.assert_allclose(
        result.log_probability.numpy()[0], np.log([0.4, 0.3 * 0.4, 0.3 * 0.3 * 0.4]), rtol=1e-4
    )


def test_an_end_token_that_is_never_generated(toy):
    with pytest.raises(UserError, match=r"end_id 9 is pad_id or in suppressed_ids, \[0, 9\] together"):
        Generator(toy.CountingModel(), end_id=END, other_end_ids=(OTHER,), pad_id=0, suppressed_ids=[9])
