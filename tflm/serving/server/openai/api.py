"""The endpoints of OpenAI's API that its clients ask: completions, chat completions, models.

    client = openai.OpenAI(base_url="http://localhost:8501/v1", api_key="none")
    client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "你好"}])

`model` is what follows `/v1/models/` in TensorFlow Serving's URLs: NAME, NAME/versions/3 or NAME/labels/stable;
no name holds a slash. All is under `/v1/` and `/openai/v1/`. `GET /v1/models/NAME` is TensorFlow Serving's too: its
clients get its bytes, and those of OpenAI, known by their headers, an object with the fields of both.

Settings that are left out, the temperature and the number of tokens too, are the model's own, as with every other way
to ask it; a seed that is left out is drawn. `openai_request` says what becomes of each field.
"""

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core import json_text
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.core.status import ServingError, invalid
from tflm.serving.server.core.telemetry import facts
from tflm.serving.server.core.text_requests import TextRow, check_writes, inputs_of, write_in_pieces
from tflm.serving.server.openai.logprobs import for_chat, for_completion, tokens_of
from tflm.serving.server.openai.request import Wanted, param_of, read_chat, read_completion
from tflm.serving.server.openai.responses import (
    CHAT,
    COMPLETION,
    Form,
    OpenAIError,
    ResponseBody,
    ending,
    error_record,
    model_record,
    usage_of,
)
from tflm.serving.server.rest import handlers, server_sent_events
from tflm.serving.server.rest.requests import read_body
from tflm.serving.server.rest.server_sent_events import as_json, event

_OWN = "/openai/v1"
_MODEL = re.compile(r"(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,19})|/labels/(?P<label>[^/:]+))?")
_TOKENS_A_CHUNK = 4
_DONE = b"data: [DONE]\n\n"
Record = dict[str, Any]


def routes(manager: ModelManager, runner: Runner) -> list[Route]:
    """The routes of OpenAI's API, for `RestServer`."""
    created = int(time.time())
    return [
        *(
            Route(f"{prefix}/{path}", _endpoint(manager, runner, read, form), methods=["POST"])
            for prefix in ("/v1", _OWN)
            for path, read, form in (
                ("completions", read_completion, COMPLETION),
                ("chat/completions", read_chat, CHAT),
            )
        ),
        *(
            Route(f"{prefix}/models", _plain(lambda _: _list_models(manager, created)), methods=["GET"])
            for prefix in ("/v1", _OWN)
        ),
        *(
            kind(
                f"{prefix}/models/{{model:path}}",
                _plain(lambda request: _find_model(manager, request.path_params["model"], created)),
                methods=["GET"],
            )
            for prefix, kind in (("/v1", _SharedRoute), (_OWN, Route))
        ),
        Route("/openai/{path:path}", _plain(_refuse), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]


class _SharedRoute(Route):
    """A path of TensorFlow Serving's that OpenAI's clients ask too: theirs are the only requests that match.

    They send `X-Stainless-...` headers, in every language, and their name as the User-Agent. TensorFlow Serving's
    clients may read an answer as a message of its protocol, where another field is an error.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        is_theirs = any(
            name.startswith(b"x-stainless-") or (name == b"user-agent" and b"openai" in value.lower())
            for name, value in scope.get("headers", ())
        )
        if not is_theirs or scope["path"].endswith("/metadata"):
            return Match.NONE, {}
        return super().matches(scope)


def which(model: str) -> Record:
    """Arguments of `ModelManager.use`.

    >>> which("chat/labels/stable")
    {'name': 'chat', 'version': None, 'label': 'stable'}

    Raises:
        OpenAIError: 404, no such form.
    """
    match = _MODEL.fullmatch(model)
    if match is None:
        raise _not_found(invalid(f"{model!r} is not NAME, NAME/versions/NUMBER or NAME/labels/LABEL."))
    return {**match.groupdict(), "version": int(match["version"]) if match["version"] else None}


def _endpoint(
    manager: ModelManager, runner: Runner, read: Callable[[Mapping[str, Any]], Wanted], form: Form
) -> Callable[[Request], Any]:
    async def respond(request: Request) -> Response:
        try:
            body, content_type = await read_body(request), request.headers.get("content-type", "")
            wanted = await runner.run(request, lambda _: read(json_text.parse_utf8(body, content_type)))
            if wanted.stream:
                chunks = runner.pieces(
                    request, lambda cancellation: _chunks(manager, wanted, form, cancellation)
                )
                return await server_sent_events.respond(chunks, lambda error: event(error_record(error)[1]))
            answer = await runner.run(
                request, lambda cancellation: _whole(manager, wanted, form, cancellation)
            )
        except Exception as error:  # every one has its status
            return _error(error)
        return Response(as_json(answer), media_type="application/json")

    return respond


def _plain(answer: Callable[[Request], Record]) -> Callable[[Request], Any]:
    async def respond(request: Request) -> Response:
        try:
            return Response(as_json(answer(request)), media_type="application/json")
        except Exception as error:  # every one has its status
            return _error(error)

    return respond


def _whole(manager: ModelManager, wanted: Wanted, form: Form, cancellation: Cancellation) -> Record:
    with _used(manager, wanted, form, cancellation) as model:
        prompt_tokens = _count_prompts(model, wanted)
        texts, num_tokens = _texts(model, wanted, form)
    choices = [
        {"index": index, **form.choice(_echo(wanted, row) + text, logprobs), **end}
        for index, (row, text, logprobs, end) in enumerate(texts)
    ]
    return ResponseBody(form, _name(model)).whole(choices, usage_of(prompt_tokens, num_tokens))


def _texts(
    model: ServedModel, wanted: Wanted, form: Form
) -> tuple[list[tuple[TextRow, str, Record | None, Record]], int]:
    """Of each text its row, itself, the logprobs if they are wanted, and how it ended; and the number of tokens."""
    rows = wanted.rows()
    request = inputs_of(model, form.signature, rows)
    outputs = model.predict(form.signature, request)
    logprobs = _logprobs(model, wanted, form, rows, request, outputs)
    texts = [text.decode("utf-8", "replace") for text in outputs["text"]]
    ends = [
        ending(reason.decode(), bool(is_cut))
        for reason, is_cut in zip(outputs["finish_reason"], outputs["truncated"], strict=True)
    ]
    return list(zip(rows, texts, logprobs, ends, strict=True)), int(outputs["num_tokens"].sum())


def _chunks_with_logprobs(
    model: ServedModel, wanted: Wanted, form: Form, answer: ResponseBody
) -> Generator[bytes, None, int]:
    """Each text in one piece, with its logprobs: the model gives them of whole texts. Returns the number of tokens."""
    texts, num_tokens = _texts(model, wanted, form)
    for index, (row, text, logprobs, end) in enumerate(texts):
        if first := form.first(_echo(wanted, row)):
            yield event(answer.chunk(index, first))
        yield event(answer.chunk(index, {**form.piece(text), "logprobs": logprobs}))
        yield event(answer.chunk(index, form.piece(""), end))
    return num_tokens


def _chunks(manager: ModelManager, wanted: Wanted, form: Form, cancellation: Cancellation) -> Iterator[bytes]:
    rows = wanted.rows()
    with _used(manager, wanted, form, cancellation) as model:
        prompt_tokens = _count_prompts(model, wanted) if wanted.include_usage else None
        answer, num_tokens, has_begun = ResponseBody(form, _name(model), wanted.include_usage), 0, False
        with_logprobs = wanted.num_alternatives is not None
        if with_logprobs:
            num_tokens = yield from _chunks_with_logprobs(model, wanted, form, answer)
        for record in () if with_logprobs else write_in_pieces(model, rows, _TOKENS_A_CHUNK):
            if not has_begun:  # now it is known that there will be an answer
                firsts = [form.first(_echo(wanted, row)) for row in rows]
                yield from (event(answer.chunk(index, first)) for index, first in enumerate(firsts) if first)
                has_begun = True
            end = None
            if "finish_reason" in record:
                num_tokens += record["num_tokens"]
                end = ending(record["finish_reason"], record["truncated"])
            yield event(answer.chunk(record["row"], form.piece(record.get("piece", "")), end))
        if wanted.include_usage:
            yield event(answer.usage_chunk(usage_of(prompt_tokens, num_tokens)))
        yield _DONE


@contextlib.contextmanager
def _used(
    manager: ModelManager, wanted: Wanted, form: Form, cancellation: Cancellation
) -> Iterator[ServedModel]:
    """Inside, a model that can do what is wanted stays loaded. An error about a setting names its field."""
    with contextlib.ExitStack() as stack:
        asked, noted = which(wanted.model), facts()
        noted.model, noted.version, noted.label = asked["name"], asked["version"], asked["label"]
        noted.api, noted.signature = form.api, form.signature
        try:
            servable = stack.enter_context(manager.use(**asked))
        except ServingError as error:
            raise _not_found(error) from error
        model = ServedModel(servable, cancellation)
        try:
            check_writes(model, form.signature)
            yield model
        except ServingError as error:
            if param := param_of(error.message):
                raise OpenAIError(error.message, param) from error
            raise


def _logprobs(
    model: ServedModel, wanted: Wanted, form: Form, rows: Sequence[TextRow], request: Record, outputs: Record
) -> Sequence[Record | None]:
    number = wanted.num_alternatives
    if number is None:
        return [None] * len(rows)
    tokens = tokens_of(model, rows, request, outputs, number)
    if form is CHAT:
        return [for_chat(each) for each in tokens]
    return [for_completion(each, number) for each in tokens]


def _count_prompts(model: ServedModel, wanted: Wanted) -> int | None:
    """The tokens of the prompts' texts, without the marks of a conversation; None if the model does not count."""
    if "tokenize" not in model.signatures:
        return None
    texts: list[bytes] = []
    for prompt in wanted.prompts:
        texts += [content for _, content in prompt.messages] or [prompt.text]
    # A conversation is one row of the request, whatever the number of its messages.
    size = model.max_rows or len(texts)
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    return sum(int(model.predict("tokenize", {"text": part})["lengths"].sum()) for part in parts)


def _echo(wanted: Wanted, row: TextRow) -> str:
    return row.text.decode("utf-8", "replace") if wanted.echo else ""


def _name(model: ServedModel) -> str:
    """As a request may name this very version."""
    return model.path.replace("/", "/versions/")


def _list_models(manager: ModelManager, created: int) -> Record:
    """Those that write."""
    names = []
    for config in manager.configs():
        try:
            with manager.use(config.name) as servable:
                if "generate" in servable.signature_defs:
                    names.append(config.name)
        except ServingError:  # not there yet
            continue
    return {"object": "list", "data": [model_record(name, created) for name in names]}


def _find_model(manager: ModelManager, model: str, created: int) -> Record:
    """With TensorFlow Serving's fields, since its path is asked."""
    try:
        with manager.use(**which(model)):
            return {**model_record(model, created), **handlers.status_record(manager, which(model))}
    except ServingError as error:
        raise _not_found(error) from error


def _refuse(request: Request) -> Record:
    raise OpenAIError(
        f"Unknown request URL: {request.method} {request.url.path}. Under {_OWN} there are completions, "
        "chat/completions and models.",
        status=404,
        code="unknown_url",
    )


def _not_found(error: ServingError) -> Exception:
    """An unknown label is no bad request here, but a model that there is not."""
    if error.code not in ("NOT_FOUND", "INVALID_ARGUMENT"):
        return error
    return OpenAIError(error.message, "model", 404, "model_not_found")


def _error(error: Exception) -> Response:
    status, record = error_record(error)
    return Response(as_json(record), status, media_type="application/json")
