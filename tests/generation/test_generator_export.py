"""`generate` as a signature: saved, loaded by a TensorFlow 1 session (what a stock server does), audited."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tflm.generation import DecodingConfig, generate, settings_specs, settings_tensors


class Service(tf.Module):
    """Prompts as rows of ids, zero after the end."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "token_ids"), settings_specs()])
    def answer(self, token_ids, settings):
        prompts = tf.RaggedTensor.from_tensor(token_ids, padding=0)
        result = generate(
            self.model, prompts, settings, end_id=2, pad_id=0, segment_length=8, max_total_length=80
        )
        return result._asdict()


@pytest.fixture(scope="module")
def exported(tmp_path_factory, toy):
    service = Service(toy.HashModel())
    folder = str(tmp_path_factory.mktemp("export") / "model")

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32, "token_ids"), *settings_specs().values()]
    )
    def signature(token_ids, *settings):
        return service.answer(token_ids, dict(zip(settings_specs(), settings)))

    tf.saved_model.save(service, folder, signatures=signature)
    return service, folder


def requests():
    """Batches of three, one and two rows."""
    prompts = np.array([[1, 5, 6, 0, 0], [1, 0, 0, 0, 0], [1, 9, 9, 9, 4]], np.int32)
    settings = settings_tensors(DecodingConfig(max_new_tokens=40, top_k=9, top_p=0.9, min_new_tokens=12), 3)
    settings["temperature"] = tf.constant([1.0, 0.0, 2.0])
    settings["seed"] = tf.constant([4, 5, 6], tf.int64)
    values = {"token_ids": prompts, **{name: value.numpy() for name, value in settings.items()}}
    return [{name: value[rows] for name, value in values.items()} for rows in ([0, 1, 2], [1], [2, 0])]


def test_a_session_gives_what_memory_gives(exported):
    service, folder = exported
    wanted = requests()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        info = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def["serving_default"]

        def ask(values):
            feeds = {info.inputs[name].name: value for name, value in values.items()}
            return session.run({name: tensor.name for name, tensor in info.outputs.items()}, feeds)

        answers = [ask(values) for values in wanted]
        with pytest.raises(tf.errors.InvalidArgumentError, match="A prompt is empty"):
            ask({**wanted[0], "token_ids": np.zeros([3, 4], np.int32)})
    for values, answer in zip(wanted, answers, strict=True):
        settings = {name: tf.constant(values[name]) for name in settings_specs()}
        expected = service.answer(tf.constant(values["token_ids"]), settings)
        assert (
            answer.keys() == expected.keys() == {"token_ids", "num_tokens", "log_probability", "is_complete"}
        )
        for name, value in expected.items():
            np.testing.assert_array_equal(answer[name], value)
        assert answer["num_tokens"].min() >= 12


def test_every_op_is_a_core_op_and_nothing_asks_for_xla(exported):
    with open(exported[1] + "/saved_model.pb", "rb") as file:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read())
    graph = saved_model.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    ops = {node.op for node in nodes}
    assert {"While", "StatelessRandomUniformV2"} <= ops
    assert not ops - set(dir(tf.raw_ops))
    assert not [op for op in ops if "PyFunc" in op or "Xla" in op]
    for item in (*nodes, *graph.library.function):
        assert not item.attr["_XlaMustCompile"].b
