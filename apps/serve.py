"""Serves exported models over REST and gRPC, with the API of TensorFlow Serving.

  tflm serve --model_base_path=saved_models/chat
  tflm serve --model_base_path=saved_models/chat --model_name=bot --rest_api_port=9000 --port=9001
  tflm serve --model_base_path=saved_models/chat --web
  tflm serve --model_config_file=models.config --host=0.0.0.0 --auth_token_file=tokens --ssl_config_file=ssl
  tflm serve --model_base_path=saved_models/chat --batching_parameters_file=batching.config
  curl -d '{"instances": ["Hello"]}' http://localhost:8501/v1/models/chat:predict

A model is a folder with a folder for each version. The highest version is served; a new version replaces it once it is
loaded and warm, without dropping a request. One line is printed when the server is ready. SIGTERM or Ctrl-C finishes
the requests in flight and ends. Needs: pip install "tflm[serve]"

Besides TensorFlow Serving's API: POST /v1/models/NAME:stream, OpenAI's /v1/completions and /v1/chat/completions,
GET /healthz, /readyz and /monitoring/prometheus/metrics, and with --web a chat page. See docs/serving.md.
"""

import importlib.util
import logging
import os
import re
import signal
import sys
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from tflm.errors import UsageError, UserError

from .common.command_line import load_tensorflow, note, run_app

if TYPE_CHECKING:
    from tflm.serving.server import ModelConfig, ModelManager, Server, ServingOptions, Tls

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model_base_path",
    None,
    "One model: the folder with its versions. Example: saved_models/chat.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "model_name", None, "Name of the model in URLs; that of its folder if not given.", flag_values=FLAGS
)
flags.DEFINE_string(
    "model_config_file",
    None,
    "Several models: a text file with a model_config_list, as for TensorFlow Serving.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "rest_api_port", 8501, "Port for REST; 0 takes any free one.", 0, 65535, flag_values=FLAGS
)
flags.DEFINE_integer("port", 8500, "Port for gRPC; 0 takes any free one.", 0, 65535, flag_values=FLAGS)
flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen on; 0.0.0.0 accepts connections from other machines.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "rest_api_timeout_in_ms", 30000, "Timeout of a REST request, in milliseconds.", 1, flag_values=FLAGS
)
flags.DEFINE_float(
    "file_system_poll_wait_seconds", 1.0, "Seconds between looks for new versions.", 0.01, flag_values=FLAGS
)
flags.DEFINE_float(
    "drain_seconds", 30.0, "Seconds to wait for requests in flight at shutdown.", 0, flag_values=FLAGS
)
flags.DEFINE_boolean("web", False, "Also serves a chat page at /.", flag_values=FLAGS)
flags.DEFINE_boolean(
    "enable_batching",
    False,
    "Runs requests in batches, with the settings of --batching_parameters_file if given.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "batching_parameters_file",
    None,
    "Text file with BatchingParameters, as for TensorFlow Serving; turns batching on.",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "enable_model_warmup",
    True,
    "Answers the warm-up requests of a version before it is served. Without them the server is ready sooner, and the "
    "first request of each signature takes seconds.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_runs",
    None,
    "Maximum number of requests that run at the same time, besides batches; the number of cores if not given.",
    1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_waiting",
    128,
    "Maximum number of requests that wait; further ones get status 503.",
    0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_generated_tokens",
    None,
    "Maximum max_new_tokens of a row; no limit if not given.",
    1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_rows", None, "Maximum number of rows in a request; no limit if not given.", 1, flag_values=FLAGS
)
flags.DEFINE_string(
    "monitoring_config_file",
    None,
    "Text file with a MonitoringConfig, as for TensorFlow Serving: the path of the metrics. If not given: "
    "/monitoring/prometheus/metrics.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "access_log",
    None,
    'File for the access log, one JSON object per request; "-" is standard error.',
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "log_texts",
    0,
    "Characters of each request and answer to write into the access log; 0 writes none.",
    0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "auth_token_file",
    None,
    "File with one token per line. Only requests with Authorization: Bearer TOKEN are answered.",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "cors_origins",
    [],
    'Origins whose pages may call the server from a browser (CORS); "*" allows any. Example: https://example.com.',
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "ssl_certificate_file", None, "Certificate of the server, PEM; turns TLS on.", flag_values=FLAGS
)
flags.DEFINE_string("ssl_key_file", None, "Private key of the certificate, PEM.", flag_values=FLAGS)
flags.DEFINE_string(
    "ssl_client_ca_file",
    None,
    "PEM file with certificate authorities: only clients with a certificate signed by one are answered.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "ssl_config_file",
    None,
    "Text file with an SSLConfig, as for TensorFlow Serving, instead of the three flags.",
    flag_values=FLAGS,
)
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PACKAGES = (
    "grpc_health",
    "grpc_reflection",
    "prometheus_client",
    "starlette",
    "tensorflow_serving",
    "uvicorn",
)


def main(flag_values: flags.FlagValues) -> None:
    """The app; see the top of the file."""
    if bool(flag_values.model_base_path) == bool(flag_values.model_config_file):
        raise UsageError("give either --model_base_path, for one model, or --model_config_file, for several.")
    if flag_values.model_name and flag_values.model_config_file:
        raise UsageError("--model_name goes with --model_base_path; a --model_config_file has its own names.")
    _on_signal(lambda *_: sys.exit(0))  # while models are loaded there is nothing to finish
    import_server()
    from tflm.serving.server import ModelManager, Server, watch_models

    configs = _configs(flag_values)
    asked = _asked(flag_values)
    manager = ModelManager(
        configs, flag_values.file_system_poll_wait_seconds, _options(flag_values), asked["metrics"]
    )
    if asked["metrics"] is not None:
        watch_models(asked["metrics"], manager)
        asked["metrics"].watch("queue_depth", lambda: manager.admission.num_waiting)
    start(manager, configs)
    server = Server(
        manager,
        flag_values.host,
        flag_values.rest_api_port,
        flag_values.port,
        flag_values.rest_api_timeout_in_ms / 1000,
        flag_values.drain_seconds,
        **asked,
    )
    stopping = threading.Event()
    with server:
        _on_signal(lambda *_: stopping.set())
        _announce(server, configs[0].name, flag_values.web)
        stopping.wait()
        note("stopping: no more requests are taken; those at work are answered.")
    manager.stop()
    if asked["access_log"] is not None:
        asked["access_log"].close()


def run(argv: Sequence[str] | None = None) -> int:
    """The console script."""
    return run_app(main, FLAGS, __doc__ or "", argv)


def _on_signal(handler: Callable[..., Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def import_server() -> None:
    # TensorFlow imports Keras where it finds it; a server needs none, and starts in half the time without.
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise UserError(f'the server needs {package}, which is not installed: pip install "tflm[serve]"')
    load_tensorflow()
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("tflm.serving").setLevel(logging.INFO)
    # gRPC writes a traceback for bytes that are no message, so that a stranger could fill the log.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)


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


def _options(flag_values: flags.FlagValues) -> "ServingOptions":
    from tflm.serving.server import BatchingConfig, ServingOptions, read_batching_file

    batching = None
    if flag_values.batching_parameters_file:
        batching = read_batching_file(flag_values.batching_parameters_file)
    elif flag_values.enable_batching:
        batching = BatchingConfig()
    limits: dict[str, Any] = {
        name: flag_values[name].value
        for name in ("max_runs", "max_waiting", "max_generated_tokens", "max_rows")
        if flag_values[name].value is not None
    }
    return ServingOptions(batching, warm_up=flag_values.enable_model_warmup, **limits)


def _asked(flag_values: flags.FlagValues) -> dict[str, Any]:
    """The arguments of `Server` other than ports and times."""
    from tflm.serving.server import AccessLog, Metrics, MonitoringConfig, TokenFile, read_monitoring_file
    from tflm.serving.web.routes import PUBLIC_PATHS, routes

    monitoring = MonitoringConfig(enable=True)
    if flag_values.monitoring_config_file:
        monitoring = read_monitoring_file(flag_values.monitoring_config_file)
    tokens, log, tls = flag_values.auth_token_file, flag_values.access_log, _tls(flag_values)
    if tokens and tls is None and flag_values.host not in _LOOPBACK:
        note("warning: without TLS (--ssl_certificate_file) the tokens are sent unencrypted.")
    if flag_values.log_texts and not log:
        raise UsageError("--log_texts goes with --access_log=FILE, where the texts are then kept.")
    return {
        "metrics": Metrics() if monitoring.enable else None,
        "metrics_path": monitoring.path,
        "tokens": TokenFile(tokens) if tokens else None,
        "tls": tls,
        "pages": routes if flag_values.web else None,
        "open_paths": PUBLIC_PATHS if flag_values.web else (),
        "cors_origins": cors_origins(flag_values.cors_origins),
        "access_log": AccessLog(None if log == "-" else log, flag_values.log_texts) if log else None,
    }


def cors_origins(values: Sequence[str]) -> list[str]:
    """The origins of --cors_origins as a browser sends them.

    >>> cors_origins(["https://Example.com", "http://localhost:3000"])
    ['https://example.com', 'http://localhost:3000']

    Raises:
        UsageError: one that no browser sends, such as a name without a scheme, or an address with a path.
    """
    for value in values:
        if value != "*" and not _ORIGIN.fullmatch(value):
            raise UsageError(
                f"--cors_origins has {value!r}, which is no origin. Give scheme, host and port, if any, such as "
                'https://example.com or http://localhost:3000, without a path, or "*" for any.'
            )
    return [value.lower() for value in values]


def _tls(flag_values: flags.FlagValues) -> "Tls | None":
    from tflm.serving.server import Tls

    certificate, key = flag_values.ssl_certificate_file, flag_values.ssl_key_file
    if flag_values.ssl_config_file:
        if certificate or key or flag_values.ssl_client_ca_file:
            raise UsageError("give --ssl_config_file or the other three --ssl_ flags, not both.")
        return Tls.from_config_file(flag_values.ssl_config_file)
    if bool(certificate) != bool(key) or (flag_values.ssl_client_ca_file and not key):
        raise UsageError(
            "TLS needs both --ssl_certificate_file and --ssl_key_file; --ssl_client_ca_file goes with them."
        )
    return Tls.from_files(certificate, key, flag_values.ssl_client_ca_file) if certificate else None


def start(manager: "ModelManager", configs: "list[ModelConfig]") -> None:
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


def _announce(server: "Server", name: str, has_page: bool) -> None:
    host = server.host if server.host not in ("0.0.0.0", "::") else "localhost"
    host = f"[{host}]" if ":" in host else host  # IPv6
    quoted, secure = urllib.parse.quote(name), "s" if server.has_tls else ""
    site = f"http{secure}://{host}:{server.rest_port}"
    url = f"{site}/v1/models/{quoted}"
    page = f"; the page: {site}/" if has_page else ""
    print(
        f"ready: {url} and grpc{secure}://{host}:{server.grpc_port}/{quoted}{page}; try: "
        f'curl -d \'{{"instances": ["Hello"]}}\' {url}:predict',
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(run())
