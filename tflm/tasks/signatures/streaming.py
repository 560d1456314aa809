"""Streaming: the generation state as named tensors of a signature, and the part of the text that is new."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tflm.generation import GenerationState, cut_at_stop, hold_back

# What a later token can change: the replacement characters of an incomplete UTF-8 sequence, and Hangul, whose letters a
# tokenizer that strips accents composes only at the end.
_UNSTABLE = "[\uac00-\ud7a3]?[\u1100-\u11ff\ufffd]*$"
_PREFIX = "state_"
NUM_BYTES_SENT = "state_num_bytes_sent"


class StateCodec:
    """Converts a `GenerationState` to a dict of named tensors with the batch on axis 0, and back.

    Scalars, such as `cache_index`, are repeated for each row, so that the batch is the first axis of every tensor. Rows
    of different requests cannot be combined, which is checked. A name is the path in the nest:
    `state_model_state_keys_0`, `state_rows_token_ids`, ...

    Args:
        template: a GenerationState of TensorSpecs that every state matches, from `open_specs`.
    """

    def __init__(self, template: GenerationState) -> None:
        self._template = template
        self._names = tf.nest.pack_sequence_as(template, [_PREFIX + path for path in _paths(template)])
        leaves = zip(tf.nest.flatten(template), tf.nest.flatten(self._names), strict=True)
        self.specs = [tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype, name) for leaf, name in leaves]

    def pack(self, state: GenerationState) -> dict[str, tf.Tensor]:
        """The tensors by name."""
        num_rows = tf.shape(state.limits)
        leaves = zip(*map(tf.nest.flatten, (self._names, self._template, state)), strict=True)
        return {name: leaf if spec.shape.rank else tf.fill(num_rows, leaf) for name, spec, leaf in leaves}

    def unpack(self, tensors: Mapping[str, tf.Tensor]) -> GenerationState:
        """The inverse of `pack`. The op fails where rows belong to different requests, as when a server has batched
        them."""
        return tf.nest.map_structure(
            lambda name, spec: tensors[name] if spec.shape.rank else _common(tensors[name], name),
            self._names,
            self._template,
        )


def next_piece(
    state: GenerationState,
    token_ids: tf.Tensor,
    num_bytes_sent: tf.Tensor,
    detokenize_fn: Callable[[tf.Tensor], tf.Tensor],
) -> dict[str, tf.Tensor]:
    """The outputs of `prefill` and `decode`: `piece`, the text that is new; `finished`, `num_tokens`,
    `log_probability`, `finish_reason`; and the number of bytes of each text that were sent.

    Args:
        state: the generation state.
        token_ids: int32 [B, N], the generated tokens, padded.
        num_bytes_sent: int32 [B], before this piece.
        detokenize_fn: token ids int32 [B, N] to string [B].
    """
    rows = state.rows
    finished = ~rows.is_running
    text = stable_prefix(detokenize_fn(token_ids), finished)[:, None]
    stop = state.settings["stop"]
    text = tf.cond(
        tf.reduce_any(stop != ""),
        lambda: tf.where(finished[:, None], cut_at_stop(text, stop), hold_back(text, stop)),
        lambda: text,
    )[:, 0]
    length = tf.strings.length(text)
    return {
        "piece": tf.strings.substr(text, num_bytes_sent, tf.maximum(length - num_bytes_sent, 0)),
        "finished": finished,
        **row_outputs(state),
        NUM_BYTES_SENT: tf.maximum(length, num_bytes_sent),
    }


def row_outputs(state: GenerationState) -> dict[str, tf.Tensor]:
    """The outputs of every generating signature except the text. `finish_reason` is "stop" after an end token or a stop
    string, "length" at a limit, and "" before either."""
    rows = state.rows
    reason = tf.where(rows.has_ended | rows.has_stopped, "stop", "length")
    return {
        "num_tokens": rows.num_tokens,
        "log_probability": rows.log_probability,
        "finish_reason": tf.where(rows.is_running, "", reason),
    }


def decode_request(outputs: Mapping[str, Any], num_tokens: int) -> dict[str, Any]:
    """The inputs of `decode` from the outputs of `prefill` or `decode`.

    Args:
        outputs: name to array, batch first.
        num_tokens: the largest number of further tokens per row.
    """
    sent = {NUM_BYTES_SENT: outputs[NUM_BYTES_SENT]}
    return {"num_tokens": [num_tokens] * len(outputs["finished"]), **state_of(outputs), **sent}


def state_of(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The generation state in the outputs of `prefill`, `decode` or `resume`, as inputs of `resume`."""
    return {
        name: value for name, value in outputs.items() if name.startswith(_PREFIX) and name != NUM_BYTES_SENT
    }


def stable_prefix(text: tf.Tensor, finished: tf.Tensor) -> tf.Tensor:
    """The prefix of each text that no later token can change; a finished text as a whole.

    >>> stable_prefix(["ab\ufffd", "ab\ufffd", "你好"], [False, True, False])
    ["ab", "ab\ufffd", "你好"]

    Args:
        text: string [B].
        finished: bool [B].
    """
    return tf.where(finished, text, tf.strings.regex_replace(text, _UNSTABLE, ""))


def _common(values: tf.Tensor, name: str) -> tf.Tensor:
    """The scalar that all `values` equal."""
    common = tf.reduce_max(values)
    is_common = tf.reduce_all(values == common)
    words = f"{name} is not the same in all rows: they must be of one answer, so this signature must not be batched."
    with tf.control_dependencies([tf.debugging.Assert(is_common, [words, values])]):
        return tf.identity(common)


def _paths(nest: Any) -> Iterator[str]:
    """A name for each leaf, in the order of `tf.nest.flatten`.

    >>> list(_paths({"b": (7, 8), "a": 9}))
    ["a", "b_0", "b_1"]
    """
    if isinstance(nest, Mapping):
        parts = [(name, nest[name]) for name in sorted(nest)]
    elif isinstance(nest, tuple | list):
        parts = list(zip(getattr(nest, "_fields", range(len(nest))), nest, strict=True))
    else:
        yield ""
        return
    for name, part in parts:
        yield from (f"{name}_{path}".rstrip("_") for path in _paths(part))
