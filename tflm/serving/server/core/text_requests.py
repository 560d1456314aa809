"""Texts to be written by a served model: settings that are left out take the model's own, and the text comes in pieces.

What `:stream` and the OpenAI-compatible endpoints have in common.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tflm.config import from_dict
from tflm.errors import UserError
from tflm.generation import DecodingConfig, settings_lists
from tflm.serving.server.core.json_text import to_bytes
from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.core.status import invalid
from tflm.serving.server.core.telemetry import facts
from tflm.serving.stream import can_stream, stream

Record = dict[str, Any]
_OUTPUTS = {"finish_reason", "num_tokens", "log_probability", "truncated"}
_MOST_VALUES = 2**22


@dataclasses.dataclass(frozen=True)
class TextRow:
    """One text that is wanted: of a conversation where there are `messages`, else of `text`."""

    text: bytes = b""
    messages: tuple[tuple[bytes, bytes], ...] = ()
    """Role and content of each, the oldest first."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of `DecodingConfig`; those left out are as the model's config has them."""


def check_writes(model: ServedModel, signature: str) -> None:
    """
    Raises:
        ServingError: INVALID_ARGUMENT, the model has no such signature, or one that lacks outputs.
    """
    if signature not in model.signatures:
        has = ", ".join(model.signatures)
        what = "is not a chat model" if signature == "chat" else "does not generate text"
        raise invalid(f"Model {model.path} {what}: it has no signature {signature!r}, but: {has}.")
    _check_outputs(model, signature)


def write_in_pieces(model: ServedModel, rows: Sequence[TextRow], tokens_a_piece: int) -> Iterator[Record]:
    """The texts as they come. The pieces of a row joined are the text that `generate` or `chat` gives.

    >>> list(write_in_pieces(model, [TextRow(b"Once")], 4))
    [{'row': 0, 'piece': ' upon'}, {'row': 0, 'piece': ' a time'},
     {'row': 0, 'finish_reason': 'stop', 'num_tokens': 5, 'log_probability': -3.2, 'truncated': False}]

    Raises:
        ServingError: as `inputs_of`; the model cannot give a text in pieces; or what a run failed with.
    """
    if not can_stream(model):
        raise invalid(
            f"Model {model.path} does not support streaming: it has no signatures 'prefill' and 'decode', but: "
            f"{', '.join(model.signatures)}. Use :predict, or leave out stream."
        )
    _check_outputs(model, "prefill")
    ended: set[int] = set()
    num_tokens = 0
    once: dict[str, Any] = {}  # outputs of `prefill` alone
    for outputs in stream(model, inputs_of(model, "prefill", rows), tokens_a_piece):
        facts().add_tokens(int(outputs["num_tokens"].sum()) - num_tokens)
        num_tokens = int(outputs["num_tokens"].sum())
        once = once or {name: outputs[name] for name in ("truncated", "num_left_out") if name in outputs}
        for row in range(len(rows)):
            if piece := outputs["piece"][row].decode("utf-8", "replace"):
                yield {"row": row, "piece": piece}
            if outputs["finished"][row] and row not in ended:
                ended.add(row)
                log_probability = float(outputs["log_probability"][row])
                yield {
                    "row": row,
                    "finish_reason": outputs["finish_reason"][row].decode(),
                    "num_tokens": int(outputs["num_tokens"][row]),
                    # JSON has no infinity
                    "log_probability": log_probability if math.isfinite(log_probability) else None,
                    **{name: values[row].item() for name, values in once.items()},
                }


def inputs_of(model: ServedModel, signature: str, rows: Sequence[TextRow]) -> dict[str, list[Any]]:
    """The inputs of a request, one value a row; lists are made equally long.

    >>> inputs_of(model, "prefill", [TextRow(messages=((b"user", b"Hi"),)), TextRow(b"", settings={"top_k": 5})])
    {'roles': [[b'user'], [b'user']], 'messages': [[b'Hi'], [b'']], ..., 'top_k': [0, 5], ...}

    A `text` for a signature that takes conversations is a conversation of one message of the user.

    Raises:
        ServingError: INVALID_ARGUMENT, for a conversation that the model does not hold, and for settings that there are
            not or that are out of range.
    """
    takes = model.signatures[signature].inputs
    inputs: dict[str, list[Any]] = {}
    if "roles" in takes:
        conversations = [row.messages or ((b"user", row.text),) for row in rows]
        for place, name in enumerate(("roles", "messages")):
            inputs[name] = _filled_up([[each[place] for each in row] for row in conversations], b"")
    elif any(row.messages for row in rows):
        raise invalid(
            f"Model {model.path} is not a chat model: give 'text' instead of 'roles' and 'messages'."
        )
    else:
        inputs["text"] = [row.text for row in rows]
    for name, column in _settings(model, rows).items():
        if name in takes:
            inputs[name] = column
        elif any(name in row.settings for row in rows):
            raise invalid(f"Model {model.path} has no setting {name!r}. It has: {', '.join(sorted(takes))}.")
    return inputs


def _check_outputs(model: ServedModel, signature: str) -> None:
    missing = sorted(_OUTPUTS - set(model.signatures[signature].outputs))
    if missing:
        raise invalid(
            f"Signature {signature!r} of model {model.path} has no {', '.join(missing)}: it was exported by "
            "an older version of tflm. Export the model again."
        )


def _settings(model: ServedModel, rows: Sequence[TextRow]) -> dict[str, list[Any]]:
    own = model.config.get("decoding", {})
    each = [settings_lists(_checked({**own, **row.settings}), 1) for row in rows]
    nothing = settings_lists(DecodingConfig(), 1)
    columns = {name: [settings[name][0] for settings in each] for name in nothing}
    return {
        name: _filled_up([list(map(_as_bytes, value)) for value in column], _as_bytes(nothing[name][0][0]))
        if isinstance(nothing[name][0], list)
        else column
        for name, column in columns.items()
    }


def _checked(settings: Mapping[str, Any]) -> DecodingConfig:
    try:
        return from_dict(DecodingConfig, settings)
    except UserError as error:
        message = str(error).replace("DecodingConfig has no field", "there is no setting")
        raise invalid(message.removeprefix("DecodingConfig: ")) from error


def _filled_up(lists: list[list[Any]], nothing: Any) -> list[list[Any]]:
    """All as long as the longest.

    Raises:
        ServingError: INVALID_ARGUMENT, rows times the longest list exceed the limit.
    """
    width = max(map(len, lists))
    if width * len(lists) > _MOST_VALUES:
        raise invalid(
            f"{len(lists)} rows, with {width} values in the longest list, are {width * len(lists)} values; at most "
            f"{_MOST_VALUES} are taken. Send fewer rows at a time."
        )
    return [[*each, *[nothing] * (width - len(each))] for each in lists]


def _as_bytes(value: Any) -> Any:
    return to_bytes(value) if isinstance(value, str) else value
