"""README.md: how to run the server, try a new version beside the old one, and go back."""

import json
import shlex
import textwrap

from tflm.export.deployment.config_files import models_text
from tflm.export.deployment.settings import (
    CONFIG_FOLDER,
    IMAGE,
    METRIC,
    METRICS_PATH,
    REST_PORT,
    Settings,
    command_line,
)


def readme_file(settings: Settings) -> str:
    """The file as text."""
    parts = [_start(settings), _batching(settings), _versions(settings), _cluster(settings), _watch(settings)]
    return "\n".join(parts)


def _start(settings: Settings) -> str:
    program, *flags = command_line(settings)
    command = " \\\n      ".join([program, *flags])
    return f"""\
# {settings.model.name} in TensorFlow Serving

`apps.export` wrote these files for version {settings.model.version}. Change them as you like: a file that
you have changed is never written again; the others follow the model with each export.

## On one machine

    docker compose up -d --wait
    curl {shlex.quote(_url(settings))}

The command line, of TensorFlow Serving {IMAGE.partition(":")[2]}, with this folder as `{CONFIG_FOLDER}` and the folder
above as `{settings.base_path}`:

    {command}

- A REST request has {settings.timeout_seconds} seconds; after them the answer is 504.
- `models.config` is looked at every ten seconds. Labels may be given to versions that are still being loaded.
- Versions are loaded and let go in threads of their own, so that a long answer holds up neither.
"""


def _batching(settings: Settings) -> str:
    if settings.model.may_be_batched:
        why = (
            "The server puts requests together, as `batching.config` says: every input of this model is one value a "
            "row, so requests always fit each other."
        )
    else:
        why = (
            "The server does not put requests together, since it would do so for all signatures, and "
            f"{_names(settings)} must not be; `batching.config` says why. An export of `--signatures=serving_default` "
            "may. `apps.serve` batches each signature by itself."
        )
    return f"## Batching\n\n{textwrap.fill(why, 110)}\n"


def _names(settings: Settings) -> str:
    names = [f"`{name}`" for name in (*settings.model.state_signatures, *settings.model.list_signatures)]
    return ", ".join(names)


def _versions(settings: Settings) -> str:
    old, new = settings.old_and_new
    steps = [
        (
            f"Before version {new} is exported: only version {old} is served, as `stable`. Otherwise the new one would "
            "take over as soon as it is there, which may be just what you want.",
            {"stable": old},
        ),
        (
            f"Version {new} is there: both are served, the new one to those who ask for it.",
            {"stable": old, "canary": new},
        ),
        (
            "It is good: who asks for `stable` gets the new version. The old one stays loaded.",
            {"stable": new, "previous": old},
        ),
        (
            "It is not: the way back. Nothing has to be loaded, so it is as quick as the look at the file.",
            {"stable": old, "canary": new},
        ),
        ("Done: the new version alone, whose label stays.", {"stable": new}),
    ]
    parts = []
    for number, (text, labels) in enumerate(steps, start=1):
        told = textwrap.fill(f"{number}. {text}", 110, subsequent_indent="   ")
        parts.append(f"{told}\n\n{textwrap.indent(models_text(settings, labels), ' ' * 7)}")
    listed = "\n".join(parts)
    return f"""\
## A new version, and back

Write each of these into `models.config`; ten seconds later it is so. Clients ask by label, at
`{settings.url_path}/labels/stable:predict`. Which versions the labels mean, and whether they are AVAILABLE:

    curl {shlex.quote(f"{_url(settings)}/labels/stable")}
    curl {shlex.quote(f"{_url(settings)}/labels/canary")}

{listed}"""


def _url(settings: Settings) -> str:
    return f"localhost:{REST_PORT}{settings.url_path}"


def _cluster(settings: Settings) -> str:
    name, folder = settings.kubernetes_name, shlex.quote(settings.base_path)
    _, new = settings.old_and_new
    return f"""\
## In a cluster

    kubectl apply -k .
    kubectl run copy --image=busybox --restart=Never --overrides={shlex.quote(_copier(settings))}
    kubectl wait --for=condition=Ready pod/copy
    kubectl cp "$(dirname "$PWD")" copy:{folder}.tmp && kubectl exec copy -- mv {folder}.tmp {folder}
    kubectl rollout status deployment/{name}

The first servers wait for the copy. A change of `models.config` needs `kubectl apply -k .` again, and arrives within
two minutes. A new version is copied under a name that is no number, and renamed when it is whole, since the server
takes any folder with a number for a name. That is all that it needs:

    kubectl cp ../{new} copy:{folder}/{new}.tmp && kubectl exec copy -- mv {folder}/{new}.tmp {folder}/{new}

A server has {settings.memory_mib} MiB: for the program, two versions, and the requests at work at their longest.

The autoscaler asks for `{METRIC}`. It needs Prometheus, which reads the servers by
their annotations, and prometheus-adapter (chart prometheus-community/prometheus-adapter) with this rule. The server
does not tell how many requests wait; but the seconds that requests spend in it, for each second, are the number of
those that are in it, waiting or at work (Little's law).

{textwrap.indent(adapter_rule(), "    ")}"""


def adapter_rule() -> str:
    """The values for prometheus-adapter's chart."""
    series = ":tensorflow:serving:request_latency_sum"
    return f"""\
rules:
  custom:
    - seriesQuery: '{{__name__="{series}",namespace!="",pod!=""}}'
      resources:
        overrides: {{namespace: {{resource: namespace}}, pod: {{resource: pod}}}}
      name: {{as: {METRIC}}}
      metricsQuery: 'sum(rate({{__name__="<<.Series>>",<<.LabelMatchers>>}}[2m])) by (<<.GroupBy>>) / 1e6'
"""


def _copier(settings: Settings) -> str:
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": f"{settings.kubernetes_name}-models"}}
    container = {
        "name": "copy",
        "image": "busybox",
        "command": ["sleep", "3600"],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    return json.dumps({"spec": {"volumes": [volume], "containers": [container]}})


def _watch(settings: Settings) -> str:
    return f"""\
## Watching and stopping

Metrics for Prometheus: `curl localhost:{REST_PORT}{METRICS_PATH}`.

The server does not handle SIGTERM. In the cluster a server that is to go gets no more requests, has
{settings.drain_seconds} seconds for those at work, and is ended then. `docker compose stop` ends it at once.
"""
