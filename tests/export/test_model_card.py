"""The card has the given sections, what the graph holds, and commands that a shell can take."""

import json
import os
import re
import shlex

import numpy as np

from tflm.export.model_card import model_card
from tflm.export.signatures import SignatureDtypes
from tflm.serving import connect
from tflm.serving.server.rest.json_inputs import read_inputs


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
    assert "## State" not in card
    assert "Compiled by XLA" not in card


def bodies(card):
    """SignatureDtypes to the body of its example request."""
    blocks = re.findall(r"^`(\w+)`:\n\n```json\n(.*)\n```$", card, re.MULTILINE)
    return {name: json.loads(body) for name, body in blocks}


def test_a_whole_request_for_every_signature_that_a_server_takes(exports):
    found = bodies(read_card(exports.text))
    assert sorted(found) == ["about", "fold", "serving_default"]
    assert found["fold"] == {
        "signature_name": "fold",
        "instances": [{"text": "ＦＵＬＬ width", "scale": 1.5}],
    }
    loaded = connect(exports.text)
    for name, body in found.items():
        arrays, _ = read_inputs(body, loaded.signatures[name].inputs)
        assert loaded.predict(name, arrays)


def test_a_state_is_sized_and_too_long_to_show():
    before = {
        "num_tokens": np.array([4], np.int32),
        "state_cache": np.full([1, 300, 8], 1 / 3, np.float32),
        "state_seed": np.array([7], np.int64),
    }
    after = before | {"state_cache": np.zeros([1, 304, 8], np.float32)}
    requests = {"serving_default": [{"text": np.array([b"a"], object)}], "decode": [before]}
    answers = {"serving_default": [{}], "decode": [after]}
    card = model_card("m", {}, {}, {}, requests, answers, [])
    assert (
        "9,608 bytes per row for the prompt of the first example request, and 32 bytes per additional token"
        in card
    )
    assert "`decode`: `num_tokens` and the `state_...` outputs of the previous call, unchanged; " in card
    assert "0.3333" not in card


def test_what_xla_compiles_is_told_with_the_flag_it_needs():
    signatures = {name: SignatureDtypes({}, {}) for name in ("beam_xla", "generate", "generate_xla")}
    requests = {name: [{"text": np.array([b"a"], object)}] for name in signatures}
    card = model_card("m", {}, signatures, dict.fromkeys(signatures, ()), requests, {}, [])
    assert "## Compiled by XLA\n\n`beam_xla`, `generate_xla`: TensorFlow Serving runs them only if" in card
    assert "started with `--xla_cpu_compilation_enabled`, or `--xla_gpu_compilation_enabled` on a GPU" in card


def test_settings_stay_one_line_each():
    settings = {"stop": ["\n", "。|"], "banned": [], "system": "a|b\nc", "top_p": 0.9, "label": None}
    card = model_card(
        "m", {"Defaults": settings}, {}, {}, {"s": [{"text": np.array([b"a"], object)}]}, {}, []
    )
    assert card.splitlines()[2:11] == [
        "## Defaults",
        "",
        "| | |",
        "|---|---|",
        '| stop | ["\\n", "。\\|"] |',
        "| banned | [] |",
        "| system | a\\|b<br>c |",
        "| top_p | 0.9 |",
        "| label | None |",
    ]


def test_a_core_only_export_says_so(exports):
    card = read_card(exports.core)
    assert "TensorFlow core ops only: it loads without tensorflow-text." in card
    assert "import tensorflow_text" not in card


def test_the_example_survives_the_shell():
    text = 'it\'s "你好"; $HOME'
    requests = {"generate": [{"text": np.array([text.encode()], object), "seed": np.array([7], np.int32)}]}
    card = model_card("m", {}, {"generate": SignatureDtypes({}, {})}, {"generate": ()}, requests, {}, [])
    curl = next(line for line in card.splitlines() if line.strip().startswith("curl"))
    body = json.loads(shlex.split(curl)[2])
    assert body == {"signature_name": "generate", "instances": [{"text": text, "seed": 7}]}
