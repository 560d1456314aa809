"""Every op that a signature reaches is seen, wherever it hides; what stock servers lack is refused."""

import os

import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import kernels

from tflm.errors import UserError
from tflm.export import audit_ops, text_ops_in
from tflm.export.audit import core_ops
from tflm.export.text_ops import LACKING_TEXT_OPS, TEXT_OPS

TEXT = tf.TensorSpec([None], tf.string, "text")


def save(path, **functions):
    """Saves functions of `text` under their names, without any audit."""

    def wrap(function):
        return tf.function(lambda text: {"text": function(text)}, input_signature=[TEXT])

    wrapped = {name: wrap(function) for name, function in functions.items()}
    tf.saved_model.save(tf.Module(), str(path), signatures=wrapped)
    return str(path)


def in_a_loop(function):
    """The op inside a branch inside the body of a loop: three functions deep."""

    def looped(text):
        def body(step, value):
            return step + 1, tf.cond(step > 1, lambda: function(value), lambda: value)

        return tf.while_loop(lambda step, _: step < 3, body, [0, text])[1]

    return looped


def test_ops_are_counted_by_signature(exports):
    assert audit_ops(exports.core) == {"about": (), "serving_default": ()}
    assert audit_ops(exports.text) == {
        "about": (),
        "serving_default": (),
        "fold": ("CaseFoldUTF8", "NormalizeUTF8"),
    }
    assert text_ops_in(exports.core) == ()
    assert text_ops_in(exports.text) == ("CaseFoldUTF8", "NormalizeUTF8")


def test_an_op_deep_in_nested_functions_is_found(tmp_path):
    path = save(tmp_path, deep=in_a_loop(tf_text.case_fold_utf8), plain=in_a_loop(tf.strings.lower))
    assert audit_ops(path) == {"deep": ("CaseFoldUTF8",), "plain": ()}


@pytest.mark.parametrize("name, op", [("py_function", "EagerPyFunc"), ("numpy_function", "PyFunc")])
def test_python_is_refused(tmp_path, name, op):
    def through_python(text):
        return tf.ensure_shape(getattr(tf, name)(lambda value: value, [text], tf.string), [None])

    path = save(tmp_path, fine=tf.identity, serving_default=in_a_loop(through_python))
    with pytest.raises(
        UserError, match=rf"signature 'serving_default' needs '{op}' \(node .* in function .*Replace tf.py_fu"
    ):
        audit_ops(path)


@tf.function(jit_compile=True)
def compiled(numbers):
    return numbers * 2.0


def test_compilation_by_xla_is_refused(tmp_path):
    def fast(text):
        return tf.strings.as_string(compiled(tf.zeros_like(text, tf.float32)))

    path = save(tmp_path, fast=in_a_loop(fast), fine=tf.identity)
    words = (
        r"signature 'fast'.*Trace it without jit_compile=True, or end the signature's name in _xla: a stock"
    )
    with pytest.raises(UserError, match=words):
        audit_ops(path)


def test_compilation_by_xla_under_a_name_that_says_so(tmp_path):
    def fast(text):
        return tf.strings.as_string(compiled(tf.zeros_like(text, tf.float32)))

    path = save(tmp_path, fast_xla=in_a_loop(fast), fine=tf.identity)
    assert audit_ops(path) == {"fast_xla": (), "fine": ()}


def test_a_name_that_promises_a_compiled_function_in_vain(tmp_path):
    path = save(tmp_path, fine_xla=tf.strings.lower)
    with pytest.raises(
        UserError, match=r"signature 'fine_xla' has nothing that XLA compiles. Trace a part of it"
    ):
        audit_ops(path)


LACKING = {
    "TFText>Utf8Binarize": lambda text: tf_text.utf8_binarize(text),
    "TFText>RoundRobinTrim": lambda text: (
        tf_text.RoundRobinTrimmer(3).trim([tf.strings.split(text)])[0].to_tensor()
    ),
}


@pytest.mark.parametrize("op", LACKING)
def test_what_the_older_stock_server_lacks_is_refused(tmp_path, op):
    path = save(tmp_path, fine=tf_text.case_fold_utf8, serving_default=LACKING[op])
    with pytest.raises(
        UserError,
        match=rf"signature 'serving_default' needs '{op}' .*linked by TensorFlow Serving 2.20 \(tensorflow-text "
        r"2.20.0\), but not by TensorFlow Serving 2.19 \(tensorflow-text 2.12.1\). Use other ops.",
    ):
        audit_ops(path)


def test_what_a_server_lacks_is_among_the_ops_of_the_wheel():
    assert LACKING_TEXT_OPS.keys() < TEXT_OPS


def test_an_op_that_exists_for_xla_alone_is_refused(tmp_path):
    def update(text):
        zeros = tf.zeros_like(text, tf.float32)
        return xla.dynamic_update_slice(zeros, tf.ones([1]), tf.constant([0]))

    with pytest.raises(UserError, match=r"needs 'XlaDynamicUpdateSlice'.*Use a core op instead"):
        audit_ops(save(tmp_path, serving_default=update))


def test_an_unknown_op_is_refused_with_its_place(tmp_path):
    path = save(tmp_path, serving_default=tf.strings.lower)
    file_path = os.path.join(path, "saved_model.pb")
    saved_model = saved_model_pb2.SavedModel()
    with open(file_path, "rb") as file:
        saved_model.ParseFromString(file.read())
    for function in saved_model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.op = "HomeMadeLower" if node.op == "StringLower" else node.op
    with open(file_path, "wb") as file:
        file.write(saved_model.SerializeToString())
    with pytest.raises(UserError, match=r"needs 'HomeMadeLower' .*in function .*Stock servers do not link"):
        audit_ops(path)


def test_the_list_of_tensorflow_text_ops_is_that_of_the_wheel():
    registered = {kernel.op for kernel in kernels.get_all_registered_kernels().kernel}
    assert registered >= TEXT_OPS
    assert not core_ops() & TEXT_OPS
    outside = {op for op in registered - core_ops() if op.startswith("TFText>") or "Sentencepiece" in op}
    assert outside <= TEXT_OPS


def test_core_ops_run_on_a_cpu():
    assert {
        "MatMul",
        "StatelessWhile",
        "HashTableV2",
        "NoOp",
        "Assert",
        "StatelessRandomUniformV2",
    } <= core_ops()
    assert not {"XlaCallModule", "CudnnRNN", "TPUPartitionedCall"} & core_ops()


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"is not a SavedModel: cannot read saved_model.pb"):
        audit_ops(str(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(UserError, match="is damaged"):
        audit_ops(str(tmp_path))
