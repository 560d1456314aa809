"""MultiInference: several classify and regress signatures of one model on the same examples.

After TensorFlow Serving's `servables/tensorflow/multi_inference.cc`, whose order of checks and messages are kept.
"""

from tensorflow_serving.apis import inference_pb2, model_pb2

from tflm.serving.cancellation import Cancellation
from tflm.serving.server import examples
from tflm.serving.server.manager import ModelManager
from tflm.serving.server.messages import add_classes, add_values, serialised, spec_of, which
from tflm.serving.server.servable import DEFAULT_SIGNATURE, Servable
from tflm.serving.server.status import ServingError, invalid

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def multi_inference(
    manager: ModelManager, request: inference_pb2.MultiInferenceRequest, cancellation: Cancellation
) -> inference_pb2.MultiInferenceResponse:
    """A result for each task, in their order.

        tasks: [(probe, "classify", tensorflow/serving/classify)], input: [{"age": 0.25}]
        ->     [classification_result: [("young", 0.75), ("老", 0.25)]]

    The version is that of the first task. All signatures must read the same tensor of the graph. Those that
    `tf.saved_model.save` writes have a tensor each, so of such a model a request can name one at a time; this is so
    in TensorFlow Serving too.

    Raises:
        ServingError: INVALID_ARGUMENT for tasks that do not go together, or for what a task alone would be refused
            for; UNIMPLEMENTED for a method that is neither classify nor regress; NOT_FOUND.
    """
    first = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
    if not first.name:
        raise invalid("ModelSpec has no name specified.")
    response = inference_pb2.MultiInferenceResponse()
    with manager.use(**which(first)) as servable:
        _check(request, servable)
        rows = serialised(request.input)
        for task in request.tasks:
            signature = task.model_spec.signature_name
            result = response.results.add(model_spec=spec_of(servable, signature))
            arguments = (servable, signature or DEFAULT_SIGNATURE, rows, cancellation)
            if task.method_name == CLASSIFY:
                result.classification_result.SetInParent()
                add_classes(result.classification_result, examples.run_classify(*arguments))
            else:
                add_values(result.regression_result, examples.run_regress(*arguments))
    return response


def _check(request: inference_pb2.MultiInferenceRequest, servable: Servable) -> None:
    """Whether the tasks go together.

    Raises:
        ServingError: they do not.
    """
    signatures: set[str] = set()
    tensors: set[str] = set()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != servable.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in signatures:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        signatures.add(name)
        if name not in servable.signature_defs:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise ServingError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        definition = servable.signature_defs[name]
        tensors |= {definition.inputs["inputs"].name} if "inputs" in definition.inputs else set()
        if len(tensors) > 1:
            raise invalid("Input tensor must be the same for all Signatures.")
