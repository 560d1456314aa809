"""The page to talk with one model on: `tflm chat --web`."""

import os
import signal
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

from absl import flags

from tflm.errors import UsageError, UserError

from ..serve import import_server, start
from .command_line import note

if TYPE_CHECKING:
    from tflm.serving.server import ModelConfig

_OWN_FLAGS = ("model", "web")


def serve_page(flag_values: flags.FlagValues) -> None:
    """Serves the page for --model, to this machine alone, until Ctrl-C; opens it where there is a display.

    Raises:
        UsageError: no --model, or a flag for what is set on the page.
        UserError: --model is no folder with a model, or the packages of the server are missing.
    """
    others = [name for name in flag_values if flag_values[name].present and name not in _OWN_FLAGS]
    if others:
        raise UsageError(
            f"--web goes with --model alone: leave out --{others[0]}. The page has the settings."
        )
    check_folder(flag_values.model)
    import_server()
    from tflm.serving.server import ModelManager, Server
    from tflm.serving.web.routes import routes

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    config = folder_config(flag_values.model)
    manager = ModelManager([config])
    start(manager, [config])
    with Server(manager, rest_port=0, pages=routes) as server:
        address = f"http://{server.host}:{server.rest_port}/"
        print(f"open {address} in a browser; Ctrl-C ends.", flush=True)
        if has_display():
            webbrowser.open(address)
        stopping.wait()
        note("stopping.")
    manager.stop()


def check_folder(path: str | None) -> None:
    """Raises UsageError if --model is missing, UserError if it is no folder."""
    if not path:
        raise UsageError("--model is needed: a folder such as --model=saved_models/NAME.")
    if "://" in path:
        raise UserError(
            f"--web serves a folder, and {path!r} is a server's model. That server has the page itself when it is "
            "started with `tflm serve --web`: open its address, http://HOST:PORT/, in a browser."
        )
    if not os.path.isdir(path):
        raise UserError(f"no folder {path!r}. A model is saved_models/NAME or saved_models/NAME/VERSION.")


def folder_config(path: str) -> "ModelConfig":
    """What is served of a folder: the highest version of `saved_models/NAME`, or `saved_models/NAME/VERSION` itself.

    Raises:
        UserError: a SavedModel whose folder is not named by a number.
    """
    from tflm.serving.server import ModelConfig

    path = os.path.abspath(path)
    above, last = os.path.split(path)
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        return ModelConfig(last, path)
    if not (last.isascii() and last.isdigit()):
        raise UserError(
            f"the version {path!r} needs a number for its name, as saved_models/NAME/1: rename it."
        )
    return ModelConfig(os.path.basename(above), above, versions=(int(last),))


def has_display() -> bool:
    """Whether a browser could show itself."""
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
