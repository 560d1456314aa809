"""Serves exported models over REST and gRPC, as TensorFlow Serving does, on a machine that has none.

  python -m apps.serve --model_base_path=saved_models/chat
  python -m apps.serve --model_base_path=saved_models/chat --model_name=bot --rest_api_port=9000 --port=9001
  python -m apps.serve --model_config_file=models.config --host=0.0.0.0
  curl -d '{"instances": ["Hello"]}' http://localhost:8501/v1/models/chat:predict

A model is a folder with a folder for each version. The highest version is served; a new one takes over as soon as it
is there and warm, without a request lost. Prints one line when it is ready. SIGTERM, or Ctrl-C, answers the requests
that it has, takes no more, and ends. Needs: pip install "tflm[serve]"
"""

import importlib.util
import logging
import os
import signal
import sys
import threading
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from apps.command_line import load_tensorflow, note, run_app
from tflm.errors import UsageError, UserError

if TYPE_CHECKING:
    from tflm.serving.server import ModelConfig, ModelManager

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model_base_path", None, "A model: the folder with its versions, saved_models/NAME.", flag_values=FLAGS
)
flags.DEFINE_string(
    "model_name", None, "The model's name in URLs; that of its folder if not given.", flag_values=FLAGS
)
flags.DEFINE_string(
    "model_config_file", None, "Several models: a text file with a model_config_list.", flag_values=FLAGS
)
flags.DEFINE_integer("rest_api_port", 8501, "Port for REST; 0 for any free one.", 0, 65535, flag_values=FLAGS)
flags.DEFINE_integer("port", 8500, "Port for gRPC; 0 for any free one.", 0, 65535, flag_values=FLAGS)
flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; 0.0.0.0 for all, which lets others in.", flag_values=FLAGS
)
flags.DEFINE_integer(
    "rest_api_timeout_in_ms", 30000, "A REST request that takes longer is given up.", 1, flag_values=FLAGS
)
flags.DEFINE_float(
    "file_system_poll_wait_seconds", 1.0, "How often to look for new versions.", 0.01, flag_values=FLAGS
)
flags.DEFINE_float(
    "drain_seconds", 30.0, "How long to wait, at the end, for requests at work.", 0, flag_values=FLAGS
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if bool(flag_values.model_base_path) == bool(flag_values.model_config_file):
        raise UsageError("give either --model_base_path, for one model, or --model_config_file, for several.")
    if flag_values.model_name and flag_values.model_config_file:
        raise UsageError("--model_name goes with --model_base_path; a --model_config_file has its own names.")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    _import_server()
    from tflm.serving.server import ModelManager, Server

    configs = _configs(flag_values)
    manager = ModelManager(configs, flag_values.file_system_poll_wait_seconds)
    _start(manager, configs)
    server = Server(
        manager,
        flag_values.host,
        flag_values.rest_api_port,
        flag_values.port,
        flag_values.rest_api_timeout_in_ms / 1000,
        flag_values.drain_seconds,
    )
    with server:
        _announce(server, configs[0].name)
        stopping.wait()
        note("stopping: no more requests are taken; those at work are answered.")
    manager.stop()


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _import_server() -> None:
    # TensorFlow imports Keras where it finds it; a server needs none, and starts in half the time without.
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    for package in ("grpc_health", "grpc_reflection", "starlette", "tensorflow_serving", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f'the server needs {package}, which is not installed: pip install "tflm[serve]"')
    load_tensorflow()
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("tflm.serving").setLevel(logging.INFO)


def _configs(flag_values: flags.FlagValues) -> "list[ModelConfig]":
    from tflm.serving.server import ModelConfig, read_model_config_file

    if flag_values.model_config_file:
        configs = read_model_config_file(flag_values.model_config_file)
        if not configs:
            raise UserError(f"--model_config_file={flag_values.model_config_file} has no models.")
        return configs
    path = os.path.normpath(flag_values.model_base_path)
    if os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise UserError(
            f"--model_base_path={path} is one version of a model. Give the folder above, "
            f"{os.path.dirname(os.path.abspath(path))}."
        )
    return [ModelConfig(flag_values.model_name or os.path.basename(os.path.abspath(path)), path)]


def _start(manager: "ModelManager", configs: "list[ModelConfig]") -> None:
    from tflm.serving.server import ServingError

    for config in configs:
        if not config.wanted():
            raise UserError(
                f"model {config.name!r}: no version to serve in {config.base_path!r}. Expected folders with numbers "
                "for names, such as 1/, each with a SavedModel."
            )
    try:
        manager.start()
        for config in configs:
            manager.check_available(config.name)
    except ServingError as error:
        raise UserError(f"nothing is served: {error.message}") from error


def _announce(server: Any, name: str) -> None:
    host = server.host if server.host not in ("0.0.0.0", "::") else "localhost"
    quoted = urllib.parse.quote(name)
    url = f"http://{host}:{server.rest_port}/v1/models/{quoted}"
    print(
        f"ready: {url} and grpc://{host}:{server.grpc_port}/{quoted}; try: "
        f'curl -d \'{{"instances": ["Hello"]}}\' {url}:predict',
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(run())
