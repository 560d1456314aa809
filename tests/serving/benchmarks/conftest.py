"""Models saved in a moment, with the signatures that the soak and the benchmark ask; and two ways to run these."""

import pathlib
import subprocess
import sys
import types

import pytest
import tensorflow as tf
from absl import flags

from tests.apps.small_models import SETTINGS, TEXT, clean, labelled, spec

BENCHMARKS = pathlib.Path(__file__).parents[3] / "benchmarks"


class Small(tf.Module):
    """Writes the text itself, behind its seed; streams it in two pieces."""

    @tf.function(input_signature=TEXT)
    def classify(self, text):
        return labelled(text)

    @tf.function(input_signature=[*TEXT, *SETTINGS])
    def generate(self, text, *settings):
        seed = next(value for value in settings if value.name.startswith("seed"))
        return {"text": tf.strings.as_string(seed) + clean(text), **self._facts(text)}

    @tf.function(input_signature=[*TEXT, *SETTINGS])
    def prefill(self, text, *settings):
        whole = self.generate(text, *settings)["text"]
        pieces = [tf.strings.substr(whole, *part, unit="UTF8_CHAR") for part in ((0, 1), (1, 2**30))]
        return {"piece": pieces[0], "finished": text != text, "state_rest": pieces[1], **self._facts(text)}

    @tf.function(input_signature=[spec("num_tokens", tf.int32), spec("state_rest")])
    def decode(self, num_tokens, state_rest):
        facts = self._facts(state_rest)
        del facts["truncated"]
        return {"piece": state_rest, "finished": num_tokens > 0, "state_rest": "" + state_rest, **facts}

    def _facts(self, text):
        length = tf.strings.length(text)
        return {
            "num_tokens": length,
            "log_probability": -tf.cast(length, tf.float32),
            "finish_reason": tf.fill(tf.shape(text), "stop"),
            "truncated": length < 0,
        }


@pytest.fixture(scope="module")
def served_models(tmp_path_factory):
    folder, module = tmp_path_factory.mktemp("models"), Small()
    for name, signatures in (("writer", ("generate", "prefill", "decode")), ("sorter", ("classify",))):
        made = {signature: getattr(module, signature) for signature in signatures}
        tf.saved_model.save(module, str(folder / name / "1"), made)
    return folder


@pytest.fixture
def run_here(monkeypatch):
    """`run_here(MODULE, **flags)` runs its `main` in this process, where TensorFlow is loaded already; how it ended."""

    def run(module, **values):
        monkeypatch.setattr(flags, "FLAGS", types.SimpleNamespace(**values))
        try:
            module.main([])
        except SystemExit as ended:
            return ended.code
        return 0

    return run


@pytest.fixture
def print_help():
    """`print_help(PROGRAM)`, in a process of its own: what it prints."""

    def print_it(program):
        command = [sys.executable, str(BENCHMARKS / program), "--help"]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=False).stdout

    return print_it
