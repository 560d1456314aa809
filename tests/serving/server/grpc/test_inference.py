"""Several signatures on the same examples: results, their order, and what does not go together."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import inference_pb2

from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server import ModelConfig, ModelManager, ServingError
from tflm.serving.server.grpc.inference import CLASSIFY, REGRESS, multi_inference


def write(folder):
    """A model whose signatures share their input, as only TensorFlow 1 writes them: the age as a class, as a number,
    and doubled; and one that reads a tensor of its own."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        inputs, others = (v1.placeholder(tf.string, [None], name) for name in ("inputs", "others"))
        feature = {"age": tf.io.FixedLenFeature([], tf.float32, 0.5)}
        age = tf.io.parse_example(inputs, feature)["age"]
        labels = tf.tile([["young", "老"]], [tf.size(age), 1])
        outputs = {
            "classify": {"classes": labels, "scores": tf.stack([1.0 - age, age], 1)},
            "regress": {"outputs": age},
            "double": {"outputs": 2.0 * age},
        }
        ends = {name: (inputs, outs) for name, outs in outputs.items()}
        ends["other"] = (others, {"outputs": 3.0 * tf.io.parse_example(others, feature)["age"]})
        signatures = {
            name: v1.saved_model.predict_signature_def({"inputs": source}, outs)
            for name, (source, outs) in ends.items()
        }
        builder = v1.saved_model.Builder(str(folder / "shared" / "3"))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


@pytest.fixture(scope="module")
def manager(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write(folder)
    manager = ModelManager([ModelConfig("shared", str(folder / "shared"))])
    manager.start()
    yield manager
    manager.stop()


def request(*tasks, ages=(0.25, 0.75), name="shared"):
    """Of tasks (signature, method)."""
    message = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = message.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    for age in ages:
        example = message.input.example_list.examples.add()
        example.features.feature["age"].float_list.value.append(age)
    return message


def ask(manager, message):
    return multi_inference(manager, message, Cancellation())


def test_a_result_for_each_task_in_their_order(manager):
    tasks = [("double", REGRESS), ("classify", CLASSIFY), ("regress", REGRESS)]
    results = ask(manager, request(*tasks)).results
    assert [result.WhichOneof("result") for result in results] == [
        "regression_result",
        "classification_result",
        "regression_result",
    ]
    specs = [result.model_spec for result in results]
    assert [(spec.name, spec.signature_name, spec.version.value) for spec in specs] == [
        ("shared", name, 3) for name, _ in tasks
    ]
    numbers = [[entry.value for entry in results[place].regression_result.regressions] for place in (0, 2)]
    assert numbers == [[0.5, 1.5], [0.25, 0.75]]
    rows = results[1].classification_result.classifications
    assert [[(entry.label, entry.score) for entry in row.classes] for row in rows] == [
        [("young", 0.75), ("老", 0.25)],
        [("young", 0.25), ("老", 0.75)],
    ]


def test_one_task_with_a_context(manager):
    message = request(("regress", REGRESS), ages=())
    merged = message.input.example_list_with_context
    merged.context.features.feature["age"].float_list.value.append(0.125)
    merged.examples.add()
    merged.examples.add().features.feature["age"].float_list.value.append(1.0)
    (result,) = ask(manager, message).results
    assert [entry.value for entry in result.regression_result.regressions] == [0.125, 1.0]


def other_model(message):
    message.tasks[1].model_spec.name = "none"
    return message


BOTH = [("classify", CLASSIFY), ("regress", REGRESS)]
REFUSALS = {
    "no tasks": (request(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "no name": (request(*BOTH, name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "unknown model": (request(*BOTH, name="no"), "NOT_FOUND", "Servable not found for request: Latest(no)"),
    "two models": (
        other_model(request(*BOTH)),
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "twice": (
        request(*BOTH, BOTH[0]),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: classify",
    ),
    "unknown signature": (
        request(("", REGRESS)),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: serving_default",
    ),
    "predict": (
        request(("regress", "tensorflow/serving/predict")),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "two inputs": (
        request(("regress", REGRESS), ("other", REGRESS)),
        "INVALID_ARGUMENT",
        "Input tensor must be the same for all Signatures.",
    ),
    "no examples": (request(*BOTH, ages=()), "INVALID_ARGUMENT", "Input is empty."),
}


@pytest.mark.parametrize("message, code, words", REFUSALS.values(), ids=REFUSALS)
def test_refusals(manager, message, code, words):
    with pytest.raises(ServingError) as caught:
        ask(manager, message)
    assert (caught.value.code, caught.value.message) == (code, words)
