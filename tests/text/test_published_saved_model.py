"""Published tokenizers in a SavedModel, loaded in a fresh process that has neither tflm nor Keras."""

import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.text.published import byte_level, different, nasty_texts, user_text, write_folder
from tests.text.test_exact_bert import CONFIG as BERT_CONFIG
from tests.text.test_exact_bert import SPECIAL, bert
from tests.text.test_published_sentencepiece import BASIC, merges_model_fixture, with_bytes
from tests.text.test_saved_model import LOADER, Exported
from tflm.export.audit import audit_ops
from tflm.export.text_ops import text_op_libraries
from tflm.text.import_tokenizer import read_tokenizer

__all__ = ["merges_model_fixture"]
NAMES = ("qwen2", "llama3", "llama", "bert")


class Marked(Exported):
    """With a special token before each text, which came from a user."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def round_trip(self, text):
        mark = self.tokenizer.special_mark(self.tokenizer.end_id)
        token_ids = self.tokenizer.tokenize_marked(mark + self.tokenizer.clean(text))
        return {
            "token_ids": token_ids.to_tensor(self.tokenizer.pad_id),
            "text": self.tokenizer.detokenize(token_ids),
        }


@pytest.fixture(scope="module", name="published")
def published_fixture(merges_model, tmp_path_factory):
    """name -> (the library's, ours)."""
    folder = tmp_path_factory.mktemp("published")
    eos = {"eos_token": "<|im_end|>"}
    characters = dict.fromkeys("".join(nasty_texts(100)).lower().replace("\x00", "").split())
    pieces = [*SPECIAL, *dict.fromkeys("".join(characters))]
    theirs = {
        "qwen2": (byte_level("qwen2"), eos),
        "llama3": (byte_level("llama3"), eos),
        "llama": (with_bytes(merges_model, "prepended"), BASIC),
        "bert": (bert(pieces, lowercase=True), BERT_CONFIG),
    }
    return {
        name: (each, read_tokenizer(write_folder(folder / name, each, config)))
        for name, (each, config) in theirs.items()
    }


def test_same_ids_in_a_reloaded_export(published, tmp_path):
    for name in NAMES:
        module = Marked(published[name][1])
        tf.saved_model.save(module, f"{tmp_path}/{name}", signatures=module.round_trip)
        assert audit_ops(f"{tmp_path}/{name}")["serving_default"] == tuple(sorted(published[name][1].ops))
    texts = [text for text in nasty_texts(40) if "\x00" not in text and "\u1c89" not in text]
    arguments = json.dumps([str(tmp_path), [], NAMES, texts, text_op_libraries()])
    process = subprocess.run(
        [sys.executable, "-c", LOADER, arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    answers = json.loads(process.stdout.split("ANSWERS")[1])
    for name in NAMES:
        theirs, ours = published[name]
        _, rows, nothing = answers[name]
        found = [[each for each in row if each != ours.pad_id] for row in rows]
        assert {row[0] for row in found} == {ours.end_id} and nothing == []
        assert not different([row[1:] for row in found], user_text(theirs), texts)
