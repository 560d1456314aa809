"""The gRPC services, asked with the published stubs; `--grpc_server=host:port` asks another server."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.serving.conformance.served_model import DTYPES

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def stubs(server):
    if not server.grpc:
        pytest.skip("needs --grpc_server")
    with grpc.insecure_channel(server.grpc) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        yield prediction, model_service_pb2_grpc.ModelServiceStub(channel)


def request(signature="", inputs=None, name="probe", version=None, label=None, outputs=()):
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name, message.model_spec.signature_name = name, signature
    if version is not None:
        message.model_spec.version.value = version
    if label is not None:
        message.model_spec.version_label = label
    for key, value in (inputs or {}).items():
        message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return message


def outputs_of(response):
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def refusal(call, message):
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=20)
    return caught.value.code(), caught.value.details()


def test_predict(stubs):
    response = stubs[0].Predict(request(inputs={"text": ["ÄB", "你"]}))
    assert outputs_of(response)["text"].tolist() == ["äb".encode(), "你".encode()]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("probe", "serving_default", 2)


@pytest.mark.parametrize("chosen, version", [({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1)])
def test_versions_and_labels(stubs, chosen, version):
    response = stubs[0].Predict(request("which", {"text": [""]}, **chosen))
    assert outputs_of(response)["version"].tolist() == [version]


def test_every_type_comes_back(stubs):
    values = {name: np.array([1, 0]).astype(name) for name in DTYPES}
    outputs = outputs_of(stubs[0].Predict(request("types", values)))
    for name, value in values.items():
        assert outputs[f"{name}_out"].dtype == value.dtype
        assert outputs[f"{name}_out"].tolist() == value.tolist()


def test_only_the_outputs_that_are_wanted(stubs):
    inputs = {"x": [[1.0, 2.0, 3.0]], "n": [2]}
    assert outputs_of(stubs[0].Predict(request("linear", inputs, outputs=["sums"])))["sums"].tolist() == [
        12.0
    ]
    assert set(stubs[0].Predict(request("linear", inputs, outputs=["sums"])).outputs) == {"sums"}


def test_bytes_and_nothing(stubs):
    text = [bytes([value]) for value in range(256)]
    outputs = outputs_of(stubs[0].Predict(request("raw", {"code": np.arange(256, dtype=np.int32)})))
    assert outputs["text"].tolist() == outputs["text_bytes"].tolist() == text
    assert outputs_of(stubs[0].Predict(request("floats", {"x": np.zeros(0, np.float32)})))["y"].shape == (0,)


NOT_FOUND, INVALID = CODE.NOT_FOUND, CODE.INVALID_ARGUMENT
SPECS = "Servable not found for request: "
REFUSALS = [
    (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
    (request(name="", signature="x"), INVALID, "ModelSpec has no name specified."),
    (request(name="none"), NOT_FOUND, f"{SPECS}Latest(none)"),
    (request(version=7), NOT_FOUND, f"{SPECS}Specific(probe, 7)"),
    (request(label="x"), INVALID, "Unrecognized servable version label: x"),
    (request("s"), CODE.FAILED_PRECONDITION, 'Serving signature key "s" not found.'),
    (
        request(),
        INVALID,
        "input size does not match signature: 0!=1 len({}) != len({text}). Sent extra: {}. Missing but required: "
        "{text}.",
    ),
    (
        request(inputs={"text": ["a"]}, outputs=["z"]),
        INVALID,
        "output tensor alias not found in signature: z Outputs",
    ),
    (request("floats", {"x": np.int32([1])}), INVALID, "Expects arg[0] to be float but int32 is provided"),
    (
        request("product", {"x": np.ones([1, 3], "f")}),
        INVALID,
        "Matrix size-incompatible: In[0]: [1,3], In[1]: [2,1]",
    ),
]


@pytest.mark.parametrize("message, code, words", REFUSALS)
def test_refusals(stubs, message, code, words):
    found, details = refusal(stubs[0].Predict, message)
    assert found == code
    assert details.startswith(words)


def test_a_tensor_that_is_none(stubs):
    message = request()
    message.inputs["text"].dtype = tf.string.as_datatype_enum
    message.inputs["text"].tensor_shape.dim.add(size=-5)
    assert refusal(stubs[0].Predict, message) == (INVALID, "tensor parsing error: text")


def test_a_long_message_is_cut(stubs):
    found, details = refusal(stubs[0].Predict, request(name="n" * 3000))
    assert found == NOT_FOUND
    assert len(details) == 1024 + len("...TRUNCATED")
    assert details.endswith("n...TRUNCATED")


def test_metadata(stubs):
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "probe"
    response = stubs[0].GetModelMetadata(message)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 2
    assert [dim.size for dim in signatures.signature_def["linear"].inputs["x"].tensor_shape.dim] == [-1, 3]


def test_classify_and_regress(stubs):
    message = classification_pb2.ClassificationRequest()
    message.model_spec.name, message.model_spec.signature_name = "probe", "classify"
    example = message.input.example_list.examples.add()
    example.features.feature["age"].float_list.value.append(0.25)
    (result,) = stubs[0].Classify(message).result.classifications
    assert [(entry.label, entry.score) for entry in result.classes] == [("young", 0.75), ("老", 0.25)]
    regression = regression_pb2.RegressionRequest(input=message.input)
    regression.model_spec.name, regression.model_spec.signature_name = "probe", "regress"
    assert [entry.value for entry in stubs[0].Regress(regression).result.regressions] == [0.25]


def tasks(*pairs):
    message = inference_pb2.MultiInferenceRequest()
    for signature, method in pairs:
        task = message.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "probe", signature
    example = message.input.example_list.examples.add()
    example.features.feature["age"].float_list.value.append(0.25)
    return message


def test_multi_inference(stubs):
    (result,) = stubs[0].MultiInference(tasks(("classify", "classify"))).results
    (row,) = result.classification_result.classifications
    assert [(entry.label, entry.score) for entry in row.classes] == [("young", 0.75), ("老", 0.25)]
    assert (result.model_spec.name, result.model_spec.signature_name) == ("probe", "classify")
    (result,) = stubs[0].MultiInference(tasks(("regress", "regress"))).results
    assert [entry.value for entry in result.regression_result.regressions] == [0.25]


@pytest.mark.parametrize(
    "pairs, code, words",
    [
        ([], INVALID, "ModelSpec has no name specified."),
        ([("regress", "regress")] * 2, INVALID, "Duplicate evaluation of signature: regress"),
        ([("none", "regress")], INVALID, "Requested signature not found in model graph: none"),
        (
            [("regress", "predict")],
            CODE.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("regress", "regress"), ("classify", "classify")],
            INVALID,
            "Input tensor must be the same for all Signatures.",
        ),
    ],
)
def test_multi_inference_refusals(stubs, pairs, code, words):
    assert refusal(stubs[0].MultiInference, tasks(*pairs)) == (code, words)


def test_status(stubs):
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "probe"
    found = [(entry.version, entry.state) for entry in stubs[1].GetModelStatus(message).model_version_status]
    assert found == [(2, 30), (1, 30)]  # AVAILABLE
    message.model_spec.version.value = 7
    assert refusal(stubs[1].GetModelStatus, message) == (NOT_FOUND, "Could not find version 7 of model probe")


def test_a_deadline_ends_the_work(stubs):
    with pytest.raises(grpc.RpcError) as caught:
        stubs[0].Predict(request("wait", {"seconds": np.float64([30])}), timeout=0.3)
    assert caught.value.code() == CODE.DEADLINE_EXCEEDED


def test_reload_of_labels_and_of_strange_folders(stubs, server, tmp_path):
    if server.config is None:
        pytest.skip("changes the server's models")
    message = model_management_pb2.ReloadConfigRequest()
    config = message.config.model_config_list.config.add(name="probe", model_platform="tensorflow")
    config.base_path = str(server.config.parent / "probe")
    config.model_version_policy.all.SetInParent()
    config.version_labels["canary"] = 2
    config.version_labels["stable"] = 1
    stubs[1].HandleReloadConfigRequest(message)
    response = stubs[0].Predict(request("which", {"text": [""]}, label="canary"))
    assert outputs_of(response)["version"].tolist() == [2]
    config.version_labels["canary"] = 3
    assert refusal(stubs[1].HandleReloadConfigRequest, message) == (
        CODE.FAILED_PRECONDITION,
        "Request to assign label to version 3 of model probe, which is not currently available for inference",
    )
    config.base_path = str(tmp_path)
    found, details = refusal(stubs[1].HandleReloadConfigRequest, message)
    assert found == CODE.PERMISSION_DENIED
    assert (
        "not among the folders that the server was started with. Restart it with a --model_config_file"
        in details
    )


def test_health_and_reflection(server):
    if server.config is None:
        pytest.skip("the stock server has neither unless asked")
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(server.grpc) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (listed,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked)
    names = [service.name for service in listed.list_services_response.service]
    assert "tensorflow.serving.PredictionService" in names
    assert "tensorflow.serving.ModelService" in names
