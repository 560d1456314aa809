"""The probabilities that a token is drawn from, at places of a text that need not be its end: for `speculative.py`."""

import tensorflow as tf

from tflm.decoding.choose import possible_logits, sampled_logits
from tflm.decoding.no_repeat_ngram import forbid_repeated_ngrams
from tflm.decoding.rows import Rules


class Distribution:
    """What `choose` draws from, as probabilities: all on one token in greedy rows, and on the end token in rows where
    no token is possible. Rows may have unequal numbers of tokens. It is traced once for all that ask.

    Args:
        rules: of the rows.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        settings = {name: values for name, values in rules.settings.items() if values.dtype != tf.string}
        self._given = {"prompt_ids": rules.prompt_ids, "choice_ids": rules.choice_ids, "settings": settings}
        specs = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * x.shape.rank, x.dtype), self._given)
        ids = tf.TensorSpec([None, None], tf.int32)
        signature = [tf.TensorSpec([None, None]), ids, tf.TensorSpec([None], tf.int32), specs]
        self._function = tf.function(self._probabilities, input_signature=signature, autograph=False)

    def next(self, logits: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """float32 [B, V] of each row's next token.

        Args:
            logits: float32 [B, V], as the model gave them.
            token_ids: int32 [B, N], of which the first `num_tokens` count.
            num_tokens: int32 [B].
        """
        return self._function(logits, token_ids, num_tokens, self._given)

    def after_each(
        self, logits: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor, drafted: tf.Tensor
    ) -> tf.Tensor:
        """float32 [B, K + 1, V]: of the next token, and of the one after each drafted token.

        Args:
            logits: float32 [B, K + 1, V], as the model gave them after the newest token and each drafted one.
            token_ids: int32 [B, N], of which the first `num_tokens` count. There is room for K more.
            num_tokens: int32 [B].
            drafted: int32 [B, K].
        """
        num_rows, count, vocab_size = tf.unstack(tf.shape(logits))
        source = tf.range(tf.shape(token_ids)[1])[None] - num_tokens[:, None]
        inside = tf.clip_by_value(source, 0, count - 2)
        text = tf.where(source >= 0, tf.gather(drafted, inside, batch_dims=1), token_ids)
        flat = tf.reshape(logits, [num_rows * count, vocab_size])
        lengths = tf.reshape(num_tokens[:, None] + tf.range(count), [-1])
        given = tf.nest.map_structure(lambda x: tf.repeat(x, count, axis=0), self._given)
        probabilities = self._function(flat, tf.repeat(text, count, axis=0), lengths, given)
        return tf.reshape(probabilities, [num_rows, count, vocab_size])

    def _probabilities(
        self, logits: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor, given: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        rules, settings, prompt_ids = self._rules, given["settings"], given["prompt_ids"]
        is_text = tf.range(tf.shape(token_ids)[1])[None] < num_tokens[:, None]
        token_ids = tf.where(is_text, token_ids, -1)
        size = settings["no_repeat_ngram_size"]
        logits = tf.cond(
            tf.reduce_any(size > 0),
            lambda: _forbid_repeated(logits, prompt_ids, token_ids, num_tokens, size),
            lambda: logits,
        )
        possible = possible_logits(
            logits,
            {**settings, "no_repeat_ngram_size": tf.zeros_like(size)},
            prompt_ids=prompt_ids,
            token_ids=token_ids,
            num_tokens=num_tokens,
            choice_ids=given["choice_ids"],
            suppressed_ids=rules.suppressed_ids,
            end_id=rules.end_id,
        )
        best = tf.math.top_k(possible, 1)  # the first among equals
        has_one = best.values[:, 0] > float("-inf")
        certain = tf.one_hot(tf.where(has_one, best.indices[:, 0], rules.end_id), tf.shape(logits)[1])
        is_random = has_one & (settings["temperature"] > 0.0)
        return tf.cond(
            tf.reduce_any(is_random),
            lambda: tf.where(is_random[:, None], tf.nn.softmax(sampled_logits(possible, settings)), certain),
            lambda: certain,
        )


def _forbid_repeated(
    logits: tf.Tensor, prompt_ids: tf.Tensor, token_ids: tf.Tensor, num_tokens: tf.Tensor, size: tf.Tensor
) -> tf.Tensor:
    """`forbid_repeated_ngrams` for texts of unequal length: moved to the right, so that they end together. Before all
    other prohibitions and penalties this does what it does among them: an impossible token stays so."""
    history = tf.concat([prompt_ids, token_ids], axis=1)
    width = tf.shape(history)[1]
    gap = tf.shape(token_ids)[1] - num_tokens
    source = tf.range(width)[None] - gap[:, None]
    moved = tf.gather(history, tf.maximum(source, 0), batch_dims=1)
    return forbid_repeated_ngrams(logits, tf.where(source < 0, -1, moved), width, size)
