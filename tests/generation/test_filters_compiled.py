"""Every filter of a step gives the same in the plain graph and compiled by XLA, all sizes unknown when traced."""

import numpy as np
import pytest
import tensorflow as tf

from tflm.generation.constraints import ban, forbid_early_end, force, keep_choices
from tflm.generation.logit_filters import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    scale_by_temperature,
)
from tflm.generation.penalties import (
    count_tokens,
    forbid_repeated_ngrams,
    mask_repeated_ngrams,
    penalize_frequency,
    penalize_repetition,
)
from tflm.generation.sampling import sample

NAN, INF = float("nan"), float("inf")
RANDOM = np.random.default_rng(1)
LOGITS = RANDOM.normal(0, 2, [4, 700]).astype(np.float32)
LOGITS[0, ::3] = -INF
LOGITS[1] /= 100
LOGITS[3] = LOGITS[3].round()
TOKENS = RANDOM.integers(-1, 4, [4, 9]).astype(np.int32)
MANY_TOKENS = RANDOM.integers(-1, 700, [4, 500]).astype(np.int32)
NUM_TOKENS = np.int32([0, 1, 2, 3])
CHOICES = RANDOM.integers(0, 3, [4, 50, 4]).astype(np.int32)

CASES = {
    "ban": (ban, [TOKENS]),
    "count_tokens": (lambda logits, ids: count_tokens(ids, tf.shape(logits)[1]), [TOKENS]),
    "forbid_early_end": (
        lambda *args: forbid_early_end(*args, end_ids=(2,)),
        [NUM_TOKENS, np.int32([2] * 4)],
    ),
    "forbid_repeated_ngrams": (forbid_repeated_ngrams, [TOKENS, TOKENS, NUM_TOKENS, NUM_TOKENS]),
    "mask_repeated_ngrams": (mask_repeated_ngrams, [TOKENS, np.int32(8), np.int32([0, 1, 2, 3])]),
    "force": (force, [TOKENS, NUM_TOKENS]),
    "keep_choices": (keep_choices, [CHOICES, np.abs(TOKENS) % 3, NUM_TOKENS]),
    "keep_min_p": (keep_min_p, [np.float32([0.01, 0.99, NAN, 0.5])]),
    "keep_top_k, 64": (keep_top_k, [np.int32([0, 1, 64, 20])]),
    "keep_top_k, 512": (keep_top_k, [np.int32([3, 1, 64, 500])]),
    "keep_top_k, all": (keep_top_k, [np.int32([3, 690, 64, 9999])]),
    "keep_top_p, 64": (keep_top_p, [np.float32([0.5, 1.0, 0.2, 0.0])]),
    "keep_top_p, 512": (keep_top_p, [np.float32([0.5, 0.6, NAN, 0.9])]),
    "keep_top_p, all": (keep_top_p, [np.float32([0.5, 0.95, 0.2, 0.0])]),
    "keep_typical": (keep_typical, [np.float32([0.5, 0.95, 0.2, NAN])]),
    "penalize_frequency": (penalize_frequency, [MANY_TOKENS, *np.float32([[0, NAN, INF, 2]] * 2)]),
    "penalize_repetition": (penalize_repetition, [TOKENS, MANY_TOKENS, np.float32([1.5, 0.5, NAN, INF])]),
    "sample": (sample, [RANDOM.random(4)]),
    "scale_by_temperature": (scale_by_temperature, [np.float32([0.3, 0, NAN, INF])]),
}


@pytest.mark.parametrize("name", CASES)
def test_compiled_equals_plain(name):
    function, arguments = CASES[name]
    arguments = [tf.constant(argument) for argument in (LOGITS, *arguments)]
    signature = [tf.TensorSpec([None] * len(argument.shape), argument.dtype) for argument in arguments]
    plain, compiled = (
        tf.function(function, signature, autograph=False, jit_compile=is_compiled)(*arguments).numpy()
        for is_compiled in (False, True)
    )
    assert not np.isnan(plain).any()
    assert name == "sample" or (plain != LOGITS).any(), "this case tests nothing"
    np.testing.assert_array_equal(np.isneginf(compiled), np.isneginf(plain))
    np.testing.assert_allclose(compiled, plain, rtol=1e-5)
