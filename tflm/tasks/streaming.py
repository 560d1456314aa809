"""Text as it comes: a state that crosses the wire as named tensors, and the piece of text that is new."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tflm.decoding import Progress, cut_at_stop, hold_back

# What a later token may still change: the replacement characters of a character whose bytes have not all come, and
# Hangul, whose letters a tokenizer that strips accents puts together only at the end.
_UNSETTLED = "[\uac00-\ud7a3]?[\u1100-\u11ff\ufffd]*$"
_PREFIX = "state_"
NUM_BYTES_SENT = "state_num_bytes_sent"


class ProgressWire:
    """A `Progress` as a dict of named tensors with the batch first, and back.

    What every row has in common, such as `cache_index`, is given to each row, so that the batch is the first axis of
    all. Rows of different answers do not go together, which is checked. Names are the path in the nest:
    `state_model_state_keys_0`, `state_rows_token_ids`, ...
    """

    def __init__(self, template: Progress) -> None:
        """Args:
        template: a Progress of specs that fit all that come.
        """
        self._template = template
        self._names = [_PREFIX + path for path in _paths(template)]
        self._is_scalar = [leaf.shape.rank == 0 for leaf in tf.nest.flatten(template)]
        leaves = zip(tf.nest.flatten(template), self._names, strict=True)
        self.specs = [tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype, name) for leaf, name in leaves]

    def pack(self, progress: Progress) -> dict[str, tf.Tensor]:
        """The tensors by name."""
        num_rows = tf.shape(progress.limits)
        leaves = zip(self._names, tf.nest.flatten(progress), self._is_scalar, strict=True)
        return {name: tf.fill(num_rows, leaf) if scalar else leaf for name, leaf, scalar in leaves}

    def unpack(self, tensors: Mapping[str, tf.Tensor]) -> Progress:
        """The inverse of `pack`. The op fails where rows are not of one answer, as when a server has put requests
        together into a batch."""
        named = zip(self._names, self._is_scalar, strict=True)
        leaves = [_common(tensors[name], name) if scalar else tensors[name] for name, scalar in named]
        return tf.nest.pack_sequence_as(self._template, leaves)


def next_piece(
    progress: Progress,
    token_ids: tf.Tensor,
    num_bytes_sent: tf.Tensor,
    detokenize_fn: Callable[[tf.Tensor], tf.Tensor],
) -> dict[str, tf.Tensor]:
    """What `prefill` and `decode` tell of the texts so far: `piece`, `finished`, `num_tokens`, `log_probability`,
    `finish_reason`, and how many bytes of each text were sent.

    Args:
        progress: the texts so far.
        token_ids: int32 [B, N], what was produced, padded.
        num_bytes_sent: int32 [B], before this piece.
        detokenize_fn: token ids int32 [B, N] to string [B].
    """
    rows = progress.rows
    finished = ~rows.is_running
    text = settled(detokenize_fn(token_ids), finished)[:, None]
    stop = progress.settings["stop"]
    text = tf.cond(
        tf.reduce_any(stop != ""),
        lambda: tf.where(finished[:, None], cut_at_stop(text, stop), hold_back(text, stop)),
        lambda: text,
    )[:, 0]
    length = tf.strings.length(text)
    return {
        "piece": tf.strings.substr(text, num_bytes_sent, tf.maximum(length - num_bytes_sent, 0)),
        "finished": finished,
        **told(progress),
        NUM_BYTES_SENT: tf.maximum(length, num_bytes_sent),
    }


def told(progress: Progress) -> dict[str, tf.Tensor]:
    """What every signature that writes tells beside the text. `finish_reason` is "stop" after an end token or a stop
    text, "length" at a limit, "" before either."""
    rows = progress.rows
    reason = tf.where(rows.has_ended | rows.has_stopped, "stop", "length")
    return {
        "num_tokens": rows.num_tokens,
        "log_probability": rows.log_probability,
        "finish_reason": tf.where(rows.is_running, "", reason),
    }


def decode_request(outputs: Mapping[str, Any], num_tokens: int) -> dict[str, Any]:
    """What `decode` takes after `prefill` or `decode` gave `outputs`.

    Args:
        outputs: name to array, batch first.
        num_tokens: how many more tokens a row may take.
    """
    sent = {NUM_BYTES_SENT: outputs[NUM_BYTES_SENT]}
    return {"num_tokens": [num_tokens] * len(outputs["finished"]), **state_of(outputs), **sent}


def state_of(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the text among the outputs of `prefill`, `decode` or `resume`: what `resume` takes."""
    return {
        name: value for name, value in outputs.items() if name.startswith(_PREFIX) and name != NUM_BYTES_SENT
    }


def settled(text: tf.Tensor, finished: tf.Tensor) -> tf.Tensor:
    """The beginning of each text that no later token will change; all of a finished one.

    >>> settled(["ab\ufffd", "ab\ufffd", "你好"], [False, True, False])
    ["ab", "ab\ufffd", "你好"]

    Args:
        text: string [B].
        finished: bool [B].
    """
    return tf.where(finished, text, tf.strings.regex_replace(text, _UNSETTLED, ""))


def _common(values: tf.Tensor, name: str) -> tf.Tensor:
    """The scalar that all of `values` are."""
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
