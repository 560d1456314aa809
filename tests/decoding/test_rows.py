import numpy as np
import tensorflow as tf

from tflm.decoding.config import DecodingConfig, settings_tensors
from tflm.decoding.rows import Rules, append_token, start_rows

END, PAD = 2, 0


def test_a_row_stops_at_the_end_or_at_its_limit_and_then_stays_as_it_is():
    config = DecodingConfig(temperature=0, repetition_penalty=1.0001)
    rules = Rules(settings_tensors(config, 4), tf.constant([5, 2, 0, 5]), tf.zeros([6], tf.bool), END, PAD)
    prompts = tf.ragged.constant([[1], [1, 4], [1], [5]], dtype=tf.int32)
    rows = start_rows(prompts, rules)
    np.testing.assert_array_equal(rows.is_running, [True, True, False, True])
    history = []
    for tokens in ([3, 3, 3, END], [4, 4, 4, 4], [END, 5, 5, 5]):
        rows = append_token(rows, 3.0 * tf.one_hot(tokens, 6), tf.zeros([4], tf.float64), rules)
        history.append(rows.token_ids.numpy().tolist())
    assert history == [[3, 3, PAD, PAD], [4, 4, PAD, PAD], [PAD, PAD, PAD, PAD]]
    assert not rows.is_running.numpy().any()
    assert rows.num_tokens.numpy().tolist() == [2, 2, 0, 0]
    each = 3.0 - np.log(np.exp(3.0) + 5)
    np.testing.assert_allclose(rows.log_probability, [3 * each, 2 * each, 0, each], rtol=1e-5)
    assert rows.seen.numpy()[0].nonzero()[0].tolist() == [1, END, 3, 4]
