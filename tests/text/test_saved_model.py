"""Exports of every kind, loaded in one fresh process that has neither tflm nor Keras.

Byte and character exports are loaded before any op of tensorflow-text is.
"""

import glob
import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

TEXTS = ["Hello 你好，世界！", "", " a  b▁\n", "龘 👩‍👧 [SEP] </s>"]
CORE = ("byte", "character")
OTHERS = ("unigram", "wordpiece", "byte_pair")

LOADER = """
import json, sys

for name in ("keras", "keras_nlp", "keras_hub", "tflm", "sentencepiece", "tensorflow_text"):
    sys.modules[name] = None  # an import of it raises ImportError
import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session
from tensorflow.core.framework import op_def_pb2

def registered():
    buffer = pywrap_tf_session.TF_GetAllOpList()
    return [op.name for op in op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer)).op]

folder, core, other, texts, libraries = json.loads(sys.argv[1])
answers = {"core_ops": registered()}
for names in (core, other):
    for name in names:
        loaded = tf.saved_model.load(f"{folder}/{name}")
        answer = loaded.round_trip(tf.constant(texts))
        nothing = loaded.round_trip(tf.constant([], tf.string))
        answers[name] = [
            [text.decode() for text in answer["text"].numpy()],
            answer["token_ids"].numpy().tolist(),
            nothing["text"].numpy().tolist(),
        ]
    if names is core:
        for library in libraries:
            tf.load_op_library(library)
print("ANSWERS" + json.dumps(answers))
"""


class Exported(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def round_trip(self, text):
        token_ids = self.tokenizer.tokenize(text).to_tensor(self.tokenizer.pad_id)
        return {"token_ids": token_ids, "text": self.tokenizer.detokenize(token_ids)}


@pytest.fixture(scope="module")
def answers(tokenizers, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("exports"))
    for name in CORE + OTHERS:
        tf.saved_model.save(Exported(tokenizers[name]), f"{folder}/{name}")
    # The package itself imports Keras, so the process gets its op libraries alone, as a server does.
    libraries = glob.glob(f"{os.path.dirname(tensorflow_text.__file__)}/python/ops/*.so")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, "-c", LOADER, json.dumps([folder, CORE, OTHERS, TEXTS, libraries])],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return folder, json.loads(process.stdout.split("ANSWERS")[1])


@pytest.mark.parametrize("name", CORE + OTHERS)
def test_same_answers_as_in_memory(tokenizers, answers, name):
    text, token_ids, nothing = answers[1][name]
    ids = tokenizers[name].tokenize(TEXTS)
    assert token_ids == ids.to_tensor().numpy().tolist()
    assert [line.encode() for line in text] == tokenizers[name].detokenize(ids).numpy().tolist()
    assert nothing == []


@pytest.mark.parametrize("name", CORE + OTHERS)
def test_ops_are_those_in_the_graph(tokenizers, answers, name):
    folder, found = answers
    with open(f"{folder}/{name}/saved_model.pb", "rb") as file:
        proto = saved_model_pb2.SavedModel.FromString(file.read())
    graph = proto.meta_graphs[0].graph_def
    used = {node.op for node in graph.node}
    used |= {node.op for function in graph.library.function for node in function.node_def}
    functions = {function.signature.name for function in graph.library.function}
    assert used - functions - set(found["core_ops"]) == set(tokenizers[name].ops)


@pytest.mark.parametrize("name", CORE + OTHERS)
def test_no_files_outside_the_graph(answers, name):
    assert os.listdir(f"{answers[0]}/{name}/assets") == []
