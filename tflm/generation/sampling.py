"""The choice of one token for each row: process the logits, then take the most likely token or sample.

    logits ──penalties, constraints──> process_logits ──temperature, top-k, top-p, …──> filter_logits ──> sample

Random numbers are drawn per row from its own seed. `Distribution` gives the probabilities instead of a sample, for
speculative sampling.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.generation.constraints import CONSTRAINTS
from tflm.generation.logit_filters import FILTERS
from tflm.generation.penalties import PENALTIES, mask_repeated_ngrams
from tflm.generation.settings import Settings, repeat_rows


class LoopInvariants(NamedTuple):
    """The inputs of every step that stay constant over the generation loop."""

    settings: Settings
    limits: tf.Tensor
    """int32 [B]: the largest number of tokens to generate."""
    prompt_ids: tf.Tensor
    """int32 [B, P]; -1 is padding on the left."""
    choice_ids: tf.Tensor
    """int32 [B, C, L]; see `keep_choices`."""
    suppressed_ids: Sequence[int]
    """Tokens that are never generated."""
    end_ids: tuple[int, ...]
    """Tokens that end a text, the usual one first."""
    pad_id: int


def process_logits(
    logits: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor, invariants: LoopInvariants
) -> tf.Tensor:
    """The logits after penalties and constraints; masked tokens are -inf.

    A setting that no row uses costs nothing. Logits that are NaN or infinite are masked.

    Args:
        logits: float32 [B, V], as the model returns them.
        token_ids: int32 [B, N], the generated tokens, padded with -1 on the right. The running rows have the same
            number of tokens.
        num_tokens: int32 [B], their number.
        invariants: its settings include at least those of penalties and constraints.
    Returns:
        float32 [B, V].
    """
    inputs: dict[str, Any] = {
        **invariants.settings,
        "prompt_ids": invariants.prompt_ids,
        "choice_ids": invariants.choice_ids,
        "end_ids": invariants.end_ids,
        "token_ids": token_ids,
        "num_tokens": num_tokens,
    }
    logits = mask_suppressed(logits, invariants.suppressed_ids)
    return CONSTRAINTS(PENALTIES(logits, inputs), inputs)


def mask_suppressed(logits: tf.Tensor, suppressed_ids: Sequence[int]) -> tf.Tensor:
    """Masks tokens that are never generated, and logits float32 [B, V] that are not finite."""
    vocab = tf.range(tf.shape(logits)[-1])
    is_suppressed = tf.reduce_any(vocab == tf.constant(suppressed_ids, tf.int32)[:, None], axis=0)
    return tf.where(tf.math.is_finite(logits) & ~is_suppressed, logits, float("-inf"))


def filter_logits(logits: tf.Tensor, settings: Settings) -> tf.Tensor:
    """The logits to sample from: temperature, top-k, top-p, min-p and typical-p, in this order; float32 [B, V]."""
    return FILTERS(logits, settings)


def choose(logits: tf.Tensor, uniform: tf.Tensor, settings: Settings, end_id: int) -> tf.Tensor:
    """One token for each row.

    Rows of temperature 0 take the most likely token, the one with the smallest id among ties. A row in which every
    token is masked ends.

    Args:
        logits: float32 [B, V], from `process_logits`.
        uniform: float64 [B], a random number for each row.
        settings: see `settings_tensors`.
        end_id: int.
    Returns:
        int32 [B].
    """
    best = tf.math.top_k(logits, 1)  # breaks ties by the smallest id, which tf.argmax does not promise
    greedy = best.indices[:, 0]
    is_random = settings["temperature"] > 0.0
    tokens = tf.cond(
        tf.reduce_any(is_random),
        lambda: tf.where(is_random, sample(filter_logits(logits, settings), uniform), greedy),
        lambda: tf.identity(greedy),
    )
    return tf.where(best.values[:, 0] > float("-inf"), tokens, end_id)


def sample(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Inverse transform sampling: the first token whose cumulative probability exceeds the uniform number.

    The cumulative sum is float64: over 50,000 tokens float32 would lose the small ones. The number is scaled by the
    total, so the probabilities need not sum to 1. A token of probability zero is never chosen, even under XLA, whose
    blockwise sum may change by rounding at such a token.

    >>> sample(log([[0.2, 0., 0.8]]), [0.1]), sample(log([[0.2, 0., 0.8]]), [0.2])
    [0], [2]

    Args:
        logits: float32 [B, V]; -inf is a masked token.
        uniform: float64 [B], in [0, 1).
    Returns:
        int32 [B]; V in a row in which every token is masked.
    """
    weights = tf.exp(logits - tf.reduce_max(logits, axis=-1, keepdims=True))
    sums = tf.cumsum(tf.cast(weights, tf.float64), axis=-1)
    sums = tf.where(weights > 0.0, sums, 0.0)
    target = uniform[:, None] * tf.reduce_max(sums, axis=-1, keepdims=True)
    num_tokens = tf.shape(logits)[-1]
    return tf.reduce_min(tf.where(sums > target, tf.range(num_tokens), num_tokens), axis=-1)


_GROUP = 64
"""Random numbers drawn by one call, keyed by seed and group, so that number n of a row does not depend on how many are
requested at once. Changing this changes the text of every seed."""


def uniforms(seed: tf.Tensor, start: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Random numbers `start` to `start + count - 1` of each row's sequence, which its seed alone determines.

    `uniforms(seed, 3, 2)` is `uniforms(seed, 0, 5)[:, 3:]`, and a row's numbers do not depend on other rows.

    Args:
        seed: int64 [B].
        start: int32 scalar.
        count: int32 scalar, at least 1.
    Returns:
        float64 [B, count], in [0, 1).
    """
    first_group, last_group = start // _GROUP, (start + count - 1) // _GROUP
    groups = tf.cast(tf.range(first_group, last_group + 1), tf.int64)
    rows, groups = tf.meshgrid(seed, groups, indexing="ij")
    numbers = tf.map_fn(
        lambda key: tf.random.stateless_uniform([_GROUP], key, dtype=tf.float64, alg="philox"),
        tf.reshape(tf.stack([rows, groups], axis=-1), [-1, 2]),
        fn_output_signature=tf.TensorSpec([_GROUP], tf.float64),
    )
    numbers = tf.reshape(numbers, [tf.shape(seed)[0], tf.shape(rows)[1] * _GROUP])
    offset = start - first_group * _GROUP
    return numbers[:, offset : offset + count]


def step_uniforms(settings: Settings, start: tf.Tensor | int, count: tf.Tensor | int) -> tf.Tensor:
    """Random numbers for tokens `start` to `start + count - 1`: float64 [count, B], zeros if every row is greedy."""
    seed = settings["seed"]
    return tf.cond(
        tf.reduce_any(settings["temperature"] > 0.0),
        lambda: tf.transpose(uniforms(seed, start, count)),
        lambda: tf.zeros([count, tf.size(seed)], tf.float64),
    )


class Distribution:
    """The probabilities that `choose` samples from: one-hot in greedy rows, and at the end token in rows in which every
    token is masked. Rows may have different numbers of tokens. Traced once for all calls.

    Args:
        invariants: of the rows.
    """

    def __init__(self, invariants: LoopInvariants) -> None:
        self._invariants = invariants
        settings = {name: value for name, value in invariants.settings.items() if value.dtype != tf.string}
        self._inputs = {
            "prompt_ids": invariants.prompt_ids,
            "choice_ids": invariants.choice_ids,
            "settings": settings,
        }
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * x.shape.rank, x.dtype), self._inputs)
        ids = tf.TensorSpec([None, None], tf.int32)
        signature = [tf.TensorSpec([None, None]), ids, tf.TensorSpec([None], tf.int32), specs]
        self._function = tf.function(self._probabilities, input_signature=signature, autograph=False)

    def next(self, logits: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """float32 [B, V] of each row's next token.

        Args:
            logits: float32 [B, V], as the model returns them.
            token_ids: int32 [B, N], of which the first `num_tokens` are in use.
            num_tokens: int32 [B].
        """
        return self._function(logits, token_ids, num_tokens, self._inputs)

    def after_each(
        self, logits: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor, draft_ids: tf.Tensor
    ) -> tf.Tensor:
        """float32 [B, K + 1, V]: of the next token, and of the one after each draft token.

        Args:
            logits: float32 [B, K + 1, V], the model's after the newest token and after each draft token.
            token_ids: int32 [B, N], of which the first `num_tokens` are in use, with room for K more.
            num_tokens: int32 [B].
            draft_ids: int32 [B, K].
        """
        num_rows, count, vocab_size = tf.unstack(tf.shape(logits))
        source = tf.range(tf.shape(token_ids)[1])[None] - num_tokens[:, None]
        inside = tf.clip_by_value(source, 0, count - 2)
        text = tf.where(source >= 0, tf.gather(draft_ids, inside, batch_dims=1), token_ids)
        flat = tf.reshape(logits, [num_rows * count, vocab_size])
        lengths = tf.reshape(num_tokens[:, None] + tf.range(count), [-1])
        inputs, text = repeat_rows((self._inputs, text), count)
        probabilities = self._function(flat, text, lengths, inputs)
        return tf.reshape(probabilities, [num_rows, count, vocab_size])

    def _probabilities(
        self, logits: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor, inputs: dict[str, Any]
    ) -> tf.Tensor:
        settings, prompt_ids = inputs["settings"], inputs["prompt_ids"]
        is_text = tf.range(tf.shape(token_ids)[1])[None] < num_tokens[:, None]
        token_ids = tf.where(is_text, token_ids, -1)
        size = settings["no_repeat_ngram_size"]
        # Rows of different lengths need their own alignment, so n-grams are masked here. The order does not matter:
        # a masked token stays masked.
        logits = tf.cond(
            tf.reduce_any(size > 0),
            lambda: _forbid_repeated_ngrams(logits, prompt_ids, token_ids, num_tokens, size),
            lambda: logits,
        )
        invariants = self._invariants._replace(
            settings={**settings, "no_repeat_ngram_size": tf.zeros_like(size)},
            prompt_ids=prompt_ids,
            choice_ids=inputs["choice_ids"],
        )
        logits = process_logits(logits, token_ids, num_tokens, invariants)
        best = tf.math.top_k(logits, 1)  # breaks ties by the smallest id
        has_one = best.values[:, 0] > float("-inf")
        one_hot = tf.one_hot(
            tf.where(has_one, best.indices[:, 0], self._invariants.end_ids[0]), tf.shape(logits)[1]
        )
        is_random = has_one & (settings["temperature"] > 0.0)
        return tf.cond(
            tf.reduce_any(is_random),
            lambda: tf.where(is_random[:, None], tf.nn.softmax(filter_logits(logits, settings)), one_hot),
            lambda: one_hot,
        )


def _forbid_repeated_ngrams(
    logits: tf.Tensor, prompt_ids: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    """`mask_repeated_ngrams` for rows of different lengths, which are aligned on the right first."""
    history = tf.concat([prompt_ids, token_ids], axis=1)
    width = tf.shape(history)[1]
    gap = tf.shape(token_ids)[1] - num_tokens
    source = tf.range(width)[None] - gap[:, None]
    aligned = tf.gather(history, tf.maximum(source, 0), batch_dims=1)
    return mask_repeated_ngrams(logits, tf.where(source < 0, -1, aligned), width, size)
