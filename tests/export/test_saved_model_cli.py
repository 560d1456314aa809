"""TensorFlow's own command-line tool runs an export, with the commands that docs/export.md gives."""

import ast
import os
import re
import subprocess
import sys
import sysconfig


def run(program, path, signature, exprs):
    """What the tool prints as result for output `text`, and its return code and errors."""
    command = [*program, "run", "--dir", path, "--tag_set", "serve", "--signature_def", signature]
    done = subprocess.run(
        [*command, "--input_exprs", exprs], capture_output=True, encoding="utf-8", check=False
    )
    found = re.search(r"Result for output key text:\n\[(.*?)\]", done.stdout, re.DOTALL)
    texts = [ast.literal_eval(item) for item in re.findall(r"b'[^']*'", found[1])] if found else []
    return texts, done


def test_a_core_only_export_runs_as_it_is(exports):
    tool = os.path.join(sysconfig.get_path("scripts"), "saved_model_cli")
    texts, done = run([tool], exports.core, "serving_default", 'text=["hello", "你好"]')
    assert done.returncode == 0, done.stderr
    assert texts == [exports.shifted("hello"), exports.shifted("你好")]


def test_an_export_with_tensorflow_text_needs_its_ops_registered(exports):
    main = "import tensorflow_text; from tensorflow.python.tools.saved_model_cli import main; main()"
    texts, done = run(
        [sys.executable, "-c", main], exports.text, "fold", 'text=["ＡＢＣ", "你好"];scale=[1, 2.5]'
    )
    assert done.returncode == 0, done.stderr
    assert texts == [b"abc", "你好".encode()]
