"""The text files of the server's flags: models.config, batching.config and monitoring.config."""

import json
from collections.abc import Mapping

from tflm.export.deployment.settings import METRICS_PATH, NUM_CPUS, Settings


def models_config(settings: Settings) -> str:
    """`--model_config_file`: the highest version; how to give labels is a comment."""
    old, new = settings.old_and_new
    comment = "".join(
        f"#   {line}\n" for line in models_text(settings, {"stable": old, "canary": new}).splitlines()
    )
    return (
        "# Which versions are served. The server looks at this file every ten seconds; no restart is needed.\n"
        f"{models_text(settings, {})}"
        f"# To try version {new} beside version {old}, and to go back at once, name both and label them, as\n"
        "# README.md tells step by step:\n"
        f"{comment}"
    )


def models_text(settings: Settings, labels: Mapping[str, int]) -> str:
    """A model config list: the versions that have labels, or the highest where there are none."""
    name, base_path = (_quoted(text) for text in (settings.model.name, settings.base_path))
    numbers = " ".join(f"versions: {number}" for number in sorted(set(labels.values())))
    policy = f"specific {{ {numbers} }}" if labels else "latest { num_versions: 1 }"
    lines = [
        f"name: {name}",
        f"base_path: {base_path}",
        'model_platform: "tensorflow"',
        f"model_version_policy {{ {policy} }}",
        *(f'version_labels {{ key: "{key}" value: {number} }}' for key, number in labels.items()),
    ]
    inside = "".join(f"    {line}\n" for line in lines)
    return f"model_config_list {{\n  config {{\n{inside}  }}\n}}\n"


def batching_config(settings: Settings) -> str:
    """`--batching_parameters_file`."""
    model = settings.model
    if model.may_be_batched:
        head = "# Requests to one signature are put together: every input of this model is one value a row.\n"
    else:
        head = (
            "# NOT USED: the command line does not name this file, since the server would batch all signatures.\n"
            f"{_why_not(settings)}"
        )
    rows = settings.batch_rows
    sizes = [size for size in (1, 2, 4, 8, 16, 32) if size < rows] + [rows, settings.max_request_rows]
    allowed = "".join(f"allowed_batch_sizes: {size}\n" for size in sizes)
    if not model.compiled_signatures:
        allowed = (
            "# No allowed_batch_sizes: nothing is compiled for one shape; to fill up batches is work lost.\n"
        )
    return f"""{head}
# The most rows of one request; it is divided among batches of at most max_execution_batch_size rows.
max_batch_size {{ value: {settings.max_request_rows} }}
enable_large_batch_splitting {{ value: true }}
max_execution_batch_size {{ value: {rows} }}
# How long the first request of a batch waits for others.
batch_timeout_micros {{ value: {settings.batch_timeout_micros} }}
# Batches at work at a time: as many as there are processors.
num_batch_threads {{ value: {NUM_CPUS} }}
# Batches that may wait; the next request is refused with 503 UNAVAILABLE, and its client may try another server.
max_enqueued_batches {{ value: {settings.max_enqueued_batches} }}
{allowed}# Filling up would repeat the first value of an input: a list would get entries that nobody sent.
pad_variable_length_inputs: false
"""


def monitoring_config(settings: Settings) -> str:
    """`--monitoring_config_file`."""
    return f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}\n'


def _why_not(settings: Settings) -> str:
    model, text = settings.model, ""
    if model.state_signatures:
        text += (
            f"# {', '.join(model.state_signatures)}: states of texts of different lengths do not fit each other; all "
            "requests of a batch would fail.\n"
        )
    if model.list_signatures:
        text += (
            f"# {', '.join(model.list_signatures)}: requests with lists of different lengths would all fail when they "
            "meet in a batch.\n"
        )
    return text + "# An export of --signatures=serving_default alone may be batched.\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
