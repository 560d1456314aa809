"""What the signatures `attribute` and `attention` of all tasks share: their inputs and outputs.

`attribute` explains N targets of a text (a label, tagged spans, an answer, generated tokens) by its tokens. The score
of a target is the log odds of its probability; see `tflm.tasks.features.attribution`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tflm.layers import Attention, capturing
from tflm.models.transformer_stack import TransformerStack
from tflm.tasks.features.attribution import METHODS, attribute_rows
from tflm.tasks.features.probes import rollout
from tflm.tasks.features.token_places import TokenPlaces
from tflm.text import Tokenizer

SIGNATURES = ("attribute", "attention")
"""They are exported on request: they make an export larger and slower to write, and most models serve without them."""
METHOD = tf.TensorSpec([None], tf.string, "method")
NUM_STEPS = tf.TensorSpec([None], tf.int32, "num_steps")
TARGET = tf.TensorSpec([None], tf.string, "target")

TargetScoreFn = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""From scales float32 [r, T], the rows of the batch int32 [r] and the numbers of targets int32 [r] to float32 [r]."""


class ExplainedRows(NamedTuple):
    """The rows of tokens that a model reads of B texts."""

    token_ids: tf.Tensor
    """int32 [B, T], padded."""
    places: TokenPlaces
    is_input: tf.Tensor
    """bool [B, T], what is attributed; the others, such as special tokens, stay as they are."""
    truncated: tf.Tensor
    """bool [B]."""


class Targets(NamedTuple):
    """N targets of each of B texts, padded."""

    text: tf.Tensor
    """string [B, N]: a label, an answer, a generated token."""
    start: tf.Tensor
    """int32 [B, N], the first character in the text that the target is in; -1 where it is in none."""
    end: tf.Tensor
    """int32 [B, N], the character after the last one; -1 likewise."""
    is_real: tf.Tensor
    """bool [B, N]."""


def explain_targets(
    score_fn: TargetScoreFn, rows: ExplainedRows, targets: Targets, inputs: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """`scores`, `baseline_scores` float32 [B, N] and `attributions` float32 [B, N, T] of targets.

    Args:
        score_fn: the log odds of a target at the scales of its row's tokens.
        rows: what the model reads.
        targets: what is explained.
        inputs: `method` string [B], `num_steps` int32 [B].
    """
    # Without any target the first place is computed and left out below, since a model reads one row at least.
    size = tf.shape(targets.is_real)
    is_first = tf.reshape(tf.equal(tf.range(size[0] * size[1]), 0), size)
    pairs = tf.cast(tf.where(targets.is_real | (is_first & ~tf.reduce_any(targets.is_real))), tf.int32)
    row, number = pairs[:, 0], pairs[:, 1]

    def score(scales: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        return score_fn(scales, tf.gather(row, places), tf.gather(number, places))

    chosen = (tf.gather(each, row) for each in (rows.is_input, inputs["method"], inputs["num_steps"]))
    found = attribute_rows(score, *chosen)

    def spread(values: tf.Tensor, *more: tf.Tensor) -> tf.Tensor:
        return tf.scatter_nd(pairs, values, tf.concat([size, *more], axis=0))

    return {
        "scores": tf.where(targets.is_real, spread(found.scores), 0.0),
        "baseline_scores": tf.where(targets.is_real, spread(found.baseline_scores), 0.0),
        "attributions": tf.where(
            targets.is_real[:, :, None], spread(found.values, tf.shape(rows.token_ids)[1:]), 0.0
        ),
    }


def target_outputs(targets: Targets) -> dict[str, tf.Tensor]:
    """The outputs that name the targets."""
    return {
        "targets": tf.where(targets.is_real, targets.text, ""),
        "target_starts": tf.where(targets.is_real, targets.start, -1),
        "target_ends": tf.where(targets.is_real, targets.end, -1),
        "num_targets": tf.math.count_nonzero(targets.is_real, axis=1, dtype=tf.int32),
    }


def token_outputs(tokenizer: Tokenizer, rows: ExplainedRows) -> dict[str, tf.Tensor]:
    """The outputs that name the tokens: `tokens` string [B, T], `parts`, `starts`, `ends` int32 [B, T], `num_tokens`
    int32 [B]; and `truncated` bool [B]."""
    is_real = tf.not_equal(rows.token_ids, tokenizer.pad_id)
    return {
        "tokens": token_names(tokenizer, rows.token_ids),
        "parts": rows.places.part,
        "starts": rows.places.start,
        "ends": rows.places.end,
        "num_tokens": tf.math.count_nonzero(is_real, axis=1, dtype=tf.int32),
        "truncated": rows.truncated,
    }


def token_names(tokenizer: Tokenizer, token_ids: tf.Tensor) -> tf.Tensor:
    """The text of each token, string [B, T] of int32 [B, T]; special tokens by their names, such as `<start>`, and
    padding ""."""
    flat, names = tf.reshape(token_ids, [-1]), _special_names(tokenizer)
    special = tf.gather(tf.constant([names[index] for index in sorted(names)]), _nearest(flat, names))
    found = tf.where(is_special(tokenizer, flat), special, tokenizer.detokenize(flat[:, None]))
    return tf.reshape(found, tf.shape(token_ids))


def is_special(tokenizer: Tokenizer, token_ids: tf.Tensor) -> tf.Tensor:
    """Which tokens no text has: bool, in the shape of int32 `token_ids`."""
    known = _special_names(tokenizer)
    return tf.equal(tf.gather(tf.constant(sorted(known)), _nearest(token_ids, known)), token_ids)


def attention_outputs(
    run_fn: Callable[[], Any], mask: tf.Tensor, query_mask: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """The attention weights of one pass.

    Args:
        run_fn: the pass.
        mask: bool [B, T], the real tokens that are attended to.
        query_mask: bool [B, K], the real tokens that attend; those of `mask` where it is None.
    Returns:
        `weights` float32 [B, L, H, T, T], of an encoder-decoder the cross-attention [B, L, H, K, T]; else also
        `rollout` float32 [B, T, T]. Rows of padding are 0; each other row sums to 1.
    """
    with capturing() as captured:
        run_fn()
    cross = captured.all("cross_weights")
    weights = tf.stack([_by_head(*each) for each in cross or captured.all("weights")], axis=1)
    both = (mask if query_mask is None else query_mask)[:, :, None] & mask[:, None]
    outputs = {"weights": tf.where(both[:, None, None], weights, 0.0)}
    if not cross:
        outputs["rollout"] = tf.where(both, rollout(weights), 0.0)
    return outputs


def _by_head(layer: Attention, weights: tf.Tensor) -> tf.Tensor:
    """float32 [B, H, K, S] of weights [B, G, K H / G, S] of an attention layer with G key/value heads."""
    shape = tf.shape(weights)
    num_queries = shape[1] * shape[2] // layer.num_heads
    by_head = tf.reshape(weights, tf.stack([shape[0], layer.num_heads, num_queries, shape[3]]))
    return tf.cast(by_head, tf.float32)


def has_attention(model: Any) -> bool:
    """Whether a model, or the body of one with a head, is a Transformer."""
    body = getattr(model, "body", model)
    return any(isinstance(getattr(body, name, None), TransformerStack) for name in ("encoder", "decoder"))


def attribute_request(texts: dict[str, list[str]], with_target: bool = True) -> dict[str, list[Any]]:
    """A request to check an export with: the rows take one method after the other."""
    count = len(next(iter(texts.values())))
    return {
        **texts,
        **({"target": [""] * count} if with_target else {}),
        "method": [METHODS[row % len(METHODS)] for row in range(count)],
        "num_steps": [2 + row for row in range(count)],
    }


def _special_names(tokenizer: Tokenizer) -> dict[int, str]:
    named = tokenizer.special_tokens.items()
    names = {
        index: _marked(name) for name, index in named if index != tokenizer.unk_id
    }  # a text may have unk
    if tokenizer.start_id is not None:
        names[tokenizer.start_id] = "<start>"
    return names | dict.fromkeys(tokenizer.end_ids, "<end>") | {tokenizer.pad_id: ""}


def _nearest(token_ids: tf.Tensor, known: dict[int, str]) -> tf.Tensor:
    """Where an id would be among the known ones, sorted."""
    flat = tf.searchsorted(tf.constant(sorted(known)), tf.reshape(token_ids, [-1]))
    return tf.reshape(tf.minimum(flat, len(known) - 1), tf.shape(token_ids))


def _marked(name: str) -> str:
    """ "separator" to "<separator>"; "[SEP]" and "<s>" stay."""
    return name if name.startswith(("<", "[")) else f"<{name}>"
