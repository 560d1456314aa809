"""The exports of the apps answer outside tflm too, and with the text of the model in memory.

TensorFlow's C API is what a C++ server calls; `saved_model_cli` is TensorFlow's own tool. A Transformer with bytes goes
through one, SentencePiece with the ops of tensorflow-text through the other; tests/export has both ways in both. (A
Python process without tflm and Keras has compared every answer before an export gets its version.)
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np

from tflm.export import audit_ops
from tflm.generation import DecodingConfig, settings_lists

TEXTS = ["What is AI?", "你好", "def f(", "什么是 and 😀"]
SETTINGS = {  # two rows greedy, two sampled
    "seed": [0, 1, 2, 3],
    "temperature": [0.0, 1.0, 0.0, 0.7],
    "top_k": [0, 40, 0, 0],
    "top_p": [1.0, 1.0, 1.0, 0.9],
    "min_p": [0.0] * 4,
    "repetition_penalty": [1.0, 1.0, 1.2, 1.0],
    "min_new_tokens": [5] * 4,
    "max_new_tokens": [9] * 4,
}
REQUEST = {"text": TEXTS, **settings_lists(DecodingConfig(), 4), **SETTINGS}


def run_through_c_api(*arguments):
    """`run` of tests/export/test_c_api.py."""
    path = pathlib.Path(__file__).parents[1] / "export/test_c_api.py"
    spec = importlib.util.spec_from_file_location("c_api", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run(*arguments)


def test_tensorflows_c_api(decoder):
    outputs = run_through_c_api(decoder.version, "generate", REQUEST, [])
    assert not isinstance(outputs, str), outputs
    texts = [text.decode("utf-8") for text in outputs["text"]["values"]]
    assert texts == decoder.in_memory(TEXTS, **SETTINGS)
    assert all(texts) and all(5 <= count <= 9 for count in outputs["num_tokens"]["values"])


def test_saved_model_cli(chat, tmp_path):
    assert any(audit_ops(chat.version).values()), (
        "ops of tensorflow-text, which the tool does not load by itself"
    )
    main = "import tensorflow_text; from tensorflow.python.tools.saved_model_cli import main; main()"
    expressions = ";".join(f"{name}={values!r}" for name, values in REQUEST.items())
    command = [sys.executable, "-c", main, "run", "--dir", chat.version, "--tag_set", "serve"]
    command += ["--signature_def", "generate", "--input_exprs", expressions, "--outdir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"text.npy", "num_tokens.npy", "log_probability.npy"} <= set(os.listdir(tmp_path))
    texts = [text.decode("utf-8") for text in np.load(tmp_path / "text.npy", allow_pickle=True)]
    assert texts == chat.in_memory(TEXTS, **SETTINGS)
