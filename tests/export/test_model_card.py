"""The card says what it is told, what the graph holds, and commands that a shell can take."""

import json
import os
import shlex

import numpy as np

from tflm.export.model_card import model_card
from tflm.export.signatures import Signature


def read_card(path):
    with open(os.path.join(path, "model_card.md"), encoding="utf-8") as file:
        return file.read()


def test_sections_signatures_ops_and_sizes(exports):
    card = read_card(exports.text)
    assert card.startswith(
        "# text\n\n## What it is\n\nA toy. 玩具。\n\n## Settings\n\n| | |\n|---|---|\n| shift | 1 |"
    )
    assert "| `fold` | `scale` float32, `text` string | `scaled` float32, `text` string |" in card
    assert "- `fold`: CaseFoldUTF8, NormalizeUTF8\n- `serving_default`: core ops only" in card
    assert "1 parameters in 1 variables" in card
    assert "import tensorflow_text; from tensorflow.python.tools.saved_model_cli" in card
    assert "`fold` 2, `serving_default` 2" in card


def test_a_core_only_export_says_so(exports):
    card = read_card(exports.core)
    assert "TensorFlow core ops only: it loads without tensorflow-text." in card
    assert "import tensorflow_text" not in card


def test_the_example_survives_the_shell():
    text = 'it\'s "你好"; $HOME'
    requests = {"generate": [{"text": np.array([text.encode()], object), "seed": np.array([7], np.int32)}]}
    card = model_card("m", {}, {"generate": Signature({}, {})}, {"generate": ()}, requests, [])
    curl = next(line for line in card.splitlines() if line.strip().startswith("curl"))
    body = json.loads(shlex.split(curl)[2])
    assert body == {"signature_name": "generate", "instances": [{"text": text, "seed": 7}]}
