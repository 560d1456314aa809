"""Text as it comes: a state that crosses the wire as named tensors, and the piece of text that is new."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tflm.decoding import LanguageModel, Progress, progress_specs

# What a later token may still change: the replacement characters of a character whose bytes have not all come, and
# Hangul, whose letters a tokenizer that strips accents puts together only at the end.
_UNSETTLED = "[\uac00-\ud7a3]?[\u1100-\u11ff\ufffd]*$"
_PREFIX = "state_"
_SENT = "state_num_bytes_sent"


class ProgressWire:
    """A `Progress` as a dict of named tensors with the batch first, and back.

    What every row has in common, such as `cache_index`, is given to each row, so that a server may split and join
    batches. Names are the path in the nest: `state_model_state_keys_0`, `state_rows_token_ids`, ...
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
        """The inverse of `pack`."""
        named = zip(self._names, self._is_scalar, strict=True)
        leaves = [tf.reduce_max(tensors[name]) if scalar else tensors[name] for name, scalar in named]
        return tf.nest.pack_sequence_as(self._template, leaves)


def streaming_signatures(
    model: LanguageModel,
    specs: list[tf.TensorSpec],
    begin_fn: Callable[[dict[str, tf.Tensor]], tuple[Progress, dict[str, tf.Tensor]]],
    advance_fn: Callable[[Progress, tf.Tensor], Progress],
    detokenize_fn: Callable[[tf.Tensor], tf.Tensor],
) -> dict[str, Callable[..., Any]]:
    """The signatures `prefill` and `decode`.

    `prefill` takes what `specs` says; `decode` takes `num_tokens` int32 [B], of which the largest counts, and the
    state. Both give `piece` string [B], `finished` bool [B], `num_tokens` int32 [B] and `log_probability` float32 [B]
    of all the text so far, and the state. The pieces of a row joined are the text of `generate`, and each is whole
    characters.

    Args:
        model: it writes.
        specs: the inputs of `prefill`.
        begin_fn: those inputs by name, to the first token of each row and what else `prefill` tells.
        advance_fn: goes on for so many tokens.
        detokenize_fn: token ids int32 [B, N], padded, to string [B].
    """
    wires: list[ProgressWire] = []

    @tf.function(input_signature=specs, autograph=False)
    def prefill(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        progress, told = begin_fn({spec.name: value for spec, value in zip(specs, inputs, strict=True)})
        wires[:] = [ProgressWire(progress_specs(model, progress))]
        told |= _told(progress, tf.zeros_like(progress.limits), detokenize_fn)
        return told | wires[0].pack(progress)

    prefill.get_concrete_function()  # it says what the state looks like
    wire = wires[0]
    counts = [tf.TensorSpec([None], tf.int32, name) for name in ("num_tokens", _SENT)]

    @tf.function(input_signature=[*counts, *wire.specs], autograph=False)
    def decode(num_tokens: tf.Tensor, num_bytes_sent: tf.Tensor, *state: tf.Tensor) -> dict[str, tf.Tensor]:
        named = {spec.name: value for spec, value in zip(wire.specs, state, strict=True)}
        progress = advance_fn(wire.unpack(named), tf.reduce_max(num_tokens))
        return _told(progress, num_bytes_sent, detokenize_fn) | wire.pack(progress)

    return {"prefill": prefill, "decode": decode}


def decode_request(outputs: Mapping[str, Any], num_tokens: int) -> dict[str, Any]:
    """What `decode` takes after `prefill` or `decode` gave `outputs`.

    Args:
        outputs: name to array, batch first.
        num_tokens: how many more tokens a row may take.
    """
    state = {name: value for name, value in outputs.items() if name.startswith(_PREFIX)}
    return {"num_tokens": [num_tokens] * len(outputs["finished"]), **state}


def settled(text: tf.Tensor, finished: tf.Tensor) -> tf.Tensor:
    """The beginning of each text that no later token will change; all of a finished one.

    >>> settled(["ab\ufffd", "ab\ufffd", "你好"], [False, True, False])
    ["ab", "ab\ufffd", "你好"]

    Args:
        text: string [B].
        finished: bool [B].
    """
    return tf.where(finished, text, tf.strings.regex_replace(text, _UNSETTLED, ""))


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


def _told(
    progress: Progress, num_bytes_sent: tf.Tensor, detokenize_fn: Callable[[tf.Tensor], tf.Tensor]
) -> dict[str, tf.Tensor]:
    finished = ~progress.rows.is_running
    text = settled(detokenize_fn(progress.token_ids), finished)
    length = tf.strings.length(text)
    return {
        "piece": tf.strings.substr(text, num_bytes_sent, tf.maximum(length - num_bytes_sent, 0)),
        "finished": finished,
        "num_tokens": progress.rows.num_tokens,
        "log_probability": progress.rows.log_probability,
        _SENT: tf.maximum(length, num_bytes_sent),
    }
