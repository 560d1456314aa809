"""Registration, order, and what is computed."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation.constraints import CONSTRAINTS
from tflm.generation.logit_filters import FILTERS
from tflm.generation.logit_pipeline import LogitPipeline
from tflm.generation.penalties import PENALTIES


def test_functions_read_inputs_by_name_and_are_applied_in_order():
    pipeline = LogitPipeline()

    @pipeline.register(is_on=lambda top_k: top_k > 0)
    def add(logits, num_tokens, top_k):
        return logits + tf.cast(num_tokens + top_k, tf.float32)[:, None]

    @pipeline.register()
    def double(logits):
        return 2.0 * logits

    inputs = {"num_tokens": tf.constant([1, 2]), "top_k": tf.constant([0, 10])}
    np.testing.assert_array_equal(pipeline(tf.ones([2, 3]), inputs), [[4.0] * 3, [26.0] * 3])
    np.testing.assert_array_equal(
        pipeline(tf.ones([2, 3]), {**inputs, "top_k": tf.constant([0, -1])}), [[2.0] * 3] * 2
    )
    assert add(tf.zeros([1, 1]), tf.constant([1]), tf.constant([1])) == 2.0, (
        "the function itself is unchanged"
    )


def test_a_function_that_is_off_is_not_run():
    pipeline, runs = LogitPipeline(), tf.Variable(0)

    @pipeline.register(is_on=lambda min_p: min_p > 0.0)
    def count(logits, min_p):
        runs.assign_add(1)
        return logits

    graph = tf.function(lambda min_p: pipeline(tf.zeros([1, 2]), {"min_p": min_p}), autograph=False)
    graph(tf.constant([0.0]))
    assert runs.numpy() == 0
    graph(tf.constant([0.5]))
    assert runs.numpy() == 1


@pytest.mark.parametrize("is_on", [None, lambda topp: topp < 1.0], ids=["function", "is_on"])
def test_an_unknown_input_is_refused(is_on):
    message = (
        r"keep reads 'topp', expected a field of DecodingConfig or one of \['prompt_ids', 'token_ids', .*"
        r"Rename the parameter, or add the setting to tflm/generation/config.py."
    )

    def keep(logits, topp):
        return logits

    with pytest.raises(ValueError, match=message):
        LogitPipeline().register(is_on)(keep)


def test_the_order_is_that_of_the_documentation():
    """docs/generation.md, "Definitions"."""
    names = [step.function.__name__ for each in (PENALTIES, CONSTRAINTS, FILTERS) for step in each._steps]
    assert names == [
        *("penalize_repetition", "penalize_frequency", "forbid_repeated_ngrams"),
        *("ban", "forbid_early_end", "keep_choices", "force"),
        *("scale_by_temperature", "keep_top_k", "keep_top_p", "keep_min_p", "keep_typical"),
    ]
