"""`POST /v1/models/NAME[/versions/N|/labels/L]:stream`: streaming generation, as server-sent events.

    {"inputs": {"text": "Once upon", "temperature": 0.7}}        {"instances": [{"text": "Once"}, {"text": "从前"}]}

    data: {"row": 0, "piece": " a time"}
    data: {"row": 0, "finish_reason": "stop", "num_tokens": 5, "log_probability": -3.2, "truncated": false}
    event: end
    data: {}

An error before the first event is the answer that `:predict` gives; a later one is `event: error`, the last event, with
`{"error": "..."}`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core import json_text
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.core.status import invalid
from tflm.serving.server.core.telemetry import facts
from tflm.serving.server.core.text_requests import TextRow, check_writes, write_in_pieces
from tflm.serving.server.rest import handlers, server_sent_events
from tflm.serving.server.rest.requests import failure, read_body
from tflm.serving.server.rest.server_sent_events import event

_MODEL = "/v1/models/{name}"
_PATHS = (
    f"{_MODEL}:stream",
    f"{_MODEL}/versions/{{version}}:stream",
    f"{_MODEL}/labels/{{label}}:stream",
)
_MEMBERS = ("signature_name", "inputs", "instances", "tokens_per_event")
_SIGNATURES = ("generate", "chat")
_NOTHING = {"stop": "", "choices": "", "banned_ids": -1, "forced_ids": -1}  # fills up lists, as in `:predict`
_TOKENS_PER_EVENT = 4


def routes(manager: ModelManager, runner: Runner) -> list[Route]:
    """The routes of `:stream`, for `RestServer`."""

    async def respond(request: Request) -> Response:
        try:
            body, content_type = await read_body(request), request.headers.get("content-type", "")
            events = runner.pieces(
                request,
                lambda cancellation: _events(
                    manager, request.path_params, json_text.parse_utf8(body, content_type), cancellation
                ),
            )
            return await server_sent_events.respond(events, _error_event)
        except Exception as error:  # every one has its status
            status, message = failure(error)
            return Response(json_text.error_body(message), status, media_type="application/json")

    return [Route(path, respond, methods=["POST"]) for path in _PATHS]


def read_rows(body: Mapping[str, Any]) -> list[TextRow]:
    """The texts that a request wants.

    >>> read_rows({"inputs": {"text": ["a", "b"], "seed": [1, 2]}})        # as {"instances": [{"text": "a", "seed": 1},
    [TextRow(b'a', settings={'seed': 1}), TextRow(b'b', settings={'seed': 2})]            # {"text": "b", "seed": 2}]}

    Raises:
        ServingError: INVALID_ARGUMENT, something else than `text`, or `roles` and `messages`, and settings.
    """
    if unknown := sorted(set(body) - set(_MEMBERS)):
        raise invalid(f"Unknown member {unknown[0]!r} of the request. It takes: {', '.join(_MEMBERS)}.")
    if ("inputs" in body) == ("instances" in body):
        raise invalid("A request has either 'inputs' or 'instances'.")
    rows = body["instances"] if "instances" in body else _rows_of(body["inputs"])
    if not isinstance(rows, list) or not rows:
        raise invalid("'instances' is a list of one row or more.")
    return [_read_row(row) for row in rows]


def _events(
    manager: ModelManager, which: Mapping[str, Any], request: Mapping[str, Any], cancellation: Cancellation
) -> Iterator[bytes]:
    rows = read_rows(request)
    tokens = request.get("tokens_per_event", _TOKENS_PER_EVENT)
    if type(tokens) is not int or not 0 < tokens < 2**31:
        raise invalid(f"tokens_per_event is {json_text.shown(tokens)}, expected a whole number from 1 on.")
    version = handlers.version_number(which["version"]) if "version" in which else None
    with manager.use(which["name"], version, which.get("label")) as servable:
        model = ServedModel(servable, cancellation)
        facts().signature = "chat" if rows[0].messages else "generate"
        _check_signature(model, request.get("signature_name"), rows)
        for record in write_in_pieces(model, rows, tokens):
            yield event(record)
        yield event({}, "end")


def _error_event(error: Exception) -> bytes:
    return event({"error": failure(error)[1]}, "error")


def _check_signature(model: ServedModel, name: Any, rows: Sequence[TextRow]) -> None:
    """A request need not name a signature; where it does, the rows are such as it takes."""
    if name is None:
        return
    if name not in _SIGNATURES:
        raise invalid(f"signature_name is {json_text.shown(name)}, expected one of {', '.join(_SIGNATURES)}.")
    check_writes(model, name)
    if any(bool(row.messages) != (name == "chat") for row in rows):
        takes = "'roles' and 'messages'" if name == "chat" else "'text'"
        raise invalid(f"Signature {name!r} takes {takes} in every row.")


def _rows_of(inputs: Any) -> list[Any]:
    """Columns as rows; one row as a list of one."""
    if not isinstance(inputs, dict) or json_text.is_base64(inputs):
        return inputs if isinstance(inputs, list) else [inputs]
    roles = inputs.get("roles")
    if _is_text(inputs.get("text")) or (isinstance(roles, list) and all(map(_is_text, roles))):
        return [inputs]
    lengths = {name: len(column) if isinstance(column, list) else None for name, column in inputs.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise invalid(f"All inputs are lists with one value a row; got lengths {lengths}.")
    return [dict(zip(inputs, values, strict=True)) for values in zip(*inputs.values(), strict=True)]


def _read_row(row: Any) -> TextRow:
    row = {"text": row} if _is_text(row) else row
    if not isinstance(row, dict):
        raise invalid(f"A row is an object or a text; got {json_text.shown(row)}.")
    settings = {name: _setting(name, value) for name, value in row.items()}
    text, roles, messages = (settings.pop(name, None) for name in ("text", "roles", "messages"))
    if (text is None) == (roles is None and messages is None):
        raise invalid("A row has either 'text' or 'roles' and 'messages'.")
    if text is not None:
        return TextRow(_as_bytes("text", text), settings=settings)
    if not (isinstance(roles, list) and isinstance(messages, list) and 0 < len(roles) == len(messages)):
        raise invalid("'roles' and 'messages' are lists of the same length, one message or more.")
    pairs = zip(roles, messages, strict=True)
    read = tuple((_as_bytes("roles", role), _as_bytes("messages", text)) for role, text in pairs)
    return TextRow(messages=read, settings=settings)


def _setting(name: str, value: Any) -> Any:
    if name in _NOTHING and isinstance(value, list):
        return [each for each in value if each != _NOTHING[name]]
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or json_text.is_base64(value)


def _as_bytes(name: str, value: Any) -> bytes:
    if not _is_text(value):
        raise invalid(f"{name!r} holds {json_text.shown(value)}, expected a text.")
    return json_text.to_bytes(value) if isinstance(value, str) else json_text.decode_base64(value)
