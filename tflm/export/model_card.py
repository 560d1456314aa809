"""`model_card.md`: the documentation inside an export, with a request for each signature as JSON."""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.export.deploy.settings import IMAGE
from tflm.export.signatures import SignatureDtypes, is_compiled
from tflm.export.state_size import STATE_PREFIX, state_size

CARD_FILE = "model_card.md"
_LONGEST_BODY = 4000  # characters; a generation state can have millions

Batches = Mapping[str, Sequence[Mapping[str, np.ndarray]]]


def model_card(
    name: str,
    sections: Mapping[str, str | Mapping[str, Any]],
    signatures: Mapping[str, SignatureDtypes],
    custom_ops: Mapping[str, Sequence[str]],
    requests: Batches,
    answers: Batches,
    variables: Sequence[tf.Variable],
) -> str:
    """The model card as Markdown.

    Args:
        name: the name under which the model is served.
        sections: heading to text or to a table of settings, in order.
        signatures: signatures of the SavedModel, see `read_signatures`.
        custom_ops: ops of each signature that are not in core TensorFlow, see `audit_ops`.
        requests: the verified requests of each signature; the first one is the example.
        answers: the outputs for these requests.
        variables: the weights.
    """
    parts = [f"# {name}"]
    for heading, content in sections.items():
        parts.append(
            f"## {heading}\n\n{_table(content) if isinstance(content, Mapping) else content.strip()}"
        )
    parts.append(f"## Signatures\n\n{_signatures(signatures)}")
    if compiled := [signature for signature in signatures if is_compiled(signature)]:
        parts.append(f"## Compiled by XLA\n\n{_compiled(compiled)}")
    parts.append(f"## Ops\n\n{_ops(custom_ops)}")
    parts.append(f"## Size\n\n{_size(variables)}")
    if "decode" in requests:
        parts.append(f"## State\n\n{_state(requests['decode'][0], answers['decode'][0])}")
    parts.append(f"## How to call it\n\n{_usage(name, requests, any(custom_ops.values()))}")
    parts.append(f"## Requests\n\n{_bodies(name, requests)}")
    parts.append(f"## Checked\n\n{_checked(requests)}")
    return "\n\n".join(parts) + "\n"


def _table(settings: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {key} | {_cell(value)} |" for key, value in settings.items())
    return f"| | |\n|---|---|\n{rows}"


def _cell(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple | dict) else str(value)
    return text.replace("|", "\\|").replace("\n", "<br>")


def _signatures(signatures: Mapping[str, SignatureDtypes]) -> str:
    rows = [
        f"| `{name}` | {_fields(signature.inputs)} | {_fields(signature.outputs)} |"
        for name, signature in signatures.items()
    ]
    head = "The first axis of every input and output is the row."
    return "\n".join([head, "", "| name | in | out |", "|---|---|---|", *rows])


def _fields(fields: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {dtype}" for name, dtype in fields.items())


def _compiled(names: Sequence[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names)
    return (
        f"{listed}: TensorFlow Serving runs them only if started with `--xla_cpu_compilation_enabled`, or "
        "`--xla_gpu_compilation_enabled` on a GPU, so they have no warm-up requests. The others need no flag."
    )


def _ops(custom_ops: Mapping[str, Sequence[str]]) -> str:
    if not any(custom_ops.values()):
        return "TensorFlow core ops only: it loads without tensorflow-text."
    rows = [f"- `{name}`: {', '.join(ops) or 'core ops only'}" for name, ops in custom_ops.items()]
    return "Beyond TensorFlow's core, from tensorflow-text (part of TensorFlow Serving):\n\n" + "\n".join(
        rows
    )


def _size(variables: Sequence[tf.Variable]) -> str:
    num_parameters = sum(variable.shape.num_elements() for variable in variables)
    num_bytes = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
    if any(variable.dtype in (tf.int8, tf.uint8) for variable in variables):
        return f"{num_bytes / 1e6:,.1f} MB in {len(variables)} variables; see Weights."
    return f"{num_parameters:,} parameters in {len(variables)} variables, {num_bytes / 1e6:,.1f} MB."


def _state(request: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray]) -> str:
    size, growth = state_size(request, answer)
    return (
        f"The state passed between `prefill` and `decode`: {size:,} bytes per row for the prompt of the first example "
        f"request, and {growth:,} bytes per additional token."
    )


def _checked(requests: Batches) -> str:
    counts = ", ".join(f"`{name}` {len(batches)}" for name, batches in sorted(requests.items()))
    return (
        f"Written by TensorFlow {tf.__version__}, loaded in a fresh process without tflm and Keras, and "
        f"compared with the model in memory. Requests: {counts}. Strings and integers were equal, floats "
        "within 1e-4 of their size. `checksums.json` has the SHA-256 of every file."
    )


def _usage(name: str, requests: Batches, needs_text: bool) -> str:
    signature = "serving_default" if "serving_default" in requests else min(requests)
    body = request_body(signature, requests[signature][0])
    row = first_row(requests[signature][0])
    exprs = ";".join(f"{key}={json.dumps([value], ensure_ascii=False)}" for key, value in row.items())
    program = "saved_model_cli"
    if needs_text:  # registers the ops first
        program = (
            'python -c "import tensorflow_text; '
            'from tensorflow.python.tools.saved_model_cli import main; main()"'
        )
    return f"""\
A command-line app:

    tflm generate --model=saved_models/{name} --text='...'

TensorFlow Serving, from the folder that contains `{name}` (`{name}/deploy/`, if present, has all files and flags):

    docker run -p 8501:8501 -v "$PWD:/models" -e MODEL_NAME={name} {IMAGE}
    curl -d {shlex.quote(body)} localhost:8501/v1/models/{name}:predict

TensorFlow's own tool, from the folder of this card:

    {program} run --dir . --tag_set serve --signature_def {signature} --input_exprs {shlex.quote(exprs)}"""


def _bodies(name: str, requests: Batches) -> str:
    head = (
        f"One row for each signature, as the body of a POST to `/v1/models/{name}:predict`. The REST API requires "
        "every input."
    )
    parts = [head]
    for signature, batches in requests.items():
        body = request_body(signature, batches[0])
        others = [f"`{key}`" for key in batches[0] if not key.startswith(STATE_PREFIX)]
        if len(body) <= _LONGEST_BODY or len(others) == len(batches[0]):
            parts.append(f"`{signature}`:\n\n```json\n{body}\n```")
        else:
            parts.append(
                f"`{signature}`: {', '.join(others)} and the `{STATE_PREFIX}...` outputs of the previous call, "
                f"unchanged; {len(body):,} characters for the first example."
            )
    return "\n\n".join(parts)


def request_body(signature: str, request: Mapping[str, np.ndarray]) -> str:
    """The first row of a request as the body of a POST to `/v1/models/NAME:predict`.

    >>> request_body("generate", {"text": np.array([b"Hi"], object), "top_p": np.array([0.9], np.float32)})
    '{"signature_name": "generate", "instances": [{"text": "Hi", "top_p": 0.9}]}'

    Args:
        signature: name of the signature.
        request: input name to array, batch axis first.
    """
    return json.dumps({"signature_name": signature, "instances": [first_row(request)]}, ensure_ascii=False)


def first_row(request: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The first row of a request as JSON values by input name; bytes that are not UTF-8 become `{"b64": ...}`."""
    return {name: _plain(array[0]) for name, array in request.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    if np.issubdtype(value.dtype, np.floating):
        return float(str(value))  # 0.9, not the digits that float32 0.9 has in float64
    return value.item()
