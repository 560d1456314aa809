"""The chat page: its files, and what it asks of the server in addition to `:stream`: which models there are."""

import json
import logging
import os
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tflm.serving.server.core import json_text
from tflm.serving.server.core.manager import ModelManager, Version
from tflm.serving.server.core.model_config import ModelConfig
from tflm.serving.server.core.runner import Runner
from tflm.serving.server.core.served_model import ServedModel
from tflm.serving.server.core.status import ServingError
from tflm.serving.server.rest.requests import failure, read_body
from tflm.serving.stream import can_stream

_log = logging.getLogger(__name__)
_FOLDER = os.path.dirname(__file__)
_TYPES = {
    "index.html": "text/html",
    "chat.css": "text/css",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(
        (
            "early.js",
            "chat.js",
            "conversations.js",
            "icons.js",
            "i18n.js",
            "messages.js",
            "models.js",
            "server.js",
            "settings.js",
            "sidebar.js",
        ),
        "text/javascript",
    ),
}
"""The files of the page; no other is ever read."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_SETTINGS = ("temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "seed")
"""Those that the page offers, where the model takes them."""
_WRITES_ANSWERS = ("chat", "pairs", "denoising")
"""Kinds of tasks whose `generate` gives another text, not more of the same."""

PUBLIC_PATHS = frozenset(["/", *(f"/web/{name}" for name in _TYPES)])
"""What a browser fetches before it can show where to type a token: these need none. `/web/models` does."""


def routes(manager: ModelManager, runner: Runner) -> list[Route]:
    """`GET /`, the page; `GET /web/NAME`, its files, read once, here; `GET /web/models`, see `describe_models`."""

    async def list_models(request: Request) -> Response:
        status = 200
        try:
            await read_body(request)
            found = await runner.run(request, lambda _: describe_models(manager))
            body = json.dumps({"models": found}, ensure_ascii=False).encode("utf-8", "replace")
        except Exception as error:  # every one has its status
            status, message = failure(error)
            body = json_text.error_body(message)
        return Response(body, status, _HEADERS, "application/json")

    return [
        _file_route("/", "index.html"),
        *(_file_route(f"/web/{name}", name) for name in _TYPES),
        Route("/web/models", list_models, methods=["GET"]),
    ]


def describe_models(manager: ModelManager) -> list[dict[str, Any]]:
    """What the page shows of every model.

    >>> describe_models(manager)
    [{"name": "chat", "versions": [{"version": 2, "state": "AVAILABLE", "error": "", "labels": ["stable"],
      "mode": "chat", "streams": True, "settings": {"temperature": 0.7, ...}, "system": ""}]}]

    `mode` says how to talk with it: "chat", a conversation; "answer", independent questions; "complete", the text
    is continued; None if it does not generate. `settings` are the defaults of those that it takes, `system` that text.
    """
    return [
        {
            "name": config.name,
            "versions": [_describe(manager, config, each) for each in _versions(manager, config)],
        }
        for config in manager.configs()
    ]


def _versions(manager: ModelManager, config: ModelConfig) -> list[Version]:
    try:
        return manager.status(config.name)
    except ServingError:  # none yet
        return []


def _describe(manager: ModelManager, config: ModelConfig, version: Version) -> dict[str, Any]:
    record: dict[str, Any] = {
        "version": version.number,
        "state": version.state,
        "error": version.error.message if version.error else "",
        "labels": sorted(label for label, number in config.labels.items() if number == version.number),
        "mode": None,
        "streams": False,
        "settings": {},
        "system": "",
    }
    if version.state != "AVAILABLE":
        return record
    try:
        with manager.use(config.name, version.number) as servable:
            return {**record, **_abilities(ServedModel(servable))}
    except ServingError as error:  # it has gone meanwhile
        return {**record, "state": "END", "error": error.message}


def _abilities(model: ServedModel) -> dict[str, Any]:
    signature = next((name for name in ("chat", "generate") if name in model.signatures), None)
    if signature is None:
        return {}
    config = _config(model)
    task, decoding = (
        section if isinstance(section := config.get(key), dict) else {} for key in ("task", "decoding")
    )
    takes = model.signatures[signature].inputs
    mode = "answer" if task.get("kind") in _WRITES_ANSWERS else "complete"
    return {
        "mode": "chat" if signature == "chat" else mode,
        "streams": can_stream(model),
        "settings": {name: decoding.get(name) for name in _SETTINGS if name in takes},
        "system": str(task.get("system") or ""),
    }


def _config(model: ServedModel) -> dict[str, Any]:
    try:
        return model.config
    except (ServingError, ValueError, LookupError) as error:  # an `about` that is not as tflm exports it
        _log.warning("%s: its signature about returns no config: %s", model.path, error)
        return {}


def _file_route(path: str, name: str) -> Route:
    with open(os.path.join(_FOLDER, name), "rb") as file:
        content = file.read()

    async def give(_: Request) -> Response:
        return Response(content, headers=_HEADERS, media_type=_TYPES[name])

    return Route(path, give, methods=["GET"])
