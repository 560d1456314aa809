"""docker-compose.yaml: one server on this machine."""

import json

from tflm.export.deployment.settings import (
    CONFIG_FOLDER,
    GRPC_PORT,
    IMAGE,
    REST_PORT,
    Settings,
    command_line,
)


def compose_file(settings: Settings) -> str:
    """The file as text. It stands in `NAME/deploy`, so the model is the folder above."""
    program, *given = command_line(settings)
    flags = "\n".join(f"      - {_quoted(flag)}" for flag in given)
    return f"""\
# docker compose up -d --wait
name: {settings.kubernetes_name}
services:
  server:
    image: {IMAGE}
    # The image's own start script would not pass signals on.
    entrypoint: [{_quoted(program)}]
    command:
{flags}
    # TensorFlow Serving does not handle SIGTERM. With an init process before it, it stops at once, whatever it is
    # answering; without one, it would stop only when it is killed.
    init: true
    restart: unless-stopped
    ports:
      # Only this machine. The server knows no passwords: leave it behind something that does.
      - "127.0.0.1:{GRPC_PORT}:{GRPC_PORT}"
      - "127.0.0.1:{REST_PORT}:{REST_PORT}"
    volumes:
      - {{type: bind, source: .., target: {_quoted(settings.base_path)}, read_only: true}}
      - {{type: bind, source: ., target: {CONFIG_FOLDER}, read_only: true}}
    mem_limit: {settings.memory_mib}m
    healthcheck:
      # The image has no curl. The status is 200 also while a version is being loaded: its text has to be read.
      test: ["CMD", "bash", "-c", {_quoted(health_command(settings))}]
      interval: 5s
      timeout: 5s
      retries: 3
      start_period: 10m
"""


def health_command(settings: Settings, port: int = REST_PORT) -> str:
    """A line for bash that succeeds if a version of the model is AVAILABLE, with nothing but bash and grep."""
    request = f"GET {settings.url_path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"
    # printf's own escapes; a percent-encoded name has % that are none of its.
    return (
        f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{request.replace('%', '%%')}' >&3 && "
        'grep -q \'"state": "AVAILABLE"\' <&3'
    )


def _quoted(text: str) -> str:
    """A YAML string; compose would take $ for the name of a variable."""
    return json.dumps(text, ensure_ascii=False).replace("$", "$$")
