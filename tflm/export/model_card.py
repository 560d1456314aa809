"""`model_card.md`: what a person wants to know who finds an export and nothing else."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tflm.export.signatures import Signature

CARD_FILE = "model_card.md"


def model_card(
    name: str,
    sections: Mapping[str, str | Mapping[str, Any]],
    signatures: Mapping[str, Signature],
    custom_ops: Mapping[str, Sequence[str]],
    requests: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    variables: Sequence[tf.Variable],
) -> str:
    """The card as Markdown.

    Args:
        name: the name under which the model is served.
        sections: heading to text, or heading to a table of settings, in the order wanted.
        signatures: as read from the SavedModel.
        custom_ops: signature name to the ops beyond TensorFlow's core.
        requests: those the export was checked with; the first of the default signature becomes the example.
        variables: the weights.
    """
    parts = [f"# {name}"]
    for heading, content in sections.items():
        parts.append(
            f"## {heading}\n\n{_table(content) if isinstance(content, Mapping) else content.strip()}"
        )
    parts.append(f"## Signatures\n\n{_signatures(signatures)}")
    parts.append(f"## Ops\n\n{_ops(custom_ops)}")
    parts.append(f"## Size\n\n{_size(variables)}")
    parts.append(f"## How to call it\n\n{_usage(name, requests, any(custom_ops.values()))}")
    parts.append(f"## Checked\n\n{_checked(requests)}")
    return "\n\n".join(parts) + "\n"


def _table(settings: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
    return f"| | |\n|---|---|\n{rows}"


def _signatures(signatures: Mapping[str, Signature]) -> str:
    rows = [
        f"| `{name}` | {_fields(signature.inputs)} | {_fields(signature.outputs)} |"
        for name, signature in signatures.items()
    ]
    head = "The first axis of every input and output is the row."
    return "\n".join([head, "", "| name | in | out |", "|---|---|---|", *rows])


def _fields(fields: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {dtype}" for name, dtype in fields.items())


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
    return f"{num_parameters:,} parameters in {len(variables)} variables, {num_bytes / 1e6:,.1f} MB."


def _checked(requests: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> str:
    counts = ", ".join(f"`{name}` {len(batches)}" for name, batches in sorted(requests.items()))
    return (
        f"Written by TensorFlow {tf.__version__}, loaded in a fresh process without tflm and Keras, and "
        f"compared with the model in memory. Requests: {counts}. Strings and integers were equal, floats "
        "within 1e-4 of their size. `checksums.json` has the SHA-256 of every file."
    )


def _usage(name: str, requests: Mapping[str, Sequence[Mapping[str, np.ndarray]]], needs_text: bool) -> str:
    signature = "serving_default" if "serving_default" in requests else min(requests)
    row = {key: _plain(array[0]) for key, array in requests[signature][0].items()}
    body = json.dumps({"signature_name": signature, "instances": [row]}, ensure_ascii=False)
    exprs = ";".join(f"{key}={json.dumps([value], ensure_ascii=False)}" for key, value in row.items())
    program = "saved_model_cli"
    if needs_text:  # registers the ops first
        program = (
            'python -c "import tensorflow_text; '
            'from tensorflow.python.tools.saved_model_cli import main; main()"'
        )
    return f"""\
A command-line app:

    python -m apps.generate --model=saved_models/{name} --text='...'

TensorFlow Serving, from the folder that holds `{name}`:

    docker run -p 8501:8501 -v "$PWD:/models" -e MODEL_NAME={name} tensorflow/serving
    curl -d {shlex.quote(body)} localhost:8501/v1/models/{name}:predict

TensorFlow's own tool, from the folder of this card:

    {program} run --dir . --tag_set serve --signature_def {signature} --input_exprs {shlex.quote(exprs)}"""


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item()
