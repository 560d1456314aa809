"""Exports of core ops alone in an environment that has no tensorflow-text: real, not pretended.

The environment is a folder of links to all that is installed here but tensorflow-text, and Python started without the
folder that has it (`-I -S`).
"""

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

import tflm
from tflm.export import text_ops_in
from tflm.serving import connect
from tflm.text import TokenizerConfig, train_tokenizer

TEXT = tf.TensorSpec([None], tf.string, "text")
TEXTS = ["Hello, world 😀", "你好，世界", "", "Ünïcödé\n\ttext\x00"]
SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
report = {}
try:
    import tensorflow_text
except ModuleNotFoundError as error:
    report["import"] = str(error)
from tflm.errors import UserError
from tflm.serving import connect
core = connect(sys.argv[2])
for signature in ("byte", "character"):
    outputs = core.predict(signature, {"text": json.loads(sys.argv[4])})
    report[signature] = [[text.decode() for text in outputs["text"]], outputs["token_ids"].tolist()]
try:
    connect(sys.argv[3])
except UserError as error:
    report["refusal"] = str(error)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`core`: an export with the signatures `byte` and `character`; `text`: one with `sentencepiece`. Each gives the
    ids of a text and the text of those ids."""
    folder = tmp_path_factory.mktemp("exports")
    tokenizers = {
        kind: train_tokenizer(TokenizerConfig(kind=kind, vocab_size=300, soft_vocab_limit=True), TEXTS)
        for kind in ("byte", "character", "sentencepiece")
    }
    for name, kinds in {"core": ["byte", "character"], "text": ["sentencepiece"]}.items():
        module = tf.Module()
        module.tokenizers = [tokenizers[kind] for kind in kinds]
        signatures = {kind: there_and_back(tokenizers[kind]) for kind in kinds}
        tf.saved_model.save(module, str(folder / name), signatures=signatures)
    return folder


def there_and_back(tokenizer):
    @tf.function(input_signature=[TEXT], autograph=False)
    def function(text):
        rows = tokenizer.tokenize(text)
        return {"token_ids": rows.to_tensor(0), "text": tokenizer.detokenize(rows)}

    return function


@pytest.fixture(scope="module")
def without_tensorflow_text(tmp_path_factory):
    """What `sys.path` begins with there."""
    links = tmp_path_factory.mktemp("site_packages")
    installed = os.path.dirname(os.path.dirname(tf.__file__))
    for name in os.listdir(installed):
        if not name.startswith("tensorflow_text"):
            os.symlink(os.path.join(installed, name), links / name)
    return [str(links), os.path.dirname(os.path.dirname(tflm.__file__))]


def test_byte_and_character_models_answer_and_a_sentencepiece_model_is_refused(
    folders, without_tensorflow_text
):
    paths = [json.dumps(without_tensorflow_text), str(folders / "core"), str(folders / "text")]
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, *paths, json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["import"] == "No module named 'tensorflow_text'"
    here = connect(str(folders / "core"))
    for signature in ("byte", "character"):
        texts, token_ids = report[signature]
        assert texts == TEXTS
        assert token_ids == here.predict(signature, {"text": TEXTS})["token_ids"].tolist()
    version = tf.__version__.rsplit(".", 1)[0]
    assert report["refusal"] == (
        "this model uses ops of tensorflow-text, which is not installed. Install the version that goes with "
        f"TensorFlow: pip install 'tensorflow-text=={version}.*'"
    )


def test_what_is_refused_there_answers_here(folders):
    assert "SentencepieceTokenizeOp" in text_ops_in(str(folders / "text"))
    outputs = connect(str(folders / "text")).predict("sentencepiece", {"text": TEXTS})
    assert [text.decode() for text in outputs["text"]] == TEXTS
