"""The contract of a signature: [B] in, a flat dict of dense tensors out, batch first."""

import pytest
import tensorflow as tf

from tflm.errors import UserError
from tflm.export.signatures import SignatureDtypes, input_specs, is_compiled, read_signatures

TEXT = tf.TensorSpec([None], tf.string, "text")


def test_what_was_written_is_read_back(exports):
    assert read_signatures(exports.text) == {
        "about": SignatureDtypes({"text": "string"}, {"config": "string"}),
        "fold": SignatureDtypes(
            {"scale": "float32", "text": "string"}, {"scaled": "float32", "text": "string"}
        ),
        "serving_default": SignatureDtypes({"text": "string"}, {"num_characters": "int64", "text": "string"}),
    }


def test_inputs_keep_the_order_of_the_function(exports):
    assert list(input_specs("fold", exports.module.fold)) == ["text", "scale"]


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda text: {"y": tf.strings.split(text)}, "output 'y' is ragged. Return value.to_tensor"),
        (lambda text: {"y": {"z": text}}, "output 'y' is dict; an output is a plain tensor"),
        (lambda text: {"y": tf.size(text)}, r"output 'y' has shape \(\); the batch comes first"),
        (lambda text: {"y": tf.reshape(text, [3])}, r"output 'y' has shape \(3,\)"),
        (lambda text: text, "expected a dict of name to tensor"),
    ],
)
def test_outputs_that_servers_cannot_give_are_refused(function, words):
    with pytest.raises(UserError, match=words):
        input_specs("s", tf.function(function, input_signature=[TEXT]))


@pytest.mark.parametrize(
    "spec",
    [
        tf.TensorSpec([], tf.int32, "seed"),
        tf.TensorSpec([8, None], tf.int32, "ids"),
        tf.TensorSpec([8], tf.int32, "ids"),
        tf.RaggedTensorSpec([None, None], tf.int32),
    ],
)
def test_inputs_without_the_batch_first_are_refused(spec):
    with pytest.raises(
        UserError, match=r"must be tf.TensorSpec\(\[None, \.\.\.\], dtype, name\): the batch comes first"
    ):
        input_specs("s", tf.function(lambda value: {"y": value}, input_signature=[spec]))


def test_a_function_without_specs_is_refused():
    for function in (len, tf.function(lambda text: {"y": text})):
        with pytest.raises(UserError, match=r"expected a tf.function with an input_signature"):
            input_specs("s", function)


def test_a_signature_that_xla_compiles_is_known_by_its_name():
    assert is_compiled("generate_xla")
    assert not any(map(is_compiled, ["generate", "xla", "generate_xla_2", "xla_generate"]))
