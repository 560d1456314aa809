"""The files of a deployment: the templates in `templates/`, filled in with the figures of a model."""

import json
import re
import shlex
import string
import textwrap
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from tflm.export.deploy.settings import (
    CONFIG_FOLDER,
    GRPC_PORT,
    IMAGE,
    METRIC,
    METRICS_PATH,
    NUM_CPUS,
    REST_PORT,
    Settings,
    command_line,
)

_WIDTH = 110  # of the README's paragraphs


def models_config(settings: Settings) -> str:
    """`--model_config_file`: the highest version; how to give labels is a comment."""
    old, new = settings.old_and_new
    example = models_text(settings, {"stable": old, "canary": new})
    return _render(
        "models.config",
        settings,
        latest=models_text(settings, {}).rstrip("\n"),
        commented=textwrap.indent(example, "#   ").rstrip("\n"),
    )


def models_text(settings: Settings, labels: Mapping[str, int]) -> str:
    """A model config list: the versions that have labels, or the highest where there are none."""
    numbers = " ".join(f"versions: {number}" for number in sorted(set(labels.values())))
    lines = (f'version_labels {{ key: "{key}" value: {number} }}\n' for key, number in labels.items())
    return _render(
        "model_config_list.config",
        settings,
        quoted_base_path=_quoted(settings.base_path),
        policy=f"specific {{ {numbers} }}" if labels else "latest { num_versions: 1 }",
        labels=textwrap.indent("".join(lines), " " * 4),
    )


def batching_config(settings: Settings) -> str:
    """`--batching_parameters_file`; its head says why it is not used, where it is not."""
    model, rows = settings.model, settings.batch_rows
    sizes = [size for size in (1, 2, 4, 8, 16, 32) if size < rows] + [rows, settings.max_request_rows]
    allowed = "".join(f"allowed_batch_sizes: {size}\n" for size in sizes)
    if not model.compiled_signatures:
        allowed = (
            "# No allowed_batch_sizes: nothing is compiled for one shape; to fill up batches is work lost.\n"
        )
    head = "batching_used.config" if model.may_be_batched else "batching_not_used.config"
    reasons = ""
    if names := ", ".join(model.state_signatures):
        reasons += (
            f"# {names}: states of texts of different lengths do not fit each other; all "
            "requests of a batch would fail.\n"
        )
    if names := ", ".join(model.list_signatures):
        reasons += (
            f"# {names}: requests with lists of different lengths would all fail when they meet in a batch.\n"
        )
    return _render(
        "batching.config",
        settings,
        head=_render(head, settings, reasons=reasons),
        allowed_sizes=allowed,
    )


def monitoring_config(settings: Settings) -> str:
    """`--monitoring_config_file`."""
    return _render("monitoring.config", settings)


def compose_file(settings: Settings) -> str:
    """docker-compose.yaml: one server on this machine. It is in `NAME/deploy`, so the model is the folder above."""
    program, *flags = command_line(settings)
    return _render(
        "docker-compose.yaml",
        settings,
        program=_compose_quoted(program),
        flags=_listed(map(_compose_quoted, flags), indent=6),
        base_path=_compose_quoted(settings.base_path),
        health_command=_compose_quoted(health_command(settings)),
    )


def health_command(settings: Settings, port: int = REST_PORT) -> str:
    """A line for bash that succeeds if a version of the model is AVAILABLE, with nothing but bash and grep."""
    request = f"GET {settings.url_path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"
    # printf's own escapes; a percent-encoded name has % that are none of its.
    return (
        f"exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{request.replace('%', '%%')}' >&3 && "
        'grep -q \'"state": "AVAILABLE"\' <&3'
    )


def kustomization_file(settings: Settings) -> str:
    """What `kubectl apply -k` reads: the manifest, and the `.config` files as they are, so that they exist once."""
    return _render("kustomization.yaml", settings)


def kubernetes_file(settings: Settings) -> str:
    """kubernetes.yaml: storage, servers that are replaced without a lost request, their address, and an autoscaler."""
    program, *flags = command_line(settings)
    return _render(
        "kubernetes.yaml",
        settings,
        program=program,
        flags=_listed(map(json.dumps, flags), indent=12),
        grace_seconds=settings.drain_seconds + 30,
        readiness_failures=max(3, settings.timeout_seconds // 10),
        target_in_flight=settings.num_threads // 2,
        stabilization_seconds=max(300, settings.drain_seconds),
    )


def readme_file(settings: Settings) -> str:
    """README.md: how to run the server, try a new version next to the old one, and go back."""
    old, new = settings.old_and_new
    url = f"localhost:{REST_PORT}{settings.url_path}"
    model = settings.model
    names = ", ".join(f"`{name}`" for name in (*model.state_signatures, *model.list_signatures))
    batching = "readme_batching.md" if model.may_be_batched else "readme_no_batching.md"
    text = _render(
        "README.md",
        settings,
        command=" \\\n      ".join(command_line(settings)),
        batching=textwrap.fill(_render(batching, settings, names=names), _WIDTH),
        url=shlex.quote(url),
        stable_url=shlex.quote(f"{url}/labels/stable"),
        canary_url=shlex.quote(f"{url}/labels/canary"),
        only_old=_step(settings, {"stable": old}),
        try_new=_step(settings, {"stable": old, "canary": new}),
        promote_new=_step(settings, {"stable": new, "previous": old}),
        only_new=_step(settings, {"stable": new}),
        copier=shlex.quote(_copier(settings)),
        folder=shlex.quote(settings.base_path),
        adapter_rule=textwrap.indent(adapter_rule(), " " * 4).rstrip("\n"),
    )
    return re.sub(
        r"^\d\. .*$",
        lambda found: textwrap.fill(found[0], _WIDTH, subsequent_indent="   "),
        text,
        flags=re.MULTILINE,
    )


def adapter_rule() -> str:
    """The values for prometheus-adapter's chart."""
    return _template("adapter_rule.yaml").substitute(metric=METRIC)


def _template(name: str) -> string.Template:
    path = resources.files(__package__) / "templates" / name
    return string.Template(path.read_text(encoding="utf-8"))


def _render(name: str, settings: Settings, **values: Any) -> str:
    """A template with what all have in common and `values`; a name that is given twice has the latter's."""
    old, new = settings.old_and_new
    common = {
        "name": settings.kubernetes_name,
        "model": settings.model.name,
        "quoted_model": _quoted(settings.model.name),
        "version": settings.model.version,
        "old": old,
        "new": new,
        "image": IMAGE,
        "image_version": IMAGE.partition(":")[2],
        "rest_port": REST_PORT,
        "grpc_port": GRPC_PORT,
        "metrics_path": METRICS_PATH,
        "metric": METRIC,
        "config_folder": CONFIG_FOLDER,
        "num_cpus": NUM_CPUS,
        "base_path": settings.base_path,
        "url_path": settings.url_path,
        "timeout_seconds": settings.timeout_seconds,
        "drain_seconds": settings.drain_seconds,
        "memory_mib": settings.memory_mib,
        "storage_gib": settings.storage_gib,
        "batch_rows": settings.batch_rows,
        "max_request_rows": settings.max_request_rows,
        "batch_timeout_micros": settings.batch_timeout_micros,
        "max_enqueued_batches": settings.max_enqueued_batches,
    }
    return _template(name).substitute({**common, **values})


def _step(settings: Settings, labels: Mapping[str, int]) -> str:
    return textwrap.indent(models_text(settings, labels), " " * 7).rstrip("\n")


def _copier(settings: Settings) -> str:
    """The pod that `kubectl cp` copies a model into."""
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": f"{settings.kubernetes_name}-models"}}
    container = {
        "name": "copy",
        "image": "busybox",
        "command": ["sleep", "3600"],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    return json.dumps({"spec": {"volumes": [volume], "containers": [container]}})


def _listed(items: Iterable[str], indent: int) -> str:
    """A YAML list, a line for each item."""
    return "\n".join(f"{' ' * indent}- {item}" for item in items)


def _quoted(text: str) -> str:
    """A string of YAML or of a text proto."""
    return json.dumps(text, ensure_ascii=False)


def _compose_quoted(text: str) -> str:
    """A YAML string; compose would take $ for the name of a variable."""
    return _quoted(text).replace("$", "$$")
