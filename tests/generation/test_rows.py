import numpy as np
import tensorflow as tf

from tflm.generation import DecodingConfig, settings_tensors
from tflm.generation.rows import append_token, start_rows
from tflm.generation.sampling import LoopInvariants

END, PAD = 2, 0


def test_a_row_stops_at_the_end_or_at_its_limit_and_then_stays_as_it_is():
    limits = tf.constant([5, 2, 0, 5])
    settings = settings_tensors(DecodingConfig(temperature=0), 4)
    free = tf.fill([4, 1, 1], -1)
    invariants = LoopInvariants(settings, limits, tf.ones([4, 1], tf.int32), free, (PAD,), (END,), PAD)
    rows = start_rows(limits, PAD)
    np.testing.assert_array_equal(rows.is_running, [True, True, False, True])
    token_ids, history, said = tf.zeros([4, 0], tf.int32), [], []
    for tokens in ([3, 3, 3, END], [4, 4, 4, 4], [END, 5, 5, 5]):
        logits = 3.0 * tf.one_hot(tokens, 6)
        rows, new_ids, log_probabilities = append_token(
            rows, token_ids, logits, tf.zeros([4], tf.float64), invariants
        )
        token_ids = tf.concat([token_ids, new_ids[:, None]], axis=1)
        history.append(rows.token_ids.numpy().tolist())
        said.append(log_probabilities.numpy())
    assert history == [[3, 3, PAD, PAD], [4, 4, PAD, PAD], [PAD, PAD, PAD, PAD]]
    assert token_ids.numpy().tolist() == [[3, 4, -1], [3, 4, -1], [-1, -1, -1], [-1, -1, -1]]
    assert not rows.is_running.numpy().any() and not rows.has_stopped.numpy().any()
    assert rows.has_ended.numpy().tolist() == [True, False, False, True]
    assert rows.num_tokens.numpy().tolist() == [2, 2, 0, 0]
    each = 3.0 - np.log(np.exp(3.0) + 5)
    np.testing.assert_allclose(rows.log_probability, [3 * each, 2 * each, 0, each], rtol=1e-5)
    np.testing.assert_allclose(np.sum(said, axis=0), rows.log_probability, rtol=1e-5)
