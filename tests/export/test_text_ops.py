"""The shared libraries of tensorflow-text are found without importing the package, which would need Keras."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tflm.errors import UserError
from tflm.export.text_ops import TEXT_OPS, text_op_libraries


def test_the_libraries_register_all_ops_without_keras():
    script = """
import sys
for name in ("keras", "keras_nlp", "keras_hub", "tensorflow_text"):
    sys.modules[name] = None
import tensorflow as tf
from tensorflow.python.framework import kernels
for library in sys.argv[1:]:
    tf.load_op_library(library)
print(*{kernel.op for kernel in kernels.get_all_registered_kernels().kernel})
"""
    command = [sys.executable, "-c", script, *text_op_libraries()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert set(done.stdout.split()) >= TEXT_OPS


def test_a_missing_package_is_named_with_its_version(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"which is not installed.*'tensorflow-text==2\.\d+\.\*'"):
        text_op_libraries()


def test_they_are_files():
    assert len(text_op_libraries()) > 10
    assert all(os.path.isfile(library) for library in text_op_libraries())
